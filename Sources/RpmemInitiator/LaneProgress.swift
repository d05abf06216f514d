import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

// Posting operations and waiting for them. Nothing here allocates, locks or counts references while all goes well.

extension UnsafeMutablePointer where Pointee == Lane {
    /// What a lane waits for.
    enum Awaited {
        case answer, read
        /// The request's buffer may be written to again.
        case sendBuffer
        /// Another WRITE may be posted.
        case room
    }

    // MARK: Posting

    /// Starts to WRITE `length` bytes, at most ``DataPlane/maximumTransfer``, from the pool here to the pool there.
    func postWrite(offset: Int, length: Int) throws(LaneFault) {
        let plane = pointee.plane
        try wait(for: .room)
        // Half the window at a time, so that the other half keeps the provider busy meanwhile.
        let reports = (pointee.writesUnreported &+ 1) &* 2 >= plane.pointee.window
        let operation = pointee.writing + pointee.nextWrite
        prepareTransfer(
            plane.pointee.localBase + offset, length, descriptor: plane.pointee.localDescriptor,
            remote: plane.pointee.remoteBase &+ UInt64(truncatingIfNeeded: offset), operation)
        operation.pointee.retires = pointee.writesUnreported &+ 1
        let flags = reports ? UInt64(FI_COMPLETION) : 0
        try post(.write) { fi_writemsg($0.pointee.endpoint, $0.pointee.transfer, flags) }
        pointee.writesUnderWay &+= 1
        pointee.writesUnreported = reports ? 0 : pointee.writesUnreported &+ 1
        pointee.nextWrite = pointee.nextWrite &+ 1 == plane.pointee.window ? 0 : pointee.nextWrite &+ 1
    }

    /// Starts to READ `length` bytes, at most ``DataPlane/maximumTransfer``, from the pool there into `buffer`.
    func postRead(
        into buffer: UnsafeMutableRawPointer, descriptor: UnsafeMutableRawPointer?, offset: Int, length: Int
    ) throws(LaneFault) {
        let remote = pointee.plane.pointee.remoteBase &+ UInt64(truncatingIfNeeded: offset)
        prepareTransfer(buffer, length, descriptor: descriptor, remote: remote, pointee.reading)
        pointee.reading.pointee.retires = pointee.writesUnreported
        try post(.read) { fi_readmsg($0.pointee.endpoint, $0.pointee.transfer, UInt64(FI_COMPLETION)) }
        pointee.writesUnreported = 0
        pointee.readIsUnderWay = true
    }

    /// Sends the first `length` bytes of the request's buffer.
    ///
    /// A short request is injected: it has no completion, which would only wake this thread up before the answer does.
    func postSend(_ length: Int) throws(LaneFault) {
        if length <= pointee.plane.pointee.injectSize {
            try post(.send) { fi_inject($0.pointee.endpoint, $0.pointee.request, length, 0) }
            pointee.retiredByAnswer = pointee.writesUnreported
            pointee.writesUnreported = 0
            return
        }
        prepareMessage(pointee.request, length, pointee.sending)
        pointee.sending.pointee.retires = pointee.writesUnreported
        try post(.send) { fi_sendmsg($0.pointee.endpoint, $0.pointee.message, UInt64(FI_COMPLETION)) }
        pointee.writesUnreported = 0
        pointee.sendIsUnderWay = true
    }

    /// Makes sure that an answer would find a buffer.
    func postReceive() throws(LaneFault) {
        if pointee.receiveIsPosted { return }
        prepareMessage(pointee.answer, PersistResponse.byteCount, pointee.receiving)
        try post(.receive) { fi_recvmsg($0.pointee.endpoint, $0.pointee.message, UInt64(FI_COMPLETION)) }
        pointee.receiveIsPosted = true
    }

    private func prepareTransfer(
        _ buffer: UnsafeMutableRawPointer, _ length: Int, descriptor: UnsafeMutableRawPointer?, remote: UInt64,
        _ operation: UnsafeMutablePointer<LaneOperation>
    ) {
        pointee.vector.pointee = iovec(iov_base: buffer, iov_len: length)
        pointee.descriptor.pointee = descriptor
        pointee.place.pointee = fi_rma_iov(addr: remote, len: length, key: pointee.plane.pointee.remoteKey)
        pointee.transfer.pointee.context = UnsafeMutableRawPointer(operation)
    }

    private func prepareMessage(
        _ buffer: UnsafeMutableRawPointer, _ length: Int, _ operation: UnsafeMutablePointer<LaneOperation>
    ) {
        pointee.vector.pointee = iovec(iov_base: buffer, iov_len: length)
        pointee.descriptor.pointee = pointee.plane.pointee.messageDescriptor
        pointee.message.pointee.context = UnsafeMutableRawPointer(operation)
    }

