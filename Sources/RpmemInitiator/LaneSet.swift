import CFabric
import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// A pool's lanes, connected: libfabric's objects, the registered memory, and the lanes' own.
///
/// Sendable since each lane belongs to one thread at a time, which ``Lane/isInUse`` watches over, and the rest is
/// constant until ``closeEndpoints()``, which nobody may be in a lane during.
final class LaneSet: @unchecked Sendable {
    /// Where to connect to, and what to make of it.
    struct Parameters {
        let host: String
        let provider: Provider
        let inBand: InBandAttributes
        /// Lanes to connect, at least 1.
        let count: Int
        /// The pool here.
        let memory: UnsafeMutableRawBufferPointer
        let options: InitiatorOptions
    }

    let count: Int
    let events: EventQueue
    private let lanes: UnsafeMutablePointer<UnsafeMutablePointer<Lane>>
    private let plane: UnsafeMutablePointer<DataPlane>
    private let info: FabricInfo
    let domain: FabricDomain
    private let failure: PoolFailure
    private let queues: [CompletionQueue]
    private(set) var endpoints: [Endpoint]
    /// The pool's memory, until the endpoints are closed.
    private(set) var memoryRegion: MemoryRegion?
    private let buffers: RegisteredBuffer

    /// Connects all lanes, one after the other, and posts their receives.
    ///
    /// - Parameters:
    ///   - failure: What ends all waiting.
    ///   - control: Looked at meanwhile, so that a target that ends is noticed at once.
    init(
        _ parameters: Parameters, failure: PoolFailure, control: ControlConnection
    ) throws(InitiatorError) {
        let options = parameters.options
        let count = parameters.count
        let inlineCapacity = LaneSet.inlineCapacity
        // Request and its data; answer and read-back on cache lines of their own.
        let requestSize = (PersistRequestHeader.byteCount + inlineCapacity + 63) & ~63
        let stride = requestSize + 128

        // The pool here is pinned as well.
        if parameters.provider == .verbs { LockedMemory.raiseLimit() }
        let info: FabricInfo
        let domain: FabricDomain
        let events: EventQueue
        var queues: [CompletionQueue] = []
        var endpoints: [Endpoint] = []
        let (transmit, window): (Int, Int)
        do throws(FabricError) {
            info = try FabricInfo.query(
                provider: parameters.provider.name, node: parameters.host, service: "\(parameters.inBand.port)",
                listening: false)
            let most = max(4, info.queueSizes.transmit)
            transmit = min(max(options.workQueueSize, 4), most)
            // Room for a SEND and a READ besides the WRITEs.
            window = transmit - 2
            info.queueSizes = (transmit: transmit, receive: min(4, max(1, info.queueSizes.receive)))
            domain = try FabricDomain(info)
            events = try EventQueue(in: domain)
            for _ in 0..<count {
                let queue = try CompletionQueue(in: domain, size: transmit + 8)
                queues.append(queue)
                endpoints.append(try Endpoint(info, in: domain, events: events, completions: queue))
            }
        } catch {
            throw .fabric(step: "preparing lanes to \(parameters.host)", error)
        }
        for (lane, endpoint) in endpoints.enumerated() {
            let step = "connecting lane \(lane) to \(parameters.host) port \(parameters.inBand.port)"
            do throws(FabricError) { try endpoint.connect(to: info) } catch {
                throw Self.notConnected(step, error, control)
            }
            try Self.awaitConnected(endpoint, events, control, step: step, within: options.laneTimeout)
        }

        let memoryRegion: MemoryRegion
        let buffers: RegisteredBuffer
        do throws(FabricError) {
            memoryRegion = try MemoryRegion(parameters.memory, for: .localTransfers, in: domain)
            buffers = try RegisteredBuffer(
                byteCount: stride * count, for: .localMessages, .localTransfers, in: domain)
        } catch {
            throw .notRegistered(error, bytes: parameters.memory.count)
        }
        buffers.bytes.initializeMemory(as: UInt8.self, repeating: 0)

        plane = .allocate(capacity: 1)
        plane.initialize(
            to: DataPlane(
                localBase: parameters.memory.baseAddress!, localDescriptor: memoryRegion.descriptor,
                messageDescriptor: buffers.descriptor(for: .localMessages),
                bufferDescriptor: buffers.descriptor(for: .localTransfers),
                remoteBase: parameters.inBand.remoteAddress, remoteKey: parameters.inBand.remoteKey,
                method: parameters.inBand.method,
                recipes: PersistRecipes(parameters.provider, parameters.inBand.method),
                // 64 MiB: long enough to cost nothing, short enough to make progress within the time for one wait.
                maximumTransfer: max(1, min(info.maximumMessageSize, 64 << 20)),
                inlineCapacity: max(
                    1, min(inlineCapacity, info.maximumMessageSize - PersistRequestHeader.byteCount)),
                injectSize: info.injectSize, window: window,
                pollNanoseconds: parameters.provider == .sockets ? 0 : options.pollTime.nanoseconds,
                timeoutNanoseconds: options.operationTimeout.nanoseconds, failed: failure.flag))
        lanes = .allocate(capacity: count)
        for number in 0..<count {
            lanes[number] = Self.makeLane(
                number: UInt32(truncatingIfNeeded: number), plane: UnsafePointer(plane),
                endpoint: endpoints[number], queue: queues[number],
                buffers: buffers.bytes.baseAddress! + number * stride, requestSize: requestSize)
        }
        self.count = count
        self.info = info
        self.domain = domain
        self.events = events
        self.queues = queues
        self.endpoints = endpoints
        self.memoryRegion = memoryRegion
        self.buffers = buffers
        self.failure = failure

        for number in 0..<count {
            do throws(LaneFault) { try lanes[number].postReceive() } catch { throw self.describe(error, lane: number) }
        }
    }

