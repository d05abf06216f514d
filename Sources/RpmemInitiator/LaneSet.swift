import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// A pool's lanes with everything that they use: libfabric's objects, registered memory, and their own state.
///
/// Sendable is unchecked. A lane belongs to one thread at a time, see ``LaneSlot/isTaken``. All else is constant until
/// ``closeEndpoints()``, which takes every lane before it changes anything.
final class LaneSet: @unchecked Sendable {
    let lanes: LaneTable
    var count: Int { block.count }
    /// The pool's. It ends all waiting on lanes.
    let stickyError: StickyError
    /// Those of the present session. Only the monitor's thread replaces them, while it has every lane.
    private(set) var connections: LaneConnections
    /// Held while ``connections`` are replaced, and while other threads wake their queues.
    private let connectionsLock = Mutex(())
    /// Whether a drain makes flushed ranges persistent by a READ.
    let flushesByReadBack: Bool
    /// The target and the pool set, for messages.
    let subject: String
    /// For what the target has said.
    private let control: CurrentControl
    private let block: InitiatorLaneBlock
    private var buffers: RegisteredBuffer
    /// The region on the local pool; nil after ``closeEndpoints()``.
    private(set) var memoryRegion: MemoryRegion?

    /// Bytes of a piece of a lane's buffer for long reads. Over sockets shorter READs are slower, because each of them wakes
    /// threads.
    private static let longReadPiece = 1 << 20
    /// The least that one request may carry, in bytes. Stock initiators ask for it whatever the number of lanes.
    static let minimumInlineCapacity = 8192
    /// The most, which our target accepts. It leaves the lowest 12 bits free.
    private static let maximumInlineCapacity = (1 << 20) - 4096

    /// Bytes of data that one request is to carry at most. The target's buffers have as many for each lane, and so have ours.
    ///
    /// With few lanes there are few round trips for much data. All lanes together get as many bytes as 1024 lanes of a stock
    /// initiator: with verbs both sides pin them.
    static func inlineCapacity(lanes: Int, provider: Provider) -> Int {
        // No request carries data over sockets, see PersistRecipes.
        if provider == .sockets { return minimumInlineCapacity }
        let share = 1024 * minimumInlineCapacity / lanes
        return min(max(minimumInlineCapacity, share & ~4095), maximumInlineCapacity)
    }

    /// Registers the memory, makes the lanes and posts their receives.
    ///
    /// - Parameters:
    ///   - control: For messages.
    ///   - memory: The local pool.
    ///   - inBand: The target's pool, as the answer to CREATE or OPEN describes it.
    ///   - inlineCapacity: As the request has announced it to the target.
    init(
        _ connections: LaneConnections, _ control: CurrentControl, memory: UnsafeMutableRawBufferPointer,
        inBand: InBandAttributes, inlineCapacity: Int, provider: Provider, options: InitiatorOptions,
        stickyError: StickyError
    ) throws(InitiatorError) {
        let count = connections.endpoints.count
        let wiring = try Self.wire(
            connections, memory: memory, inBand: inBand, inlineCapacity: inlineCapacity, provider: provider,
            options: options, stickyError: stickyError)
        block = InitiatorLaneBlock(
            count: count, window: connections.window, remembers: wiring.constants.remembers
        ) { number, memory in
            Self.makeLane(number, on: memory, connections, wiring)
        }
        lanes = block.table
        flushesByReadBack = inBand.method == .apm
        self.stickyError = stickyError
        self.connections = connections
        self.control = control
        subject = control.value.subject
        memoryRegion = wiring.region
        buffers = wiring.buffers
        try postReceives()
    }

    /// What lanes need beside their connections.
    private struct Wiring {
        let constants: LaneConstants
        let region: MemoryRegion
        let buffers: RegisteredBuffer
        let bufferSize: Int
    }

    /// Registers the memory for lanes.
    private static func wire(
        _ connections: LaneConnections, memory: UnsafeMutableRawBufferPointer, inBand: InBandAttributes,
        inlineCapacity: Int, provider: Provider, options: InitiatorOptions, stickyError: StickyError
    ) throws(InitiatorError) -> Wiring {
        let count = connections.endpoints.count
        let maximumMessage = connections.info.maximumMessageSize
        let inlineCapacity = max(1, min(inlineCapacity, maximumMessage - PersistRequestHeader.byteCount))
        let bufferSize = InitiatorLane.bufferSize(inlineCapacity: inlineCapacity)
        let region: MemoryRegion
        let buffers: RegisteredBuffer
        do throws(FabricError) {
            region = try MemoryRegion(memory, for: .localTransfers, in: connections.domain)
            buffers = try RegisteredBuffer(
                byteCount: bufferSize * count, for: .localMessages, .localTransfers, in: connections.domain)
        } catch {
            throw .notRegistered(error, bytes: memory.count)
        }
        let constants = LaneConstants(
            localBase: memory.baseAddress!, localDescriptor: region.descriptor,
            messageDescriptor: buffers.descriptor(for: .localMessages),
            readDescriptor: buffers.descriptor(for: .localTransfers),
            remoteBase: inBand.remoteAddress, remoteKey: inBand.remoteKey,
            // 64 MiB: long enough to cost nothing, short enough to be done within the time for one wait.
            maximumTransfer: max(1, min(maximumMessage, 64 << 20)),
            inlineCapacity: inlineCapacity,
            readDepth: connections.readDepth, injectSize: connections.info.injectSize, window: connections.window,
            pollNanoseconds: provider == .sockets ? 0 : options.pollTime.nanoseconds,
            timeoutNanoseconds: options.operationTimeout.nanoseconds, remembers: stickyError.limit != nil,
            hasFailed: stickyError.flag)
        return Wiring(constants: constants, region: region, buffers: buffers, bufferSize: bufferSize)
    }

