import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// The stages of opening a pool.
public struct OpeningTimes: Hashable, Sendable {
    /// From starting ssh to the target's initial status.
    public let initialStatus: Duration
    /// From the request to the answer to CREATE or OPEN.
    public let answer: Duration
    /// Until all lanes were connected and the memory was registered.
    public let lanes: Duration
}

/// A pool on a target, of which this process holds the original: ranges of local memory are copied to the target and
/// made persistent there.
///
/// Each lane belongs to one thread at a time; threads on different lanes share no lock. Once an operation has failed,
/// all later ones fail with the same error, and nothing is left to do but ``close(removing:)``.
public final class InitiatorPool: Sendable {
    /// How data is copied.
    public enum Mode: Hashable, Sendable {
        /// Eight bytes at an address that is a multiple of eight change at once, for whoever reads the pool over there;
        /// where the provider can. Data travels in requests of at most 8 KiB.
        case atomic
        /// Bytes change in any order; the fastest for much data.
        case relaxed
    }

    /// Lanes there are: as many as were asked for, or fewer. Their numbers start at 0.
    public let lanes: Int
    /// The pool's attributes as the target had them when it was opened, or as it was created with.
    public let attributes: PoolAttributes
    public let provider: Provider
    public let persistMethod: PersistMethod
    /// Bytes of the pool.
    public let size: Int
    /// How long it took to open the pool.
    public let openingTimes: OpeningTimes

    private let control: ControlConnection
    private let laneSet: LaneSet
    private let monitor: PoolMonitor
    private let failure: PoolFailure
    private let options: InitiatorOptions
    private let hasHeaders: Bool
    /// Whether the pool is open. Held during requests: there is one at a time.
    private let isOpen = Mutex(true)

    /// Bytes at the start of a pool that belong to its header, unless it has no attributes.
    public static let headerSize = 4096

    // MARK: Open and close

    /// Creates a pool on the target.
    ///
    /// - Parameters:
    ///   - poolSet: A path relative to the target's pool set directory.
    ///   - memory: The pool here: whole pages, valid until the pool is closed. Its size is the pool's.
    ///   - lanes: Lanes to ask for; see ``lanes`` for what came of it.
    ///   - attributes: What goes into the pool's headers; ``PoolAttributes/none`` for pool sets with `OPTION NOHDRS`.
    public static func create(
        target: TargetAddress, poolSet: String, memory: UnsafeMutableRawBufferPointer, lanes: Int,
        attributes: PoolAttributes, options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) -> InitiatorPool {
        try InitiatorPool(target, poolSet, memory, lanes, creating: attributes, options)
    }

    /// Opens a pool that exists on the target; ``attributes`` says what it has. Parameters as in
    /// ``create(target:poolSet:memory:lanes:attributes:options:)``.
    public static func open(
        target: TargetAddress, poolSet: String, memory: UnsafeMutableRawBufferPointer, lanes: Int,
        options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) -> InitiatorPool {
        try InitiatorPool(target, poolSet, memory, lanes, creating: nil, options)
    }

