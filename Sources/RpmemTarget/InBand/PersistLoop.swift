import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport

// Longer than 400 lines: the way of a request reads downwards in one file.

/// Serves the persist requests that arrive on one completion queue, until it is told to stop.
///
/// The file reads in the order of a request's way. ``serve()`` takes completions in batches. ``carryOut(_:)`` checks each
/// request and flushes its range. ``makeDurable()`` drains once for the whole batch, or syncs merged ranges. Only then
/// ``answer(_:)`` posts the lane's next receive and sends the answer. On that way nothing is allocated, locked, logged or
/// retained: all data lies in memory that this value owns or borrows.
///
/// A function on the way returns false when the loop must end. A function beside the way, not inlined, has set ``end`` then.
struct PersistLoop: ~Copyable {
    private let context: PersistContext
    private let queue: UnsafeMutablePointer<fid_cq>
    private let stop: UnsafePointer<Atomic<Bool>>
    private let rounds: UnsafeMutablePointer<Atomic<UInt64>>
    private let counts: UnsafeMutablePointer<PersistCounts>
    /// The queue's descriptor for poll(2); -1 where `fi_cq_sread` waits.
    private let waitSet: UnsafeMutablePointer<pollfd>
    /// The error that ``waitForDescriptor()`` has read, if ``hasTakenError``.
    private let takenError: UnsafeMutablePointer<fi_cq_err_entry>
    private var hasTakenError = false
    private let completions: UnsafeMutablePointer<fi_cq_msg_entry>
    /// Lanes of this batch that have no answer yet.
    private let batch: UnsafeMutablePointer<UnsafeMutablePointer<TargetLane>>
    private var batchCount = 0
    private let ranges: UnsafeMutablePointer<DirtyRange>
    private var rangeCount = 0
    private var mustDrain = false
    /// Whether a batch was answered since ``PersistCounts/lastAnswer`` was set.
    private var hasAnswered = false
    private var polling: CompletionPolling
    /// Why the loop ends. It is `stopped`, which owns no memory, until a function replaces it by initialize(to:).
    private let end: UnsafeMutablePointer<WorkerEnd>

    /// libfabric's negated codes, as its data path functions return them.
    private static var tryAgain: Int { 0 &- Int(FI_EAGAIN) }
    private static var errorAvailable: Int { 0 &- Int(FI_EAVAIL) }
    /// Completions that are read at once. Their requests share one drain.
    private static let batchSize = 64
    /// Ranges closer than this share an msync: skipping clean pages costs nanoseconds, a journal commit milliseconds.
    private static let mergeGap = 64 << 20
    /// How long a provider may have no room for a receive or an answer before the lane counts as broken.
    private static let roomNanoseconds: UInt64 = 10_000_000_000

    /// - Parameters:
    ///   - queue: The completion queue of the lanes; must outlive this.
    ///   - waitDescriptor: The queue's descriptor, where `fi_cq_sread` sleeps through errors (sockets); -1 elsewhere.
    ///   - stop: The session sets it and wakes the queue to end ``run()``; must outlive this.
    ///   - rounds: Counts the beginnings and ends of batches; must outlive this.
    ///   - counts: Counts what is answered; must outlive this.
    init(
        _ context: PersistContext, queue: UnsafeMutablePointer<fid_cq>, waitDescriptor: Int32 = -1,
        stop: UnsafePointer<Atomic<Bool>>, rounds: UnsafeMutablePointer<Atomic<UInt64>>,
        counts: UnsafeMutablePointer<PersistCounts>
    ) {
        self.context = context
        self.queue = queue
        self.stop = stop
        self.rounds = rounds
        polling = CompletionPolling(nanoseconds: context.pollNanoseconds)
        self.counts = counts
        waitSet = .allocate(capacity: 1)
        waitSet.initialize(to: pollfd(fd: waitDescriptor, events: Int16(POLLIN), revents: 0))
        takenError = .allocate(capacity: 1)
        takenError.initialize(to: fi_cq_err_entry())
        completions = .allocate(capacity: Self.batchSize)
        completions.initialize(repeating: fi_cq_msg_entry(), count: Self.batchSize)
        // A lane is in it once at most: a second request before the answer to the first ends the loop.
        batch = .allocate(capacity: context.laneCount)
        ranges = .allocate(capacity: Self.batchSize)
        end = .allocate(capacity: 1)
        end.initialize(to: .stopped)
    }

    deinit {
        waitSet.deallocate()
        takenError.deallocate()
        completions.deallocate()
        batch.deallocate()
        ranges.deallocate()
        end.deallocate()
    }