    deinit {
        // Until its endpoint is closed, a provider may use all that a lane points to.
        endpoints = []
        for number in 0..<count { Self.destroyLane(lanes[number], window: plane.pointee.window) }
        lanes.deallocate()
        plane.deallocate()
    }

    /// Bytes of data that one request may carry; stock initiators say the same.
    static let inlineCapacity = 8192

    var recipes: PersistRecipes { plane.pointee.recipes }

    // MARK: Use

    /// Runs `body` on a lane, unless the pool has failed or another thread is on the lane.
    @inline(__always)
    func use(
        _ number: Int, _ body: (UnsafeMutablePointer<Lane>) throws(LaneFault) -> Void
    ) throws(InitiatorError) {
        let lane = lanes[number]
        if lane.pointee.isInUse.pointee.exchange(true, ordering: .acquiring) { throw describeTakenLane(number) }
        defer { lane.pointee.isInUse.pointee.store(false, ordering: .releasing) }
        do throws(LaneFault) {
            if plane.pointee.failed.pointee.load(ordering: .acquiring) { throw LaneFault.poolFailed }
            try body(lane)
        } catch {
            throw describe(error, lane: number)
        }
    }

    /// Gives a lane a buffer for reads that are longer than its request buffer.
    func prepareLongRead(_ number: Int) throws(InitiatorError) {
        let lane = lanes[number]
        if lane.pointee.isInUse.pointee.exchange(true, ordering: .acquiring) { throw describeTakenLane(number) }
        defer { lane.pointee.isInUse.pointee.store(false, ordering: .releasing) }
        if lane.pointee.readBuffer != nil { return }
        let buffer: RegisteredBuffer
        do throws(FabricError) {
            buffer = try RegisteredBuffer(byteCount: 1 << 20, for: .localTransfers, in: domain)
        } catch {
            // The request buffer serves as well, only slower.
            return
        }
        lane.pointee.longReadBuffer = buffer
        lane.pointee.readBufferDescriptor = buffer.descriptor(for: .localTransfers)
        lane.pointee.readBuffer = buffer.bytes
    }

    func hasLongReadBuffer(_ number: Int) -> Bool { lanes[number].pointee.readBuffer != nil }

    /// Ends all waiting on lanes, once ``PoolFailure`` has its flag set.
    func wakeAll() {
        for queue in queues { queue.wake() }
    }

    /// The buffer of a lane's long reads, for tests.
    func longReadBuffer(_ number: Int) -> RegisteredBuffer? { lanes[number].pointee.longReadBuffer }

