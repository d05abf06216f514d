import CFabric
import Fabric
import Glibc
import Synchronization
import SystemSupport

/// A thread that runs a ``PersistLoop`` on a completion queue.
final class PersistWorker {
    private let queue: UnsafeMutablePointer<fid_cq>
    private let shared: Shared
    private let thread: NamedThread

    /// What the session's thread and the worker's share.
    private final class Shared: Sendable {
        // Constant, and valid as long as this.
        nonisolated(unsafe) let stop = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        nonisolated(unsafe) let rounds = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: 1)
        /// In a cache line of its own: another worker's is written as often.
        nonisolated(unsafe) let counts: UnsafeMutablePointer<PersistCounts>
        private let ownsCounts: Bool
        /// Set by the worker once it waits for nothing any more.
        let hasStopped = Atomic(false)

        /// - Parameter counts: Initialized memory in a cache line of its own; nil allocates it.
        init(_ counts: UnsafeMutablePointer<PersistCounts>?) {
            self.counts =
                counts
                ?? UnsafeMutableRawPointer.allocate(
                    byteCount: (MemoryLayout<PersistCounts>.stride + 63) & ~63, alignment: 64
                ).bindMemory(to: PersistCounts.self, capacity: 1)
            ownsCounts = counts == nil
            stop.initialize(to: Atomic(false))
            rounds.initialize(to: Atomic(0))
            if ownsCounts { self.counts.initialize(to: PersistCounts()) }
        }

        deinit {
            stop.deinitialize(count: 1)
            stop.deallocate()
            rounds.deinitialize(count: 1)
            rounds.deallocate()
            guard ownsCounts else { return }
            counts.deinitialize(count: 1)
            counts.deallocate()
        }
    }

    /// Beginnings and ends of batches so far. It is odd while the worker serves a batch, when it reads no completions.
    var rounds: UInt64 { shared.rounds.pointee.load(ordering: .acquiring) }

    /// What was answered so far. Final after ``finish()``.
    var totals: PersistTotals { shared.counts.pointee.totals }

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - queue: The completion queue of the worker's lanes; valid until ``finish()`` has returned.
    ///   - waitDescriptor: See ``PersistLoop/init(_:queue:waitDescriptor:stop:rounds:counts:)``.
    ///   - context: Valid as long.
    ///   - counts: Where to count; valid as long as this value. nil for memory of its own.
    ///   - onEnd: Called on the worker's thread when it stops by itself.
    init(
        number: Int, queue: UnsafeMutablePointer<fid_cq>, waitDescriptor: Int32 = -1, context: PersistContext,
        counts: UnsafeMutablePointer<PersistCounts>? = nil, onEnd: @escaping @Sendable (WorkerEnd) -> Void
    ) throws(SystemCallError) {
        let shared = Shared(counts)
        // The thread is joined before what they point to goes.
        nonisolated(unsafe) let (queue, context) = (queue, context)
        thread = try NamedThread(name: "persist-\(number)") {
            var loop = PersistLoop(
                context, queue: queue, waitDescriptor: waitDescriptor, stop: shared.stop, rounds: shared.rounds,
                counts: shared.counts)
            let end = loop.run()
            shared.hasStopped.store(true, ordering: .releasing)
            if case .stopped = end { return }
            onEnd(end)
        }
        self.queue = queue
        self.shared = shared
    }

    deinit { finish() }

    /// Ends the thread and joins it. That takes as long as storage that the worker waits for; a ``Watchdog`` bounds it. Idempotent.
    func finish() {
        shared.stop.pointee.store(true, ordering: .releasing)
        var pause: UInt32 = 200
        while !shared.hasStopped.load(ordering: .acquiring) {
            // Again and again: libfabric 1.17 loses a wake-up that comes between its last check for one and its sleep.
            CompletionQueue.wake(queue)
            usleep(pause)
            pause = min(pause * 2, 50_000)
        }
        thread.join()
    }
}
