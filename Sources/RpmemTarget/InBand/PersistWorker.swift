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
    ///
    /// `lanes` are those whose ranges were in what failed: one, or all that shared an msync.
    case persistFailed(lanes: [Int], errno: Int32)
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
    case deepPersistFailed(lane: Int, errno: Int32)
    /// msync of this range of addresses failed, for all lanes that have a range inside it.
    case syncFailed(start: UInt, end: UInt, errno: Int32)
    /// Reading the completion queue failed; the code is positive.
    case queueFailed(code: Int32)
    /// The provider had no room for an answer on the lane for too long.
    case noRoom(lane: Int)
    /// The reason is in the loop's `failure`.
    case peerUnreachable
    /// The reason is in the loop's `failure`.
    case operationFailed
}

/// What all workers of a session share; constant while they run.
struct PersistContext {
    /// The pool, as the peer addresses it.
    let regionBase: UInt64
    let regionSize: UInt64
    let persister: Persister
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
    /// Nanoseconds on a clock that only goes forward, which the time without room is counted on.
    var roomClock: @convention(c) () -> UInt64 = { monotonicNanoseconds() }
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
    /// Odd while a batch is served; see ``PersistWorker/rounds``.
    private let rounds: UnsafeMutablePointer<Atomic<UInt64>>
    /// What ``nextCompletions()`` polls; a descriptor of -1 where it has `fi_cq_sread` wait.
    private let waitSet: UnsafeMutablePointer<pollfd>
    /// What ``waitForDescriptor()`` found, if ``hasTakenError``.
    private let takenError: UnsafeMutablePointer<fi_cq_err_entry>
    private var hasTakenError = false

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
        /// Whose request it was.
        var lane: UnsafeMutablePointer<Lane>
    }

    /// - Parameters:
    ///   - queue: Where the lanes' completions arrive; must outlive this.
    ///   - waitDescriptor: The queue's, where `fi_cq_sread` sleeps through errors (sockets); -1 elsewhere.
    ///   - stop: Set, followed by a wake-up of the queue, to end ``run()``; must outlive this.
    ///   - rounds: Counts the beginnings and ends of batches; must outlive this.
    init(
        _ context: PersistContext, queue: UnsafeMutablePointer<fid_cq>, waitDescriptor: Int32 = -1,
        stop: UnsafePointer<Atomic<Bool>>, rounds: UnsafeMutablePointer<Atomic<UInt64>>
    ) {
        self.context = context
        self.queue = queue
        self.stop = stop
        self.rounds = rounds
        waitSet = .allocate(capacity: 1)
        waitSet.initialize(to: pollfd(fd: waitDescriptor, events: Int16(POLLIN), revents: 0))
        takenError = .allocate(capacity: 1)
        takenError.initialize(to: fi_cq_err_entry())
        completions = .allocate(capacity: Self.batchSize)
        completions.initialize(repeating: fi_cq_msg_entry(), count: Self.batchSize)
        // A lane is in it once at most: it is refused a second request before the answer to the first.
        batch = .allocate(capacity: context.laneCount)
        ranges = .allocate(capacity: Self.batchSize)
    }

    deinit {
        waitSet.deallocate()
        takenError.deallocate()
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
        case .deepPersistFailed(let lane, let errno): .persistFailed(lanes: [lane], errno: errno)
        case .syncFailed(let start, let end, let errno):
            .persistFailed(lanes: lanes(from: start, to: end), errno: errno)
        case .queueFailed(let code): .fabricFailed(FabricError("fi_cq_read", code: code))
        case .noRoom(let lane):
            .fabricFailed(
                FabricError("fi_inject", code: Int32(FI_EAGAIN), detail: "lane \(lane): no room for an answer in 10 s"))
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
            countRound()
            if let interruption = carryOut(first: count) { return interruption }
            if let interruption = makeDurable() { return interruption }
            if let interruption = answerBatch() { return interruption }
            countRound()
        }
    }

    /// Only this thread writes the counter.
    private func countRound() {
        rounds.pointee.store(rounds.pointee.load(ordering: .relaxed) &+ 1, ordering: .releasing)
    }

    /// Waits for completions: polls for the configured time, then blocks without a time-out, since what ends the
    /// wait (a completion, or ``stop`` with a wake-up) always reaches the queue.
    private mutating func nextCompletions() -> Int {
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
        if waitSet.pointee.fd >= 0 { return waitForDescriptor() }
        return fi_cq_sread(queue, completions, Self.batchSize, nil, -1)
    }

    /// As `fi_cq_sread`, but for errors, too: libfabric 1.17's sockets provider signals them on the descriptor, and its
    /// own wait goes back to sleep since there is no completion.
    private mutating func waitForDescriptor() -> Int {
        // The read that found nothing may have taken the signal of an error that came meanwhile.
        if fi_cq_readerr(queue, takenError, 0) > 0 {
            hasTakenError = true
            return Self.errorAvailable
        }
        _ = poll(waitSet, 1, -1)
        return fi_cq_read(queue, completions, Self.batchSize)
    }

    /// The error behind an FI_EAVAIL, and the context of its operation.
    private mutating func takeError() -> (error: FabricError, context: UnsafeMutableRawPointer?)? {
        guard hasTakenError else { return CompletionQueue.readError(queue) }
        hasTakenError = false
        return (CompletionQueue.error(takenError.pointee, of: queue), takenError.pointee.op_context)
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
            return errno == 0 ? nil : .deepPersistFailed(lane: lane - context.lanes, errno: errno)
        case .inline:
            context.persister.copy(
                to: address, from: lane.pointee.request + PersistRequestHeader.byteCount, length: length)
        default: break
        }
        if case .msync = context.persister.kind {
            addRange(UInt(bitPattern: address), length, of: lane)
        } else {
            context.persister.flush(address, length)
            mustDrain = true
        }
        return nil
    }

    /// Keeps the ranges to sync sorted by address.
    private mutating func addRange(_ start: UInt, _ length: Int, of lane: UnsafeMutablePointer<Lane>) {
        var index = rangeCount
        while index > 0, ranges[index &- 1].start > start {
            ranges[index] = ranges[index &- 1]
            index &-= 1
        }
        ranges[index] = DirtyRange(start: start, end: start &+ UInt(length), lane: lane)
        rangeCount &+= 1
    }

    /// Lanes with a range of the batch inside these addresses, in order.
    private func lanes(from start: UInt, to end: UInt) -> [Int] {
        (0..<rangeCount).filter { ranges[$0].start >= start && ranges[$0].end <= end }
            .map { ranges[$0].lane - context.lanes }.sorted()
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
            if errno != 0 { return .syncFailed(start: merged.start, end: merged.end, errno: errno) }
        }
        rangeCount = 0
        return nil
    }

    /// Answers every lane of the batch; where the provider has no room, lets it progress and tries again.
    private mutating func answerBatch() -> Interruption? {
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
                } else {
                    lane.pointee.roomDeadline = 0
                    // Whether the initiator is gone, too, the control connection tells.
                    if result != 0 { close(lane) }
                }
            }
            batchCount = waiting
            if waiting == 0 { return nil }

            if stop.pointee.load(ordering: .relaxed) { return .stopped }
            if let lane = laneWithoutRoom(now: context.roomClock()) { return .noRoom(lane: lane) }
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

    /// Counts the time of each lane that waits for room by itself: lanes that take turns are healthy.
    ///
    /// - Returns: A lane whose answer has found no room for too long.
    private func laneWithoutRoom(now: UInt64) -> Int? {
        var index = 0
        while index < batchCount {
            let lane = batch[index]
            index &+= 1
            // Lanes that joined the batch since the last round wait from now on, too.
            if lane.pointee.roomDeadline == 0 { lane.pointee.roomDeadline = now &+ Self.roomNanoseconds }
            if now > lane.pointee.roomDeadline { return lane - context.lanes }
        }
        return nil
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
        guard let (error, opaque) = takeError() else { return nil }
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
        close(context.lanes + lane)
        // The lane itself would go on, but without a receive: its peer would wait for ever.
        if error.code == FI_ETRUNC || error.code == FI_EMSGSIZE { return .oversizedRequest(lane: lane) }
        return nil
    }

    /// Ends a lane that has no receive or gets no answer any more, and tells the session: with verbs nothing else does.
    @inline(never)
    private func close(_ lane: UnsafeMutablePointer<Lane>) {
        lane.pointee.progress = .closed
        context.ended[lane - context.lanes].store(true, ordering: .releasing)
        WakeUp.signal(context.endSignal)
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
    private let roundCounter: UnsafeMutablePointer<Atomic<UInt64>>

    /// Beginnings and ends of batches so far: odd while the worker serves one, and then takes no completion in.
    var rounds: UInt64 { roundCounter.pointee.load(ordering: .acquiring) }

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - queue: Where the lanes' completions arrive; must stay valid until ``finish()`` returned.
    ///   - waitDescriptor: See ``PersistLoop/init(_:queue:waitDescriptor:stop:rounds:)``.
    ///   - context: Must stay valid as long.
    ///   - onEnd: Called on the worker's thread when it stops serving for a reason of its own.
    init(
        number: Int, queue: UnsafeMutablePointer<fid_cq>, waitDescriptor: Int32 = -1, context: PersistContext,
        onEnd: @escaping @Sendable (WorkerEnd) -> Void
    ) throws(SystemCallError) {
        self.queue = queue
        let stop = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        stop.initialize(to: Atomic(false))
        self.stop = stop
        let hasStopped = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        hasStopped.initialize(to: Atomic(false))
        self.hasStopped = hasStopped
        let rounds = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: 1)
        rounds.initialize(to: Atomic(0))
        roundCounter = rounds
        let start = WorkerStart(
            context: context, queue: queue, waitDescriptor: waitDescriptor, stop: stop, hasStopped: hasStopped,
            rounds: rounds)
        do throws(SystemCallError) {
            thread = ThreadBox(
                try NamedThread(name: "persist-\(number)") {
                    var loop = PersistLoop(
                        start.context, queue: start.queue, waitDescriptor: start.waitDescriptor, stop: start.stop,
                        rounds: start.rounds)
                    let end = loop.run()
                    start.hasStopped.pointee.store(true, ordering: .releasing)
                    if case .stopped = end { return }
                    onEnd(end)
                })
        } catch {
            stop.deallocate()
            hasStopped.deallocate()
            rounds.deallocate()
            throw error
        }
    }

    /// Ends the thread and waits for it, as long as the storage takes that it may be waiting for: a ``Watchdog`` bounds that.
    /// Idempotent.
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
        roundCounter.deinitialize(count: 1)
        roundCounter.deallocate()
    }

    /// Pointers on their way to the thread, which is joined before what they point to goes.
    private struct WorkerStart: @unchecked Sendable {
        let context: PersistContext
        let queue: UnsafeMutablePointer<fid_cq>
        let waitDescriptor: Int32
        let stop: UnsafePointer<Atomic<Bool>>
        let hasStopped: UnsafeMutablePointer<Atomic<Bool>>
        let rounds: UnsafeMutablePointer<Atomic<UInt64>>
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