    /// Serves requests until it is told to stop, or an error ends it. Call it once.
    mutating func run() -> WorkerEnd {
        serve()
        return end.move()
    }

    // MARK: The way of a request

    @inline(never)
    private mutating func serve() {
        while true {
            let count = nextCompletions()
            if count <= 0 {
                if stop.pointee.load(ordering: .acquiring) { return }
                guard count == Self.errorAvailable ? closeFailedLane() : isTransient(count) || endForQueue(count)
                else { return }
                continue
            }
            // One batch of 16 is timed: two looks at a clock cost as much as a flush.
            let begin = rounds.pointee.load(ordering: .relaxed) & 31 == 0 ? monotonicNanoseconds() : 0
            countRound()
            guard carryOut(first: count), makeDurable() else { return }
            let requests = batchCount
            guard answerBatch() else { return }
            if begin != 0 { noteTimes(of: requests, since: begin) } else if requests > 0 { hasAnswered = true }
            countRound()
        }
    }

    /// - Parameter begin: The monotonic clock when the batch had come.
    @inline(__always)
    private mutating func noteTimes(of requests: Int, since begin: UInt64) {
        if requests == 0 { return }
        let end = monotonicNanoseconds()
        counts.pointee.times.add(requests, nanoseconds: end &- begin)
        counts.pointee.noteAnswer(at: end)
        hasAnswered = false
    }

    /// Only this thread writes the counter, twice for each batch.
    private func countRound() {
        rounds.pointee.store(rounds.pointee.load(ordering: .relaxed) &+ 1, ordering: .releasing)
    }

    /// Waits for completions: polls as ``CompletionPolling`` decides, then blocks. It needs no time-out: a completion ends the wait, and so
    /// does ``stop``, with which the session wakes the queue.
    private mutating func nextCompletions() -> Int {
        var count = fi_cq_read(queue, completions, Self.batchSize)
        if count != Self.tryAgain { return count }
        if polling.begins() {
            repeat {
                count = fi_cq_read(queue, completions, Self.batchSize)
                if count != Self.tryAgain {
                    polling.succeeds()
                    return count
                }
                if stop.pointee.load(ordering: .relaxed) { return count }
            } while polling.goesOn()
        }
        if hasAnswered {
            hasAnswered = false
            counts.pointee.noteAnswer(at: monotonicNanoseconds())
        }
        if waitSet.pointee.fd >= 0 { return waitForDescriptor() }
        return fi_cq_sread(queue, completions, Self.batchSize, nil, -1)
    }

    /// As `fi_cq_sread`, but errors end the wait as well. libfabric 1.17's sockets provider signals an error on the descriptor, and
    /// its `fi_cq_sread` goes back to sleep because there is no completion.
    private mutating func waitForDescriptor() -> Int {
        // The read that found no completion may have cleared the signal of an error.
        if fi_cq_readerr(queue, takenError, 0) > 0 {
            hasTakenError = true
            return Self.errorAvailable
        }
        _ = poll(waitSet, 1, -1)
        return fi_cq_read(queue, completions, Self.batchSize)
    }

    /// Carries out the requests of the first `count` completions.
    private mutating func carryOut(first count: Int) -> Bool {
        var index = 0
        while index < count {
            if !carryOut(completions[index]) { return false }
            index &+= 1
        }
        return true
    }