    @inline(__always)
    private func post(_ step: LaneStep, _ body: (Self) -> Int) throws(LaneFault) {
        let result = body(self)
        if result != 0 { try postAgain(step, result, body) }
    }

    /// Waits until the provider takes the operation: its queue is full, or the lane is not quite set up yet.
    @inline(never)
    private func postAgain(_ step: LaneStep, _ first: Int, _ body: (Self) -> Int) throws(LaneFault) {
        var result = first
        let deadline = monotonicNanoseconds() &+ pointee.plane.pointee.timeoutNanoseconds
        while result != 0 {
            guard result == -Int(FI_EAGAIN) else { throw .refused(step, Int32(truncatingIfNeeded: -result)) }
            if pointee.plane.pointee.failed.pointee.load(ordering: .acquiring) { throw .poolFailed }
            if monotonicNanoseconds() >= deadline { throw .timedOut }
            // Completions may make room; where there are none, time does.
            _ = try note(fi_cq_sread(pointee.queue, pointee.entries, 1, nil, 1))
            result = body(self)
        }
    }

    // MARK: Waiting

    @inline(__always)
    func wait(for awaited: Awaited) throws(LaneFault) {
        if !isOver(awaited) { try keepWaiting(for: awaited) }
    }

    @inline(__always)
    private func isOver(_ awaited: Awaited) -> Bool {
        switch awaited {
        case .answer: pointee.hasAnswer
        case .read: !pointee.readIsUnderWay
        case .sendBuffer: !pointee.sendIsUnderWay
        case .room: pointee.writesUnderWay < pointee.plane.pointee.window
        }
    }

    private func keepWaiting(for awaited: Awaited) throws(LaneFault) {
        let plane = pointee.plane
        let start = monotonicNanoseconds()
        let pollEnd = start &+ plane.pointee.pollNanoseconds
        // One look at least: what is there already needs no blocking.
        repeat {
            for _ in 0..<16 {
                if try note(fi_cq_read(pointee.queue, pointee.entries, Lane.entryCapacity)), isOver(awaited) { return }
                if plane.pointee.pollNanoseconds == 0 { break }
            }
            if plane.pointee.failed.pointee.load(ordering: .acquiring) { throw .poolFailed }
        } while monotonicNanoseconds() < pollEnd

        let deadline = start &+ plane.pointee.timeoutNanoseconds
        while true {
            // A failure is noted before the queue is woken, so this look or the wake-up finds it; the slice only bounds
            // what a provider's lost wake-up could cost.
            if plane.pointee.failed.pointee.load(ordering: .acquiring) { throw .poolFailed }
            let now = monotonicNanoseconds()
            if now >= deadline { throw .timedOut }
            let slice = Int32(truncatingIfNeeded: min(500, (deadline &- now) / 1_000_000 &+ 1))
            if try note(fi_cq_sread(pointee.queue, pointee.entries, 1, nil, slice)), isOver(awaited) { return }
        }
    }

    /// Takes in all completions that are there, without waiting.
    @inline(__always)
    func noteCompletions() throws(LaneFault) {
        while try note(fi_cq_read(pointee.queue, pointee.entries, Lane.entryCapacity)) {}
    }

    /// Takes in what a read of the completion queue came back with; false when that was nothing.
    @inline(__always)
    private func note(_ result: Int) throws(LaneFault) -> Bool {
        if result <= 0 {
            switch result {
            // FI_ECANCELED is how sockets reports a wake-up.
            case 0, -Int(FI_EAGAIN), -Int(FI_EINTR), -Int(FI_ECANCELED): return false
            case -Int(FI_EAVAIL): throw .completedInError
            default: throw .refused(.wait, Int32(truncatingIfNeeded: -result))
            }
        }
        for index in 0..<result {
            guard let context = pointee.entries[index].op_context else { continue }
            let operation = context.assumingMemoryBound(to: LaneOperation.self)
            switch operation.pointee.kind {
            case .receive:
                pointee.receiveIsPosted = false
                if !pointee.awaitsAnswer { throw .unsolicitedAnswer }
                pointee.awaitsAnswer = false
                pointee.hasAnswer = true
                pointee.answerLength = pointee.entries[index].len
                pointee.writesUnderWay &-= pointee.retiredByAnswer
                pointee.retiredByAnswer = 0
            case .send:
                pointee.sendIsUnderWay = false
                pointee.writesUnderWay &-= operation.pointee.retires
            case .read:
                pointee.readIsUnderWay = false
                pointee.writesUnderWay &-= operation.pointee.retires
            case .write:
                pointee.writesUnderWay &-= operation.pointee.retires
            }
        }
        return true
    }
}
