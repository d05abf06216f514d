import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The stages of opening a pool, one after the other without a gap.
public struct OpeningTimes: Hashable, Sendable {
    /// Loading libfabric, and choosing the provider. ssh starts at the beginning of it, unless its arguments depend on the
    /// provider.
    public let preparation: Duration
    /// Until the target's initial status was there.
    public let initialStatus: Duration
    /// From the request to the answer to CREATE or OPEN.
    public let answer: Duration
    /// Until all lanes were connected and the memory was registered.
    public let lanes: Duration
}

/// Opening a pool, step by step: ``run()`` reads from top to bottom.
struct SessionOpening {
    let target: TargetAddress
    let poolSet: String
    let memory: UnsafeMutableRawBufferPointer
    /// Lanes to ask for.
    let lanes: Int
    /// Attributes to create the pool with; nil opens a pool that exists.
    let creating: PoolAttributes?
    let options: InitiatorOptions

    /// A session with an open pool.
    struct Session {
        let control: ControlClient
        let lanes: LaneSet
        let monitor: PoolMonitor
        let provider: Provider
        let laneHost: String
        let persistMethod: PersistMethod
        /// What both sides have agreed on.
        let extensions: Extensions
        let attributes: PoolAttributes
        let times: OpeningTimes
    }

    func run() throws(InitiatorError) -> Session {
        let begin = ContinuousClock.now
        ProviderEnvironment.prepareInitiator()
        let descriptor = try checkArguments()
        // Raises the soft limit where the rest of the session needs it, ssh's pipes included.
        let room = Self.descriptorLimit(min(lanes, options.maximumLanes))
        // libfabric takes a third of a second to load, most of it asleep. ssh and the target's command start meanwhile.
        let early = startTargetEarly()
        // Where this throws, ssh is killed with the last reference to it.
        let choice = try ProviderChoice(for: target, options: options)
        let laneCount = max(1, min(lanes, options.maximumLanes, choice.laneLimit, room))
        let control =
            if let early { try early.get() } else { try startTarget(forcesIPv4: forcesIPv4(choice.provider)) }
        let start = ContinuousClock.now
        // While ssh starts.
        let wanted = wantedExtensions(choice)
        do throws(InitiatorError) {
            try control.awaitInitialStatus(within: options.connectTimeout)
            let ready = ContinuousClock.now
            let inlineCapacity = LaneSet.inlineCapacity(lanes: laneCount, provider: choice.provider)
            let (inBand, attributes) = try requestPool(
                descriptor, choice.provider, laneCount, inlineCapacity: inlineCapacity, from: control)
            let answered = ContinuousClock.now
            do throws(InitiatorError) {
                let (extensions, secret) = try extend(inBand, wanted, on: control)
                let lanes = try connectLanes(
                    min(laneCount, Int(inBand.laneCount)), choice, inBand, secret, inlineCapacity: inlineCapacity,
                    control)
                let monitor = try startMonitor(control, lanes)
                let times = OpeningTimes(
                    preparation: begin.duration(to: start), initialStatus: start.duration(to: ready),
                    answer: ready.duration(to: answered),
                    lanes: answered.duration(to: .now))
                return Session(
                    control: control, lanes: lanes, monitor: monitor, provider: choice.provider,
                    laneHost: choice.host, persistMethod: inBand.method, extensions: extensions, attributes: attributes,
                    times: times)
            } catch {
                undoRequest(on: control)
                throw error
            }
        } catch {
            control.end()
            throw error
        }
    }

    /// A lane of the sockets provider has five descriptors once it is used, one of tcp has four.
    static let descriptorsPerLane = 5

    /// Lanes, at most `lanes`, that the limit on open files has room for.
    private static func descriptorLimit(_ lanes: Int) -> Int {
        // The rest of the session has about twenty, with those of libfabric's first use.
        let (perLane, others) = (descriptorsPerLane, 24)
        let count = min(lanes, 1 << 20)
        return max(0, OpenFiles.room(for: others + perLane * count) - others) / perLane
    }

    // MARK: Steps

    private func checkArguments() throws(InitiatorError) -> PoolDescriptor {
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
        if lanes < 1 { throw .invalidArgument("\(lanes) lanes: at least 1 is needed") }
        do throws(PoolDescriptor.FormatError) { return try PoolDescriptor(validating: poolSet) } catch {
            throw .invalidArgument("\(error)")
        }
    }

