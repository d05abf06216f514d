import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport

/// Why a worker stopped serving.
package enum WorkerEnd: Sendable {
    /// It was told to.
    case stopped
    /// A peer broke the protocol on a lane.
    case violation(lane: Int, PersistRequestFault, PersistRequestHeader, receivedBytes: Int)
    /// A peer sent a request on a lane before it had the answer to the one before.
    case overlappingRequest(lane: Int)
    /// A peer sent more than a request and the inline data that was agreed on.
    case oversizedRequest(lane: Int)
    /// A range could not be made durable: nothing that was asked for in that batch is answered.
    case persistFailed(lane: Int, errno: Int32)
    /// The other machine acknowledges nothing any more.
    case peerUnreachable(FabricError)
    /// The fabric failed.
    case fabricFailed(FabricError)
}

/// What makes the loop leave the way of a request. Plain data, unlike ``WorkerEnd``: it passes through every function
/// on that way, and must cost nothing there.
private enum Interruption {
    case stopped
    case violation(lane: Int, PersistRequestFault, PersistRequestHeader, receivedBytes: Int)
    case overlappingRequest(lane: Int)
    case oversizedRequest(lane: Int)
    case persistFailed(lane: Int, errno: Int32)
    /// Reading the completion queue failed; the code is positive.
    case queueFailed(code: Int32)
    /// The provider had no room for an answer for too long.
    case noRoom
    /// The reason is in the loop's `failure`.
    case peerUnreachable
    /// The reason is in the loop's `failure`.
    case operationFailed
}

/// What a worker of a session works on; constant while it runs. Workers share all of it but ``persister``.
struct PersistContext {
    /// The pool, as the peer addresses it.
    let regionBase: UInt64
    let regionSize: UInt64
    /// This worker's own, so that it hears of each write-back error itself; see ``SyncAlias``.
    var persister: Persister
    let lanes: UnsafeMutablePointer<Lane>
    let laneCount: Int
    let requestCapacity: Int
    let messageDescriptor: UnsafeMutableRawPointer?
    /// How long to poll before blocking, in nanoseconds; 0 blocks at once.
    let pollNanoseconds: UInt64
    /// Whether answers fit the provider's inject size.
    let injects: Bool
    /// Whether WRITEs are put in place by a device instead of a CPU; see ``Persister/noteDeviceWrites(_:_:)``.
    let writesByDevice: Bool
    /// One for each lane, set when it has ended; see ``LaneBlock/ended``.
    let ended: UnsafeMutablePointer<Atomic<Bool>>
    /// Signalled then.
    let endSignal: Int32
    /// Where an answer to a ``PeerProbe`` is noted, if there is one.
    let signOfLife: UnsafeMutablePointer<SignOfLife>?
}

/// Serves the persist requests that arrive on one completion queue, until told to stop.
///
/// A request's way, all of it in this file: ``serve()`` waits for completions and takes them in batches;
/// ``carryOut(_:)`` checks each request and flushes its range; ``makeDurable()`` drains once, or syncs merged ranges,
/// for the whole batch; only then ``answer(_:)`` posts the lane's next receive and sends the answer. On that way
/// nothing is allocated, locked, logged or retained: everything lies in memory that this value owns or borrows.
struct PersistLoop: ~Copyable {
    private let context: PersistContext
    private let queue: UnsafeMutablePointer<fid_cq>
    private let stop: UnsafePointer<Atomic<Bool>>

    private let completions: UnsafeMutablePointer<fi_cq_msg_entry>
    /// Lanes whose request of this batch is carried out, then those whose answer found no room.
    private let batch: UnsafeMutablePointer<UnsafeMutablePointer<Lane>>
    private var batchCount = 0
    private let ranges: UnsafeMutablePointer<DirtyRange>
    private var rangeCount = 0
    private var mustDrain = false
    /// The reason for an interruption by ``Interruption/operationFailed`` or ``Interruption/peerUnreachable``.
    private var failure: FabricError?

    /// libfabric's negated codes, as its data path returns them.
    private static var tryAgain: Int { 0 &- Int(FI_EAGAIN) }
    private static var errorAvailable: Int { 0 &- Int(FI_EAVAIL) }
    /// Completions taken at once, and so requests that share one drain.
    private static let batchSize = 64
    /// Ranges closer than this are synced as one: finding nothing to write between them costs nanoseconds, a second
    /// journal commit milliseconds.
    private static let mergeGap = 64 << 20
    private static var unknownFailure: FabricError { FabricError("fi_cq_readerr", code: Int32(FI_EIO)) }
    /// How long a provider may have no room for a receive or an answer before the lane counts as broken.
    private static let roomNanoseconds: UInt64 = 10_000_000_000

