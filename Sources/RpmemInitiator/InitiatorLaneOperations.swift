import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

// A lane's libfabric operations: posting them and waiting for their completions.

extension InitiatorLane {
    // MARK: Posting operations

    /// Starts to WRITE `length` bytes, at most ``LaneConstants/maximumTransfer``, from the local pool to the target's.
    ///
    /// - Parameter commits: Whether the target's provider makes the range durable before the WRITE completes.
    mutating func postWrite(offset: Int, length: Int, commits: Bool = false) throws(LaneError) {
        try wait(for: .room)
        // Half a window at a time reports its completion: the other half keeps the provider busy meanwhile.
        let reports = commits || (writesUnreported &+ 1) &* 2 >= constants.window
        let context = memory.contexts + (LaneMemory.contextsBeforeWrites &+ nextWrite)
        context.pointee.retires = writesUnreported &+ 1
        context.pointee.kind = commits ? .commit : .write
        let flags = commits ? rpmem_fi_commit : reports ? UInt64(FI_COMPLETION) : 0
        let endpoint = endpoint
        var deadline: UInt64 = 0
        while true {
            let result = rpmem_fi_transfer(
                endpoint, true, constants.localBase + offset, length, constants.localDescriptor, remoteAddress(offset),
                constants.remoteKey, context, flags)
            if result == 0 { break }
            try waitToPostAgain(.write, result, until: &deadline)
        }
        writesUnderWay &+= 1
        if commits { commitsUnderWay &+= 1 }
        writesUnreported = reports ? 0 : writesUnreported &+ 1
        nextWrite = nextWrite &+ 1 == constants.window ? 0 : nextWrite &+ 1
    }

    /// Starts to READ `length` bytes, at most ``LaneConstants/maximumTransfer``, of the target's pool into `buffer`.
    ///
    /// - Parameter slot: Below ``LaneConstants/readDepth``; no READ with this number is under way.
    mutating func postRead(
        _ slot: Int, into buffer: UnsafeMutableRawPointer, descriptor: UnsafeMutableRawPointer?, offset: Int,
        length: Int
    ) throws(LaneError) {
        let context = memory.contexts + (LaneMemory.firstRead &+ slot)
        context.pointee.retires = writesUnreported
        let endpoint = endpoint
        var deadline: UInt64 = 0
        while true {
            let result = rpmem_fi_transfer(
                endpoint, false, buffer, length, descriptor, remoteAddress(offset), constants.remoteKey, context,
                rpmem_fi_completion)
            if result == 0 { break }
            try waitToPostAgain(.read, result, until: &deadline)
        }
        writesUnreported = 0
        readsUnderWay |= 1 &<< UInt32(truncatingIfNeeded: slot)
    }

    /// Sends the first `length` bytes of the request buffer.
    ///
    /// A short request is injected. It has no completion, which would wake this thread up before the answer does.
    mutating func postSend(_ length: Int) throws(LaneError) {
        let isInjected = length <= constants.injectSize
        let context = memory.contexts + 1
        context.pointee.retires = writesUnreported
        let endpoint = endpoint
        var deadline: UInt64 = 0
        while true {
            let result =
                isInjected
                ? fi_inject(endpoint, request, length, 0)
                : rpmem_fi_message(
                    endpoint, true, request, length, constants.messageDescriptor, context, rpmem_fi_completion)
            if result == 0 { break }
            try waitToPostAgain(.injectOrSend, result, until: &deadline)
        }
        if isInjected { retiredByAnswer = writesUnreported } else { sendIsUnderWay = true }
        writesUnreported = 0
    }

    /// Makes sure that an answer finds a buffer.
    mutating func postReceive() throws(LaneError) {
        if receiveIsPosted { return }
        var deadline: UInt64 = 0
        while true {
            // Receives always report their completion, see ``Endpoint``.
            let result = fi_recv(
                endpoint, answer, PersistResponse.byteCount, constants.messageDescriptor, 0, memory.contexts)
            if result == 0 { break }
            try waitToPostAgain(.receive, result, until: &deadline)
        }
        receiveIsPosted = true
    }