    /// Tells the target that the lanes are over, and lets go of the pool's memory. Only after ``PoolFailure`` has its flag set: threads that are on a lane
    /// leave it then, and are waited for.
    func closeEndpoints() {
        wakeAll()
        for number in 0..<count {
            // The other half of the ordering: a call that finds the lane taken then finds the failure as well.
            while lanes[number].pointee.isInUse.pointee.exchange(true, ordering: .acquiringAndReleasing) {
                usleep(1000)
            }
        }
        for endpoint in endpoints { endpoint.shutDown() }
        endpoints = []
        memoryRegion = nil
        for number in 0..<count { lanes[number].pointee.isInUse.pointee.store(false, ordering: .releasing) }
    }

    // MARK: Failures

    /// Why a call cannot have a lane: ``closeEndpoints()`` has it, or another thread.
    private func describeTakenLane(_ number: Int) -> InitiatorError {
        failure.flag.pointee.load(ordering: .acquiring) ? failure.error ?? .closed : .laneInUse(number)
    }

    /// What is wrong, for the caller; from now on the pool has failed.
    private func describe(_ fault: LaneFault, lane number: Int) -> InitiatorError {
        let lane = lanes[number]
        let error: InitiatorError
        switch fault {
        case .poolFailed:
            return failure.error ?? .closed
        case .timedOut:
            error = .timedOut(
                waitingFor: "answer on lane \(number)",
                after: .nanoseconds(Int64(clamping: plane.pointee.timeoutNanoseconds)))
        case .answerOfWrongLength:
            error = .protocolViolation(
                target: "lane \(number)",
                reason: "the target sent an answer of \(lane.pointee.answerLength) bytes instead of "
                    + "\(PersistResponse.byteCount)",
                words: [])
        case .answerForAnotherLane:
            error = .protocolViolation(
                target: "lane \(number)",
                reason: "the target sent an answer for lane \(lane.pointee.answer.load(as: PersistResponse.self).lane)",
                words: [])
        case .unsolicitedAnswer:
            error = .protocolViolation(
                target: "lane \(number)", reason: "the target sent an answer that no request was waiting for",
                words: [])
        case .refused(let step, let code):
            error = Self.lostOrRefused(FabricError(step.words, code: code, detail: "lane \(number)"))
        case .completedInError:
            let reason =
                CompletionQueue.readError(lane.pointee.queue)?.error
                ?? FabricError("operation", code: Int32(FI_EIO), detail: "lane \(number)")
            error = Self.lostOrRefused(reason)
        }
        if case .lost = error, let better = failureFoundSoon() { return better }
        let first = failure.note(error)
        wakeAll()
        return first
    }

    /// When a target dies, the lane's own error says the least about it: who watches the session may know more in a
    /// moment.
    private func failureFoundSoon() -> InitiatorError? {
        let deadline = Deadline.after(milliseconds: 400)
        while !deadline.hasPassed {
            if let error = failure.error { return error }
            usleep(5000)
        }
        return nil
    }

    private static func lostOrRefused(_ error: FabricError) -> InitiatorError {
        switch error.code {
        // What the target's side says about an operation, while the connection stands.
        case EACCES, EPERM, EINVAL, ENOMEM, EMSGSIZE, Int32(FI_ETRUNC), Int32(FI_EKEYREJECTED), Int32(FI_ENOKEY):
            .operationFailed(error)
        default: .lost(reason: "\(error)", words: [])
        }
    }

    // MARK: Set-up

    static func awaitConnected(
        _ endpoint: Endpoint, _ events: EventQueue, _ control: ControlConnection, step: String, within timeout: Duration
    ) throws(InitiatorError) {
        let deadline = Deadline.after(timeout)
        var wait = EventQueueWait(events)
        while true {
            switch events.next() {
            case .connected(endpoint.identity)?: return
            case .failed(_, let error)?: throw notConnected(step, error, control)
            case .shutdown?:
                throw notConnected(step, FabricError("fi_connect", code: Int32(FI_ESHUTDOWN)), control)
            case .connected?, .connectionRequest?: continue
            case nil: break
            }
            if deadline.hasPassed { throw .timedOut(waitingFor: "connection (\(step))", after: timeout) }
            var watched = control.watched
            do throws(SystemCallError) { try wait.next(or: &watched, until: deadline) } catch { throw .system(error) }
            if watched.contains(where: { $0.revents != 0 }), let loss = control.findLoss() {
                throw .lost(reason: "\(loss) (\(step))", words: control.lastWords())
            }
        }
    }