    private struct DirtyRange {
        var start: UInt
        var end: UInt
    }

    /// - Parameters:
    ///   - queue: Where the lanes' completions arrive; must outlive this.
    ///   - stop: Set, followed by a wake-up of the queue, to end ``run()``; must outlive this.
    init(
        _ context: PersistContext, queue: UnsafeMutablePointer<fid_cq>, stop: UnsafePointer<Atomic<Bool>>
    ) {
        self.context = context
        self.queue = queue
        self.stop = stop
        completions = .allocate(capacity: Self.batchSize)
        completions.initialize(repeating: fi_cq_msg_entry(), count: Self.batchSize)
        // A lane is in it once at most: it is refused a second request before the answer to the first.
        batch = .allocate(capacity: context.laneCount)
        ranges = .allocate(capacity: Self.batchSize)
    }

    deinit {
        completions.deallocate()
        batch.deallocate()
        ranges.deallocate()
    }

    /// Serves requests until it is told to stop or must.
    mutating func run() -> WorkerEnd {
        switch serve() {
        case .stopped: .stopped
        case .violation(let lane, let fault, let header, let bytes):
            .violation(lane: lane, fault, header, receivedBytes: bytes)
        case .overlappingRequest(let lane): .overlappingRequest(lane: lane)
        case .oversizedRequest(let lane): .oversizedRequest(lane: lane)
        case .persistFailed(let lane, let errno): .persistFailed(lane: lane, errno: errno)
        case .queueFailed(let code): .fabricFailed(FabricError("fi_cq_read", code: code))
        case .noRoom:
            .fabricFailed(FabricError("fi_inject", code: Int32(FI_EAGAIN), detail: "no room for an answer in 10 s"))
        case .peerUnreachable: .peerUnreachable(failure ?? Self.unknownFailure)
        case .operationFailed: .fabricFailed(failure ?? Self.unknownFailure)
        }
    }

    @inline(never)
    private mutating func serve() -> Interruption {
        while true {
            let count = nextCompletions()
            if count <= 0 {
                if stop.pointee.load(ordering: .acquiring) { return .stopped }
                if count == Self.errorAvailable {
                    if let interruption = closeFailedLane() { return interruption }
                } else if !isTransient(count) {
                    return .queueFailed(code: Int32(truncatingIfNeeded: 0 &- count))
                }
                continue
            }
            if let interruption = carryOut(first: count) { return interruption }
            if let interruption = makeDurable() { return interruption }
            if let interruption = answerBatch() { return interruption }
        }
    }

    /// Waits for completions: polls for the configured time, then blocks without a time-out, since what ends the
    /// wait (a completion, or ``stop`` with a wake-up) always reaches the queue.
    private func nextCompletions() -> Int {
        var count = fi_cq_read(queue, completions, Self.batchSize)
        if count != Self.tryAgain { return count }
        if context.pollNanoseconds != 0 {
            let start = monotonicNanoseconds()
            repeat {
                var rounds = 0
                while rounds < 16 {
                    count = fi_cq_read(queue, completions, Self.batchSize)
                    if count != Self.tryAgain { return count }
                    rounds &+= 1
                }
                if stop.pointee.load(ordering: .relaxed) { return count }
            } while monotonicNanoseconds() &- start < context.pollNanoseconds
        }
        return fi_cq_sread(queue, completions, Self.batchSize, nil, -1)
    }

    /// Carries out what the first `count` completions ask for.
    private mutating func carryOut(first count: Int) -> Interruption? {
        var index = 0
        while index < count {
            if let interruption = carryOut(completions[index]) { return interruption }
            index &+= 1
        }
        return nil
    }