    /// Checks one request, and starts to make its range durable.
    private mutating func carryOut(_ completion: fi_cq_msg_entry) -> Bool {
        // Answers that were not injected complete as well; only receives carry requests.
        guard completion.flags & UInt64(FI_RECV) != 0, let opaque = completion.op_context else {
            if let signOfLife = context.signOfLife, completion.op_context == UnsafeMutableRawPointer(signOfLife) {
                signOfLife.pointee.isAwaited.store(false, ordering: .releasing)
            }
            return true
        }
        let lane = opaque.assumingMemoryBound(to: TargetLane.self)
        guard case .waiting = lane.pointee.progress else {
            return endForOverlap(lane)
        }
        let header = lane.pointee.request.loadUnaligned(as: PersistRequestHeader.self)
        if let error = checkPersistRequest(
            header, receivedBytes: completion.len, regionBase: context.regionBase, regionSize: context.regionSize,
            laneCount: UInt32(truncatingIfNeeded: context.laneCount),
            inlineCapacity: UInt64(
                truncatingIfNeeded: context.requestCapacity &- PersistRequestHeader.byteCount))
        {
            return endForViolation(lane, error, header, receivedBytes: completion.len)
        }
        // The check has shown that there is a mode.
        let mode = header.mode.unsafelyUnwrapped
        lane.pointee.requestedLane = header.lane
        lane.pointee.requestedMode = mode
        lane.pointee.requestedSize = header.size
        lane.pointee.progress = .durable
        batch[batchCount] = lane
        batchCount &+= 1
        if header.size == 0 { return true }

        // The check has shown that the range lies in the pool.
        let address = UnsafeMutableRawPointer(bitPattern: UInt(header.address)).unsafelyUnwrapped
        let length = Int(truncatingIfNeeded: header.size)
        if context.writesByDevice, mode != .inline { context.persister.noteDeviceWrites(address, length) }
        switch mode {
        case .deep:
            let errno = context.persister.deepPersist(address, length)
            return errno == 0 || endForDeepPersist(lane, errno: errno)
        case .inline:
            context.persister.copy(
                to: address, from: lane.pointee.request + PersistRequestHeader.byteCount, length: length)
        default: break
        }
        if case .msync = context.persister.kind {
            addRange(UInt(bitPattern: address), length, of: lane)
        } else {
            // The copy has flushed inline data.
            if mode != .inline { context.persister.flush(address, length) }
            mustDrain = true
        }
        return true
    }

    /// Keeps the ranges to sync sorted by address.
    private mutating func addRange(_ start: UInt, _ length: Int, of lane: UnsafeMutablePointer<TargetLane>) {
        var index = rangeCount
        while index > 0, ranges[index &- 1].start > start {
            ranges[index] = ranges[index &- 1]
            index &-= 1
        }
        ranges[index] = DirtyRange(start: start, end: start &+ UInt(length), lane: lane)
        rangeCount &+= 1
    }

    /// After this, every range of the batch is durable.
    private mutating func makeDurable() -> Bool {
        if mustDrain {
            context.persister.drain()
            mustDrain = false
            counts.pointee.addBatch()
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
            if errno != 0 { return endForSync(merged.start, merged.end, errno: errno) }
        }
        if rangeCount > 0 { counts.pointee.addBatch() }
        // A device that writes may have the pages pinned.
        if !context.writesByDevice { dropLargeFolios() }
        rangeCount = 0
        return true
    }

    /// Lets later persists near these ranges write little; see ``Persister/dropLargeFolios(_:_:)``.
    private func dropLargeFolios() {
        var index = 0
        while index < rangeCount {
            let range = ranges[index]
            context.persister.dropLargeFolios(
                UnsafeRawPointer(bitPattern: range.start).unsafelyUnwrapped, Int(range.end &- range.start))
            index &+= 1
        }
    }