    private static func notConnected(
        _ step: String, _ error: FabricError, _ control: ControlConnection
    ) -> InitiatorError {
        guard let loss = control.findLossSoon() else {
            return switch error.code {
            case ENODEV, ENETUNREACH, EHOSTUNREACH:
                .fabric(step: "\(step) (is that an address of the network that both RDMA devices are on?)", error)
            case ECONNREFUSED:
                .fabric(step: "\(step) (the target's log says why; see in-band-peer in rpmemd.conf(5))", error)
            default: .fabric(step: step, error)
            }
        }
        return .lost(reason: "\(loss) (\(step))", words: control.lastWords())
    }

    private static func makeLane(
        number: UInt32, plane: UnsafePointer<DataPlane>, endpoint: Endpoint, queue: CompletionQueue,
        buffers: UnsafeMutableRawPointer, requestSize: Int
    ) -> UnsafeMutablePointer<Lane> {
        func operations(_ kind: LaneOperation.Kind, _ count: Int) -> UnsafeMutablePointer<LaneOperation> {
            let operations = UnsafeMutablePointer<LaneOperation>.allocate(capacity: count)
            operations.initialize(repeating: LaneOperation(kind: kind), count: count)
            return operations
        }
        func zeroed<Value>(_ value: Value, _ count: Int = 1) -> UnsafeMutablePointer<Value> {
            let pointer = UnsafeMutablePointer<Value>.allocate(capacity: count)
            pointer.initialize(repeating: value, count: count)
            return pointer
        }
        let inUse = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
        inUse.initialize(to: Atomic(false))
        // 128: lanes of different threads share no cache line, nor a pair of them.
        let lane = UnsafeMutableRawPointer.allocate(
            byteCount: (MemoryLayout<Lane>.stride + 127) & ~127, alignment: 128
        ).bindMemory(to: Lane.self, capacity: 1)
        lane.initialize(
            to: Lane(
                plane: plane, number: number, endpoint: endpoint.pointer, queue: queue.pointer, isInUse: inUse,
                request: buffers, answer: buffers + requestSize, readBack: buffers + requestSize + 64,
                receiving: operations(.receive, 1), sending: operations(.send, 1), reading: operations(.read, 1),
                writing: operations(.write, plane.pointee.window),
                vector: zeroed(iovec()), descriptor: zeroed(nil), place: zeroed(fi_rma_iov()),
                message: zeroed(fi_msg()), transfer: zeroed(fi_msg_rma()),
                entries: zeroed(fi_cq_msg_entry(), Lane.entryCapacity),
                ranges: zeroed(PendingRange(offset: 0, length: 0), Lane.rangeCapacity)))
        lane.pointee.message.pointee.msg_iov = UnsafePointer(lane.pointee.vector)
        lane.pointee.message.pointee.desc = lane.pointee.descriptor
        lane.pointee.message.pointee.iov_count = 1
        lane.pointee.transfer.pointee.msg_iov = UnsafePointer(lane.pointee.vector)
        lane.pointee.transfer.pointee.desc = lane.pointee.descriptor
        lane.pointee.transfer.pointee.iov_count = 1
        lane.pointee.transfer.pointee.rma_iov = UnsafePointer(lane.pointee.place)
        lane.pointee.transfer.pointee.rma_iov_count = 1
        return lane
    }

    private static func destroyLane(_ lane: UnsafeMutablePointer<Lane>, window: Int) {
        lane.pointee.receiving.deallocate()
        lane.pointee.sending.deallocate()
        lane.pointee.reading.deallocate()
        lane.pointee.writing.deallocate()
        lane.pointee.vector.deallocate()
        lane.pointee.descriptor.deallocate()
        lane.pointee.place.deallocate()
        lane.pointee.message.deallocate()
        lane.pointee.transfer.deallocate()
        lane.pointee.entries.deallocate()
        lane.pointee.ranges.deallocate()
        lane.pointee.isInUse.deinitialize(count: 1)
        lane.pointee.isInUse.deallocate()
        lane.deinitialize(count: 1)
        UnsafeMutableRawPointer(lane).deallocate()
    }
}