    /// Waits before an operation is posted again that the provider had no room for.
    ///
    /// - Parameter deadline: 0 before the first time.
    @inline(never)
    private mutating func waitToPostAgain(
        _ operation: FabricOperation, _ result: Int, until deadline: inout UInt64
    ) throws(LaneError) {
        guard result == -Int(FI_EAGAIN) else { throw .libfabric(operation, Int32(truncatingIfNeeded: -result)) }
        if constants.hasFailed.pointee.load(ordering: .acquiring) { throw .poolFailed }
        let now = monotonicNanoseconds()
        if deadline == 0 { deadline = now &+ constants.timeoutNanoseconds }
        if now >= deadline { throw .timedOut }
        // A completion makes room. The provider may also need nothing but time: 1 ms.
        _ = try noteCompletions(fi_cq_sread(queue, memory.completions, 1, nil, 1))
    }

    /// The target's address of an offset of the pool.
    @inline(__always)
    private func remoteAddress(_ offset: Int) -> UInt64 {
        constants.remoteBase &+ UInt64(truncatingIfNeeded: offset)
    }

    // MARK: Waiting for completions

    enum Awaited {
        case answer
        /// The READ with this number.
        case read(Int)
        /// The request buffer may be written to again.
        case sendBuffer
        /// Another WRITE may be posted.
        case room
        /// All committing WRITEs are durable.
        case commits
    }

    @inline(__always)
    mutating func wait(for event: Awaited) throws(LaneError) {
        if !hasHappened(event) { try keepWaiting(for: event) }
    }

    @inline(__always)
    private func hasHappened(_ event: Awaited) -> Bool {
        switch event {
        case .answer: !awaitsAnswer
        case .read(let slot): readsUnderWay & (1 &<< UInt32(truncatingIfNeeded: slot)) == 0
        case .sendBuffer: !sendIsUnderWay
        case .room: writesUnderWay < constants.window
        case .commits: commitsUnderWay == 0
        }
    }

    private mutating func keepWaiting(for event: Awaited) throws(LaneError) {
        let start = monotonicNanoseconds()
        // At least once: a completion that is already there needs no blocking.
        var polls = polling.begins()
        repeat {
            let result = fi_cq_read(queue, memory.completions, LaneMemory.completionCapacity)
            if try noteCompletions(result), hasHappened(event) {
                polling.succeeds()
                return
            }
            if constants.hasFailed.pointee.load(ordering: .acquiring) { throw .poolFailed }
            polls = polls && polling.goesOn()
        } while polls

        let deadline = start &+ constants.timeoutNanoseconds
        while true {
            // StickyError sets the flag before LaneSet wakes the queue, so this load or the wake-up finds it. A slice
            // bounds the cost of a wake-up that a provider loses.
            if constants.hasFailed.pointee.load(ordering: .acquiring) { throw .poolFailed }
            let now = monotonicNanoseconds()
            if now >= deadline { throw .timedOut }
            let slice = Int32(truncatingIfNeeded: min(500, (deadline &- now) / 1_000_000 &+ 1))
            if try noteCompletions(fi_cq_sread(queue, memory.completions, 1, nil, slice)), hasHappened(event) {
                return
            }
        }
    }

    /// Takes in the completions that a read of the queue returned.
    ///
    /// - Parameter result: Of fi_cq_read or fi_cq_sread.
    /// - Returns: False when there was none.
    @inline(__always)
    mutating func noteCompletions(_ result: Int) throws(LaneError) -> Bool {
        if result <= 0 {
            switch result {
            // FI_ECANCELED is how the sockets provider reports a wake-up.
            case 0, -Int(FI_EAGAIN), -Int(FI_EINTR), -Int(FI_ECANCELED): return false
            case -Int(FI_EAVAIL): throw .completedInError
            default: throw .libfabric(.waitForCompletions, Int32(truncatingIfNeeded: -result))
            }
        }
        for index in 0..<result {
            guard let pointer = memory.completions[index].op_context else { continue }
            let context = pointer.assumingMemoryBound(to: OperationContext.self)
            switch context.pointee.kind {
            case .receive:
                receiveIsPosted = false
                if !awaitsAnswer { throw .unsolicitedAnswer }
                awaitsAnswer = false
                answerLength = memory.completions[index].len
                writesUnderWay &-= retiredByAnswer
                retiredByAnswer = 0
            case .send:
                sendIsUnderWay = false
                writesUnderWay &-= context.pointee.retires
            case .read:
                // READs may complete in any order.
                let slot = context - (memory.contexts + LaneMemory.firstRead)
                readsUnderWay &= ~(1 &<< UInt32(truncatingIfNeeded: slot))
                writesUnderWay &-= context.pointee.retires
            case .write:
                writesUnderWay &-= context.pointee.retires
            case .commit:
                commitsUnderWay &-= 1
                writesUnderWay &-= context.pointee.retires
            }
        }
        return true
    }
}