    /// Starts ssh before the provider is chosen.
    ///
    /// - Returns: nil where ssh has to wait: its arguments depend on the provider, or it would be in vain.
    private func startTargetEarly() -> Result<ControlClient, InitiatorError>? {
        let choices = Set(ProviderChoice.candidates(options).map(forcesIPv4))
        guard choices.count == 1, let forcesIPv4 = choices.first else { return nil }
        return Result { () throws(InitiatorError) in try startTarget(forcesIPv4: forcesIPv4) }
    }

    private func forcesIPv4(_ provider: Provider) -> Bool {
        // ssh refuses to be kept to IPv4 when the host is an IPv6 address.
        provider == .sockets && !target.host.contains(":")
    }

    private func startTarget(forcesIPv4: Bool) throws(InitiatorError) -> ControlClient {
        let command = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: forcesIPv4, command: options.commands.next())
        return try ControlClient(command, poolSet: poolSet, exitTimeout: options.exitTimeout)
    }

    /// CREATE or OPEN.
    ///
    /// - Returns: The answer's attributes of the lanes, and those of the pool.
    private func requestPool(
        _ descriptor: PoolDescriptor, _ provider: Provider, _ laneCount: Int, inlineCapacity: Int,
        from control: ControlClient
    ) throws(InitiatorError) -> (InBandAttributes, PoolAttributes) {
        let request = PoolRequest(
            poolSize: UInt64(memory.count), laneCount: UInt32(clamping: laneCount), provider: provider,
            inlineSize: options.offersExtensions
                ? PoolRequest.offering(inlineSize: UInt64(inlineCapacity)) : UInt64(inlineCapacity),
            descriptor: descriptor)
        if let creating {
            let answer = try control.exchange(.create(request, creating), within: options.openTimeout)
            if case .create(let inBand) = answer { return (inBand, creating) }
        } else {
            let answer = try control.exchange(.open(request), within: options.openTimeout)
            if case .open(let inBand, let attributes) = answer { return (inBand, attributes) }
        }
        throw .protocolError(
            target: control.subject,
            reason: "the target answered another request than \(creating == nil ? "OPEN" : "CREATE")",
            targetLines: [])
    }

    /// EXTEND, where the target has accepted the offer.
    ///
    /// - Returns: What both sides have agreed on, and the secret for the lanes.
    private func extend(
        _ inBand: InBandAttributes, _ wanted: Extensions, on control: ControlClient
    ) throws(InitiatorError) -> (Extensions, LaneSecret?) {
        guard inBand.acceptsExtensions, options.offersExtensions else { return ([], nil) }
        guard case .extend(let granted, let secret) = try control.exchange(.extend(wanted), within: options.openTimeout)
        else {
            throw .protocolError(
                target: control.subject, reason: "the target answered another request than EXTEND", targetLines: [])
        }
        return (granted.intersection(wanted), secret)
    }

    private func wantedExtensions(_ choice: ProviderChoice) -> Extensions {
        let commits =
            options.offersExtensions && choice.provider != .verbs
            && FabricInfo.commitsWrites(provider: choice.provider.name, node: choice.host, listening: false)
        return commits ? [.laneSecret, .committingWrites] : .laneSecret
    }

    private func connectLanes(
        _ count: Int, _ choice: ProviderChoice, _ inBand: InBandAttributes, _ secret: LaneSecret?, inlineCapacity: Int,
        _ control: ControlClient
    ) throws(InitiatorError) -> LaneSet {
        let provider = choice.provider
        // Registering the local pool pins it.
        if provider == .verbs { LockedMemory.raiseLimit() }
        let connections = try LaneConnections.connect(
            to: choice.host, port: inBand.port, provider: provider, count: count, options: options,
            secret: secret, watching: control)
        return try LaneSet(
            connections, subject: control.subject, memory: memory, inBand: inBand,
            inlineCapacity: inlineCapacity, provider: provider, options: options)
    }

    private func startMonitor(_ control: ControlClient, _ lanes: LaneSet) throws(InitiatorError) -> PoolMonitor {
        do throws(SystemCallError) { return try PoolMonitor(control: control, lanes: lanes) } catch {
            throw .system(error)
        }
    }

    /// Sends CLOSE, which removes a pool that this session created. The target may not have noticed the error.
    private func undoRequest(on control: ControlClient) {
        _ = try? control.exchange(.close(creating == nil ? [] : .remove), within: options.exitTimeout)
    }
}