    /// Checks one request and starts to persist its range; a violation ends the session.
    private mutating func carryOut(_ completion: fi_cq_msg_entry) -> Interruption? {
        // Answers that could not be injected complete too; only receives carry requests.
        guard completion.flags & UInt64(FI_RECV) != 0, let opaque = completion.op_context else {
            if let signOfLife = context.signOfLife, completion.op_context == UnsafeMutableRawPointer(signOfLife) {
                signOfLife.pointee.isAwaited.store(false, ordering: .releasing)
            }
            return nil
        }
        let lane = opaque.assumingMemoryBound(to: Lane.self)
        guard case .waiting = lane.pointee.progress else {
            return .overlappingRequest(lane: lane - context.lanes)
        }
        let header = lane.pointee.request.loadUnaligned(as: PersistRequestHeader.self)
        if let fault = checkPersistRequest(
            header, receivedBytes: completion.len, regionBase: context.regionBase, regionSize: context.regionSize,
            laneCount: UInt32(truncatingIfNeeded: context.laneCount),
            inlineCapacity: UInt64(
                truncatingIfNeeded: context.requestCapacity &- PersistRequestHeader.byteCount))
        {
            return .violation(lane: lane - context.lanes, fault, header, receivedBytes: completion.len)
        }
        lane.pointee.requestedLane = header.lane
        lane.pointee.progress = .durable
        batch[batchCount] = lane
        batchCount &+= 1
        if header.size == 0 { return nil }

        // In range, so it is an address of the pool.
        let address = UnsafeMutableRawPointer(bitPattern: UInt(header.address)).unsafelyUnwrapped
        let length = Int(truncatingIfNeeded: header.size)
        if context.writesByDevice, header.mode != .inline { context.persister.noteDeviceWrites(address, length) }
        switch header.mode {
        case .deep:
            let errno = context.persister.deepPersist(address, length)
            return errno == 0 ? nil : .persistFailed(lane: lane - context.lanes, errno: errno)
        case .inline:
            context.persister.copy(
                to: address, from: lane.pointee.request + PersistRequestHeader.byteCount, length: length)
        default: break
        }
        if case .msync = context.persister.kind {
            addRange(UInt(bitPattern: address), length)
        } else {
            context.persister.flush(address, length)
            mustDrain = true
        }
        return nil
    }

    /// Keeps the ranges to sync sorted by address.
    private mutating func addRange(_ start: UInt, _ length: Int) {
        var index = rangeCount
        while index > 0, ranges[index &- 1].start > start {
            ranges[index] = ranges[index &- 1]
            index &-= 1
        }
        ranges[index] = DirtyRange(start: start, end: start &+ UInt(length))
        rangeCount &+= 1
    }

    /// After this, every range of the batch is durable.
    private mutating func makeDurable() -> Interruption? {
        if mustDrain {
            context.persister.drain()
            mustDrain = false
        }
        var index = 0
        while index < rangeCount {
            var merged = ranges[index]
            index &+= 1
            while index < rangeCount, ranges[index].start <= merged.end &+ UInt(Self.mergeGap) {
                if ranges[index].end > merged.end { merged.end = ranges[index].end }
                index &+= 1
            }
            let errno = context.persister.synchronize(
                UnsafeRawPointer(bitPattern: merged.start).unsafelyUnwrapped, Int(merged.end &- merged.start))
            if errno != 0 { return .persistFailed(lane: batch[0] - context.lanes, errno: errno) }
        }
        rangeCount = 0
        return nil
    }

    /// Answers every lane of the batch; where the provider has no room, lets it progress and tries again.
    private mutating func answerBatch() -> Interruption? {
        var deadline: UInt64 = 0
        while true {
            var waiting = 0
            var index = 0
            while index < batchCount {
                let lane = batch[index]
                index &+= 1
                let result = answer(lane)
                if result == Self.tryAgain {
                    batch[waiting] = lane
                    waiting &+= 1
                } else if result != 0 {
                    // The lane is gone; whether the initiator is, the control connection tells.
                    lane.pointee.progress = .closed
                }
            }
            batchCount = waiting
            if waiting == 0 { return nil }

            if stop.pointee.load(ordering: .relaxed) { return .stopped }
            let now = monotonicNanoseconds()
            if deadline == 0 { deadline = now &+ Self.roomNanoseconds }
            if now > deadline { return .noRoom }
            // Reading the queue lets the provider move its sends on. What it returns joins the next round.
            let count = fi_cq_read(queue, completions, Self.batchSize)
            if count > 0 {
                if let interruption = carryOut(first: count) { return interruption }
                if let interruption = makeDurable() { return interruption }
            } else if count == Self.errorAvailable {
                if let interruption = closeFailedLane() { return interruption }
            }
        }
    }

    /// Posts the lane's next receive, then sends the answer: in that order, since the answer lets the initiator send
    /// its next request.
    ///
    /// - Returns: 0, or libfabric's negated code; −FI_EAGAIN may be repeated.
    private func answer(_ lane: UnsafeMutablePointer<Lane>) -> Int {
        let endpoint = lane.pointee.endpoint
        if case .durable = lane.pointee.progress {
            // The request in the buffer is done with, all of it was copied or only named a range.
            let posted = fi_recv(
                endpoint, lane.pointee.request, context.requestCapacity, context.messageDescriptor, 0, lane)
            if posted != 0 { return posted }
            lane.pointee.progress = .answerable
        }
        guard case .answerable = lane.pointee.progress else { return 0 }
        lane.pointee.answer.storeBytes(of: PersistResponse(lane: lane.pointee.requestedLane), as: PersistResponse.self)
        let size = PersistResponse.byteCount
        let sent =
            context.injects
            ? fi_inject(endpoint, lane.pointee.answer, size, 0)
            : fi_send(endpoint, lane.pointee.answer, size, context.messageDescriptor, 0, &lane.pointee.sendContext)
        if sent == 0 { lane.pointee.progress = .waiting }
        return sent
    }