    /// Answers every lane of the batch. Where the provider has no room, lets it progress and tries again.
    private mutating func answerBatch() -> Bool {
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
                    // The lane is gone. The control connection shows whether the initiator is gone too.
                    if result != 0 { close(lane) }
                }
            }
            batchCount = waiting
            if waiting == 0 { return true }

            if stop.pointee.load(ordering: .relaxed) { return false }
            if let lane = laneWithoutRoom(now: context.roomClock()) { return endForRoom(lane) }
            // Reading the queue lets the provider progress its sends. Requests that it returns join the batch.
            let count = fi_cq_read(queue, completions, Self.batchSize)
            if count > 0 {
                guard carryOut(first: count), makeDurable() else { return false }
            } else if count == Self.errorAvailable, !closeFailedLane() {
                return false
            }
        }
    }

    /// Finds a lane whose answer has waited for room for too long. Each lane has a time of its own: a provider that has room for
    /// one after the other is healthy.
    private func laneWithoutRoom(now: UInt64) -> UnsafeMutablePointer<TargetLane>? {
        var index = 0
        while index < batchCount {
            let lane = batch[index]
            index &+= 1
            // A lane that has joined the batch since the last call waits from now on.
            if lane.pointee.roomDeadline == 0 { lane.pointee.roomDeadline = now &+ Self.roomNanoseconds }
            if now > lane.pointee.roomDeadline { return lane }
        }
        return nil
    }

    /// Posts the lane's next receive, then sends the answer, after which the initiator may send its next request.
    ///
    /// - Returns: 0, or libfabric's negated code. After −FI_EAGAIN the caller may try again.
    private func answer(_ lane: UnsafeMutablePointer<TargetLane>) -> Int {
        let endpoint = lane.pointee.endpoint
        if case .durable = lane.pointee.progress {
            // Nothing reads the request in the buffer any more: inline data is in the pool.
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
        if sent == 0 {
            lane.pointee.progress = .waiting
            counts.pointee.add(lane.pointee.requestedMode, lane.pointee.requestedSize)
        }
        return sent
    }

    /// Whether a wait ended without a completion for a reason that needs no action.
    private func isTransient(_ result: Int) -> Bool {
        result == 0 || result == Self.tryAgain || result == -Int(FI_EINTR) || result == -Int(FI_ECANCELED)
    }

    // MARK: Beside the way

    /// Reads the queue's error, and closes the lane that failed, as when an initiator hangs up. An error without a lane ends the
    /// loop.
    @inline(never)
    private mutating func closeFailedLane() -> Bool {
        guard let failed = takeError() else { return true }
        if let signOfLife = context.signOfLife, failed.context == UnsafeMutableRawPointer(signOfLife) {
            signOfLife.pointee.isAwaited.store(false, ordering: .releasing)
            // Cancelled with its lane, whose receive completes in error as well.
            if failed.error.code == FI_ECANCELED { return true }
            end.initialize(to: .peerUnreachable(failed.error))
            return false
        }
        let address = UInt(bitPattern: failed.context)
        let first = UInt(bitPattern: context.lanes)
        // The sockets provider reports an injected answer that it could not deliver, without a context. The lane's receive
        // completes in error as well.
        if failed.context == nil, failed.flags & UInt64(FI_SEND) != 0 { return true }
        guard (first..<UInt(bitPattern: context.lanes + context.laneCount)).contains(address) else {
            end.initialize(to: .fabricFailed(failed.error))
            return false
        }
        let lane = Int(address - first) / MemoryLayout<TargetLane>.stride
        close(context.lanes + lane)
        // The connection stands, but without a receive its peer would wait for an answer for ever.
        if failed.error.code == FI_ETRUNC || failed.error.code == FI_EMSGSIZE {
            end.initialize(to: .oversizedRequest(lane: lane))
            return false
        }
        return true
    }

    /// The operation whose error FI_EAVAIL announced.
    private mutating func takeError() -> FailedOperation? {
        guard hasTakenError else { return CompletionQueue.readError(queue) }
        hasTakenError = false
        return FailedOperation(takenError.pointee, of: queue)
    }

    /// Ends a lane that has no receive or gets no answer any more, and tells the session. With verbs nothing else does.
    @inline(never)
    private func close(_ lane: UnsafeMutablePointer<TargetLane>) {
        lane.pointee.progress = .closed
        context.ended[lane - context.lanes].store(true, ordering: .releasing)
        WakeUp.signal(context.endSignal)
    }

    @inline(never)
    private func endForQueue(_ result: Int) -> Bool {
        let code = Int32(truncatingIfNeeded: 0 &- result)
        end.initialize(to: .fabricFailed(FabricError(.readCompletionQueue, code: code)))
        return false
    }

    @inline(never)
    private func endForOverlap(_ lane: UnsafeMutablePointer<TargetLane>) -> Bool {
        end.initialize(to: .overlappingRequest(lane: lane - context.lanes))
        return false
    }

    @inline(never)
    private func endForViolation(
        _ lane: UnsafeMutablePointer<TargetLane>, _ error: PersistRequestError, _ header: PersistRequestHeader,
        receivedBytes: Int
    ) -> Bool {
        end.initialize(to: .violation(lane: lane - context.lanes, error, header, receivedBytes: receivedBytes))
        return false
    }

    @inline(never)
    private func endForDeepPersist(_ lane: UnsafeMutablePointer<TargetLane>, errno: Int32) -> Bool {
        end.initialize(to: .persistFailed(lanes: [lane - context.lanes], errno: errno))
        return false
    }

    /// All lanes with a range inside these addresses shared the msync that failed.
    @inline(never)
    private func endForSync(_ first: UInt, _ last: UInt, errno: Int32) -> Bool {
        let lanes = (0..<rangeCount).filter { ranges[$0].start >= first && ranges[$0].end <= last }
            .map { ranges[$0].lane - context.lanes }.sorted()
        end.initialize(to: .persistFailed(lanes: lanes, errno: errno))
        return false
    }

    @inline(never)
    private func endForRoom(_ lane: UnsafeMutablePointer<TargetLane>) -> Bool {
        let detail = "lane \(lane - context.lanes): no room for an answer in 10 s"
        end.initialize(to: .fabricFailed(FabricError(.inject, code: Int32(FI_EAGAIN), detail: detail)))
        return false
    }
}