    private init(
        _ target: TargetAddress, _ poolSet: String, _ memory: UnsafeMutableRawBufferPointer, _ lanes: Int,
        creating: PoolAttributes?, _ options: InitiatorOptions
    ) throws(InitiatorError) {
        try Self.check(memory)
        if lanes < 1 { throw .invalidArgument("\(lanes) lanes: at least 1 is needed") }
        let descriptor: PoolDescriptor
        do throws(PoolDescriptor.FormatError) { descriptor = try PoolDescriptor(validating: poolSet) } catch {
            throw .invalidArgument("\(error)")
        }
        let choice = try ProviderChoice(for: target.host, options: options)
        let wanted = min(lanes, options.maximumLanes, choice.laneLimit)

        // With IPv6 addresses, ssh would refuse to be kept to IPv4.
        let forceIPv4 = choice.provider == .sockets && !target.host.contains(":")
        let command = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: forceIPv4, command: options.commands.next())
        let start = ContinuousClock.now
        let control = try ControlConnection(command, exitTimeout: options.exitTimeout)
        do throws(InitiatorError) {
            try control.awaitInitialStatus(within: options.connectTimeout)
            let ready = ContinuousClock.now
            let request = PoolRequest(
                poolSize: UInt64(memory.count), laneCount: UInt32(clamping: max(1, wanted)),
                provider: choice.provider, inlineSize: UInt64(LaneSet.inlineCapacity), descriptor: descriptor)
            let inBand: InBandAttributes
            if let creating {
                guard
                    case .create(let answer) = try control.exchange(
                        .create(request, creating), within: options.openTimeout)
                else { throw InitiatorError.unfittingAnswer(target) }
                inBand = answer
                attributes = creating
            } else {
                guard
                    case .open(let answer, let found) = try control.exchange(
                        .open(request), within: options.openTimeout)
                else { throw InitiatorError.unfittingAnswer(target) }
                inBand = answer
                attributes = found
            }
            let answered = ContinuousClock.now
            let failure = PoolFailure()
            let monitor: PoolMonitor
            let laneSet: LaneSet
            do throws(InitiatorError) {
                laneSet = try LaneSet(
                    LaneSet.Parameters(
                        host: target.host, provider: choice.provider, inBand: inBand,
                        count: min(wanted, Int(inBand.laneCount)), memory: memory, options: options),
                    failure: failure, control: control)
                do throws(SystemCallError) {
                    monitor = try PoolMonitor(control: control, lanes: laneSet, failure: failure)
                } catch { throw InitiatorError.system(error) }
            } catch {
                // The target may not know yet that it went wrong: what was created goes away again.
                _ = try? control.exchange(.close(creating == nil ? [] : .remove), within: options.exitTimeout)
                throw error
            }
            openingTimes = OpeningTimes(
                initialStatus: start.duration(to: ready), answer: ready.duration(to: answered),
                lanes: answered.duration(to: .now))
            self.lanes = laneSet.count
            provider = choice.provider
            persistMethod = inBand.method
            size = memory.count
            hasHeaders = !attributes.isNone
            self.control = control
            self.laneSet = laneSet
            self.monitor = monitor
            self.failure = failure
            self.options = options
        } catch {
            control.end()
            throw error
        }
    }

    deinit { try? close() }

    /// Ends the session; the second time it does nothing. Whatever it throws, all is released afterwards, and `memory`
    /// is the caller's again. Calls that other threads are in fail.
    ///
    /// - Parameter removing: Removes the pool from the target, if this session created it.
    /// - Throws: What made the pool fail before, or what went wrong with the target's closing.
    public func close(removing: Bool = false) throws(InitiatorError) {
        try isOpen.withLock { isOpen throws(InitiatorError) in
            if !isOpen { return }
            isOpen = false
            monitor.stop()
            let before = failure.error
            failure.note(.closed)
            laneSet.closeEndpoints()
            defer { control.end() }
            if let before { throw before }
            _ = try control.exchange(.close(removing ? .remove : []), within: options.operationTimeout)
        }
    }

    /// Replaces the pool's attributes on the target.
    public func setAttributes(_ attributes: PoolAttributes) throws(InitiatorError) {
        try isOpen.withLock { isOpen throws(InitiatorError) in
            if let error = failure.error { throw error }
            defer { monitor.lookAgain() }
            do throws(InitiatorError) {
                _ = try control.exchange(.setAttributes(attributes), within: options.operationTimeout)
            } catch {
                // A refusal leaves the session as it was.
                if case .refused = error { throw error }
                let first = failure.note(error)
                laneSet.wakeAll()
                throw first
            }
        }
    }

    // MARK: Data

    /// Copies a range to the target and makes it persistent there; it is when this returns.
    ///
    /// - Parameters:
    ///   - offset: In bytes from the pool's start; not in its first ``headerSize`` bytes when it has headers.
    ///   - lane: 0 up to ``lanes``, and no other thread's at the moment.
    public func persist(
        offset: Int, length: Int, lane: Int, mode: Mode = .atomic
    ) throws(InitiatorError) {
        try check(offset, length, lane, protectingHeader: true)
        let recipe = mode == .atomic ? laneSet.recipes.atomic : laneSet.recipes.relaxed
        try laneSet.use(lane) { lane throws(LaneFault) in
            try lane.persist(offset: offset, length: length, by: recipe, deep: false)
        }
    }

    /// As ``persist(offset:length:lane:mode:)``, but down to the target's lowest persistence domain.
    public func deepPersist(offset: Int, length: Int, lane: Int) throws(InitiatorError) {
        try check(offset, length, lane, protectingHeader: true)
        let recipe = laneSet.recipes.deep
        try laneSet.use(lane) { lane throws(LaneFault) in
            try lane.persist(offset: offset, length: length, by: recipe, deep: true)
        }
    }

    /// Starts to copy a range to the target. It must not change until ``drain(lane:)`` on the same lane has returned;
    /// then it is persistent there.
    public func flush(
        offset: Int, length: Int, lane: Int, mode: Mode = .atomic
    ) throws(InitiatorError) {
        try check(offset, length, lane, protectingHeader: true)
        if length == 0 { return }
        let recipe = mode == .atomic ? laneSet.recipes.atomic : laneSet.recipes.relaxed
        try laneSet.use(lane) { lane throws(LaneFault) in
            try lane.flush(offset: offset, length: length, by: recipe)
        }
    }

    /// Waits until all that was flushed on the lane is persistent on the target.
    public func drain(lane: Int) throws(InitiatorError) {
        try check(0, 0, lane, protectingHeader: false)
        try laneSet.use(lane) { lane throws(LaneFault) in try lane.drain() }
    }

    /// Copies a range of the target's pool into `destination`, which has its length.
    public func read(
        into destination: UnsafeMutableRawBufferPointer, offset: Int, lane: Int
    ) throws(InitiatorError) {
        try check(offset, destination.count, lane, protectingHeader: false)
        guard let base = destination.baseAddress, !destination.isEmpty else { return }
        let length = destination.count
        if length > LaneSet.inlineCapacity, !laneSet.hasLongReadBuffer(lane) { try laneSet.prepareLongRead(lane) }
        try laneSet.use(lane) { lane throws(LaneFault) in
            try lane.read(into: base, offset: offset, length: length)
        }
    }

    // MARK: Removal

    /// Removes a pool from a target.
    ///
    /// - Parameters:
    ///   - force: Goes on where a part cannot be removed.
    ///   - removePoolSet: Removes the pool set file too.
    public static func remove(
        target: TargetAddress, poolSet: String, force: Bool = false, removePoolSet: Bool = false,
        options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) {
        if poolSet.isEmpty || poolSet.utf8.contains(0) {
            throw .invalidArgument("the pool set's name is empty or has a NUL inside")
        }
        var arguments = ["--remove", poolSet]
        if force { arguments.append("--force") }
        if removePoolSet { arguments.append("--pool-set") }
        let command = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: false, command: options.commands.next(),
            commandArguments: arguments)
        try ControlConnection(command, exitTimeout: options.exitTimeout)
            .awaitRemoval(of: poolSet, within: options.openTimeout)
    }

    // MARK: Checks

    private static func check(_ memory: UnsafeMutableRawBufferPointer) throws(InitiatorError) {
        let page = Int(getpagesize())
        guard let base = memory.baseAddress, !memory.isEmpty else {
            throw .invalidArgument("the pool's memory is empty: at least a page is needed")
        }
        if Int(bitPattern: base) % page != 0 {
            throw .invalidArgument("the pool's memory starts at \(base), which is not the start of a page")
        }
        if memory.count % page != 0 {
            throw .invalidArgument("the pool's memory has \(memory.count) bytes, which is not a multiple of \(page)")
        }
    }

    @inline(__always)
    private func check(_ offset: Int, _ length: Int, _ lane: Int, protectingHeader: Bool) throws(InitiatorError) {
        // All at once while all is well.
        let isFine =
            offset >= 0 && length >= 0 && offset <= size && length <= size &- offset && lane >= 0 && lane < lanes
            && !(protectingHeader && hasHeaders && offset < Self.headerSize)
        if !isFine { throw explain(offset, length, lane) }
    }

    private func explain(_ offset: Int, _ length: Int, _ lane: Int) -> InitiatorError {
        if lane < 0 || lane >= lanes {
            return .invalidArgument("lane \(lane) does not exist: there are \(lanes), from 0 on")
        }
        if offset >= 0, length >= 0, offset <= size, length <= size - offset {
            return .invalidArgument("offset \(offset) is inside the pool's header: \(Self.headerSize) is the first")
        }
        return .invalidArgument("range of \(length) bytes at offset \(offset) is not inside the pool of \(size) bytes")
    }
}

extension InitiatorError {
    fileprivate static func unfittingAnswer(_ target: TargetAddress) -> InitiatorError {
        .protocolViolation(target: "\(target)", reason: "an answer to another request", words: [])
    }
}