    /// Reads the queue's error. A lane that failed is closed, as lanes are when an initiator hangs up; what cannot be
    /// told apart ends the session.
    @inline(never)
    private mutating func closeFailedLane() -> Interruption? {
        guard let (error, opaque) = CompletionQueue.readError(queue) else { return nil }
        if let signOfLife = context.signOfLife, opaque == UnsafeMutableRawPointer(signOfLife) {
            signOfLife.pointee.isAwaited.store(false, ordering: .releasing)
            // Given up with its lane, whose receive tells the same.
            if error.code == FI_ECANCELED { return nil }
            failure = error
            return .peerUnreachable
        }
        let address = UInt(bitPattern: opaque)
        let first = UInt(bitPattern: context.lanes)
        let end = UInt(bitPattern: context.lanes + context.laneCount)
        guard (first..<end).contains(address) else {
            failure = error
            return .operationFailed
        }
        let lane = Int(address - first) / MemoryLayout<Lane>.stride
        context.lanes[lane].progress = .closed
        context.ended[lane].store(true, ordering: .releasing)
        WakeUp.signal(context.endSignal)
        // The lane itself would go on, but without a receive: its peer would wait for ever.
        if error.code == FI_ETRUNC || error.code == FI_EMSGSIZE { return .oversizedRequest(lane: lane) }
        return nil
    }

    /// Whether a wait ended without completion for a reason that needs nothing done.
    private func isTransient(_ result: Int) -> Bool {
        result == 0 || result == Self.tryAgain || result == -Int(FI_EINTR) || result == -Int(FI_ECANCELED)
    }
}

/// A thread that runs a ``PersistLoop`` on a completion queue.
final class PersistWorker {
    private let queue: UnsafeMutablePointer<fid_cq>
    private let thread: ThreadBox
    private let stop: UnsafeMutablePointer<Atomic<Bool>>
    /// Set by the thread once it waits for nothing any more.
    private let hasStopped: UnsafeMutablePointer<Atomic<Bool>>

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - queue: Where the lanes' completions arrive; must stay valid until ``finish()`` returned.
    ///   - context: Likewise.
    ///   - onEnd: Called on the worker's thread when it stops serving for a reason of its own.
    init(
        number: Int, queue: UnsafeMutablePointer<fid_cq>, context: PersistContext,
        onEnd: @escaping @Sendable (WorkerEnd) -> Void
    ) throws(SystemCallError) {
        self.queue = queue
        let stop = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        stop.initialize(to: Atomic(false))
        self.stop = stop
        let hasStopped = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        hasStopped.initialize(to: Atomic(false))
        self.hasStopped = hasStopped
        let start = WorkerStart(context: context, queue: queue, stop: stop, hasStopped: hasStopped)
        do throws(SystemCallError) {
            thread = ThreadBox(
                try NamedThread(name: "persist-\(number)") {
                    var loop = PersistLoop(start.context, queue: start.queue, stop: start.stop)
                    let end = loop.run()
                    start.hasStopped.pointee.store(true, ordering: .releasing)
                    if case .stopped = end { return }
                    onEnd(end)
                })
        } catch {
            stop.deallocate()
            hasStopped.deallocate()
            throw error
        }
    }

    /// Ends the thread and waits for it. Idempotent.
    func finish() {
        stop.pointee.store(true, ordering: .releasing)
        var pause: UInt32 = 200
        while !hasStopped.pointee.load(ordering: .acquiring) {
            // More than once: libfabric 1.17 forgets a wake-up that comes between its last look for one and its sleep.
            CompletionQueue.wake(queue)
            usleep(pause)
            pause = min(pause * 2, 50_000)
        }
        thread.join()
    }

    deinit {
        finish()
        stop.deinitialize(count: 1)
        stop.deallocate()
        hasStopped.deinitialize(count: 1)
        hasStopped.deallocate()
    }

    /// Pointers on their way to the thread, which is joined before what they point to goes.
    private struct WorkerStart: @unchecked Sendable {
        let context: PersistContext
        let queue: UnsafeMutablePointer<fid_cq>
        let stop: UnsafePointer<Atomic<Bool>>
        let hasStopped: UnsafeMutablePointer<Atomic<Bool>>
    }

    /// A thread that can be joined early.
    private final class ThreadBox {
        private var thread: NamedThread?
        init(_ thread: consuming NamedThread) { self.thread = consume thread }
        func join() {
            if let thread = thread.take() { thread.join() }
        }
    }
}