    private static func makeLane(
        _ number: Int, on memory: LaneMemory, _ connections: LaneConnections, _ wiring: Wiring
    ) -> InitiatorLane {
        InitiatorLane(
            number: UInt32(truncatingIfNeeded: number), constants: wiring.constants,
            endpoint: connections.endpoints[number], queue: connections.queues[number],
            buffer: wiring.buffers.bytes.baseAddress! + number * wiring.bufferSize, memory: memory)
    }

    private func postReceives() throws(InitiatorError) {
        for number in 0..<count {
            do throws(LaneError) { try lanes[number].pointee.lane.postReceive() } catch {
                throw poolError(error, lane: number)
            }
        }
    }

    deinit {
        // Before all memory that lanes point to: a provider may use it until the endpoint is closed.
        connections.closeEndpoints()
    }

    /// Gives a lane, which the calling thread has taken, its buffer for long reads. Without memory for it, the lane reads
    /// through its request buffer, which is slower.
    func prepareLongReads(_ number: Int) {
        let buffer = try? RegisteredBuffer(
            byteCount: connections.readDepth * Self.longReadPiece, for: .localTransfers, in: connections.domain)
        if let buffer { lanes[number].pointee.lane.setLongReadBuffer(buffer) }
    }

    /// A lane's buffer for long reads. Only the thread that has taken the lane may call it.
    func longReadBuffer(_ number: Int) -> RegisteredBuffer? { lanes[number].pointee.lane.longReadBuffer }

    /// Ends all waiting on lanes. ``StickyError/set(_:)`` comes before.
    func wakeAll() {
        connectionsLock.withLock { _ in
            for queue in connections.queues { queue.wake() }
        }
    }

    /// Disconnects the lanes and closes the region on the local pool. ``StickyError/set(_:)`` comes before: it makes the
    /// threads that are on a lane leave it, and this waits for them.
    func closeEndpoints() {
        wakeAll()
        for number in 0..<count {
            // Releasing, too: a call that finds the lane taken must find the sticky error.
            while !takeIdle(number) { usleep(1000) }
        }
        disconnect()
        for number in 0..<count { lanes[number].pointee.isTaken.store(false, ordering: .releasing) }
    }

    // MARK: Another session

    /// Takes a lane that no call has.
    func takeIdle(_ number: Int) -> Bool {
        !lanes[number].pointee.isTaken.exchange(true, ordering: .acquiringAndReleasing)
    }

    /// Disconnects lanes that no thread uses: no provider uses the pool's memory from then on.
    func disconnect() {
        for endpoint in connections.endpoints { endpoint.shutDown() }
        connections.closeEndpoints()
        // Another session may need their descriptors.
        connectionsLock.withLock { _ in connections.closeQueues() }
        memoryRegion = nil
    }

    /// Gives the lanes, which are disconnected and which no thread uses, to another session with the same pool. They keep what
    /// they remember.
    ///
    /// - Parameter connections: As many as before.
    func reconnect(
        _ connections: LaneConnections, memory: UnsafeMutableRawBufferPointer, inBand: InBandAttributes,
        inlineCapacity: Int, provider: Provider, options: InitiatorOptions
    ) throws(InitiatorError) {
        if connections.window != self.connections.window || connections.endpoints.count != count {
            throw .protocolError(
                target: subject, reason: "the provider has queues of another size than before", targetLines: [])
        }
        let wiring = try Self.wire(
            connections, memory: memory, inBand: inBand, inlineCapacity: inlineCapacity, provider: provider,
            options: options, stickyError: stickyError)
        for number in 0..<count {
            let slot = lanes[number]
            var lane = Self.makeLane(number, on: slot.pointee.lane.memory, connections, wiring)
            lane.rememberedCount = slot.pointee.lane.rememberedCount
            slot.pointee.lane = lane
        }
        connectionsLock.withLock { _ in self.connections = connections }
        memoryRegion = wiring.region
        buffers = wiring.buffers
        for number in 0..<count {
            do throws(LaneError) { try lanes[number].pointee.lane.postReceive() } catch {
                throw .lost(target: subject, reason: "lane \(number) takes no receive: \(error)", targetLines: [])
            }
        }
    }

    /// Whether a lane, which the calling thread has taken, has something to send again.
    func remembers(_ number: Int) -> Bool { lanes[number].pointee.lane.rememberedCount > 0 }

    /// Sends again what a lane remembers, and makes it durable. The calling thread has taken the lane.
    func drainRemembered(_ number: Int) throws(InitiatorError) {
        do throws(LaneError) {
            try lanes[number].pointee.lane.flushRemembered(readsBack: flushesByReadBack)
            try lanes[number].pointee.lane.drain()
        } catch {
            throw describe(error, lane: number) ?? stickyError.error
                ?? .lost(
                    target: subject, reason: "the target went while lane \(number) sent its ranges again",
                    targetLines: [])
        }
    }

    /// The last lines of the target's standard error. Takes up to 200 ms.
    var targetLines: [String] { control.value.lastErrorLines() }

    /// Gives a lane back after an outage.
    func giveBack(_ number: Int) { lanes[number].pointee.isTaken.store(false, ordering: .releasing) }
}
