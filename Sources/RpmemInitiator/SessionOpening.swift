import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The stages of opening a pool, one after the other without a gap.
public struct OpeningTimes: Hashable, Sendable {
    /// Loading libfabric, and choosing the provider. ssh starts at the beginning of it, unless its arguments depend on the
    /// provider. After a refusal of the provider, all that was before the second start of ssh.
    public let preparation: Duration
    /// Until the target's initial status was there.
    public let initialStatus: Duration
    /// From the request to the answer to CREATE or OPEN.
    public let answer: Duration
    /// Until all lanes were connected and the memory was registered.
    public let lanes: Duration
}

/// Opening a pool, step by step: ``run()`` reads from top to bottom.
package struct SessionOpening {
    let target: TargetAddress
    let poolSet: String
    let memory: UnsafeMutableRawBufferPointer
    /// Lanes to ask for.
    var lanes: Int
    /// Attributes to create the pool with; nil opens a pool that exists.
    var creating: PoolAttributes?
    var options: InitiatorOptions
    /// The target's command; nil takes the next one of the options.
    var command: String?
    /// Ends every wait of an attempt to resume a session; nil otherwise.
    var deadline: Deadline?
    /// The target's command, where it was started before.
    var started: StartedTarget?
    /// Whether ``InitiatorPool/digests(_:)`` will be called.
    var digests = false

    /// A session with an open pool.
    struct Session {
        let control: CurrentControl
        let lanes: LaneSet
        let monitor: PoolMonitor
        /// nil where sessions are not resumed.
        let resumer: SessionResumer?
        let provider: Provider
        let laneHost: String
        let persistMethod: PersistMethod
        /// What both sides have agreed on.
        let extensions: Extensions
        let attributes: PoolAttributes
        let times: OpeningTimes
    }

    /// A session whose lanes are connected.
    struct Connected {
        let control: ControlClient
        let command: String
        let connections: LaneConnections
        let choice: ProviderChoice
        let inBand: InBandAttributes
        let inlineCapacity: Int
        let attributes: PoolAttributes
        /// What both sides have agreed on.
        let extensions: Extensions
        /// The answer to CLAIM; nil without one.
        let claim: ClaimOutcome?
        let times: OpeningTimes
    }

    /// A session of the same pool before, which must have been as the new one is.
    struct Former {
        let lanes: Int
        let method: PersistMethod
        let extensions: Extensions
        /// Why attributes cannot be the pool's; nil when they can.
        let objection: (PoolAttributes) -> String?
    }

    func run() throws(InitiatorError) -> Session {
        let token = options.resumeTime > .zero ? WriterToken(.random(in: .min ... .max)) : nil
        return try connect(showing: token, as: nil) { connected throws(InitiatorError) in
            let stickyError: StickyError
            do throws(SystemCallError) { stickyError = try StickyError(resuming(connected), remedy: remedy) } catch {
                throw .system(error)
            }
            let control = CurrentControl(connected.control)
            let lanes = try LaneSet(
                connected.connections, control, memory: memory, inBand: connected.inBand,
                inlineCapacity: connected.inlineCapacity, provider: connected.choice.provider, options: options,
                stickyError: stickyError)
            let resumer = token.flatMap { SessionResumer(self, connected, control, lanes, $0) }
            let monitor = try startMonitor(control, lanes, resumer)
            return Session(
                control: control, lanes: lanes, monitor: monitor, resumer: resumer, provider: connected.choice.provider,
                laneHost: connected.choice.host, persistMethod: connected.inBand.method,
                extensions: connected.extensions, attributes: connected.attributes, times: connected.times)
        }
    }

    /// What catches the replica up once the pool has failed.
    private var remedy: String {
        "`rpmemctl sync LOCAL \(shellQuoted("\(target)")) \(shellQuoted(poolSet)) --to-target` catches the replica up, with the local "
            + "pool set as LOCAL"
    }

    private func resuming(_ connected: Connected) -> StickyError.Resuming {
        if options.resumeTime <= .zero { return .off }
        switch connected.claim {
        case .kept: return .on(options.resumeTime)
        case .notKept, .otherWriter:
            return .impossible(
                reason: "the file systems of the target have no room for the mark of the last writer")
        case nil:
            return .impossible(
                reason:
                    "the target does not keep who has written last: it is PMDK's or older, its parts are files without extended "
                    + "attributes or Device DAX without /var/lib/rpmemd, or RPMEM_EXTENSIONS=0 is set")
        }
    }

    /// Opens the pool and connects its lanes; then `body` makes use of them. Where it throws, the session ends.
    ///
    /// - Parameters:
    ///   - token: For CLAIM; nil where sessions are not resumed.
    ///   - former: The session to resume; nil for a new one.
    func connect<Result>(
        showing token: WriterToken?, as former: Former?, _ body: (Connected) throws(InitiatorError) -> Result
    ) throws(InitiatorError) -> Result {
        let begin = ContinuousClock.now
        let descriptor = try checkArguments()
        // Raises the soft limit where the rest of the session needs it, ssh's pipes included.
        let limit = min(lanes, options.maximumLanes)
        let room = Self.descriptorLimit(limit)
        // libfabric takes a third of a second to load, most of it asleep. ssh and the target's command start meanwhile.
        var early = started?.take().map { .success($0) } ?? startTargetEarly()
        // Where this throws, ssh is killed with the last reference to it.
        let choice = try ProviderChoice(for: target, options: options)
        var opening = self
        // An alias of ssh_config for an IPv6 address: the ssh that is kept to IPv4 is killed.
        if choice.forcesIPv4 != ProviderChoice.forcesIPv4(choice.provider, host: target.host), let kept = early {
            opening.command = try kept.get().command
            early = nil
        }
        let granted = try opening.grant(
            descriptor, choice, laneLimit: former == nil ? min(limit, room) : limit, token, consume early)
        let (control, inBand) = (granted.control, granted.inBand)
        do throws(InitiatorError) {
            do throws(InitiatorError) {
                let lanes = min(granted.laneCount, Int(inBand.laneCount))
                if let reason = former.flatMap({ difference(from: $0, lanes, inBand.method, granted.attributes) }) {
                    throw .notResumed(
                        loss: .lost(target: control.subject, reason: "the session ended", targetLines: []),
                        reason: reason)
                }
                let agreed = try extend(inBand, granted.wanted, token, former, on: control)
                let connections = try connectLanes(lanes, granted.choice, inBand, agreed.secret, control)
                let times = OpeningTimes(
                    preparation: begin.duration(to: granted.start),
                    initialStatus: granted.start.duration(to: granted.ready),
                    answer: granted.ready.duration(to: granted.answered),
                    lanes: granted.answered.duration(to: .now))
                return try body(
                    Connected(
                        control: control, command: granted.command, connections: connections, choice: granted.choice,
                        inBand: inBand, inlineCapacity: granted.inlineCapacity, attributes: granted.attributes,
                        extensions: agreed.extensions, claim: agreed.claim, times: times))
            } catch {
                undoRequest(on: control)
                throw error
            }
        } catch {
            control.end()
            throw error
        }
    }

    /// Why a session cannot go on where `former` ended; nil when it can.
    private func difference(
        from former: Former, _ lanes: Int, _ method: PersistMethod, _ attributes: PoolAttributes
    ) -> String? {
        if let objection = former.objection(attributes) { return objection }
        if method != former.method { return "the target uses another persist method than before" }
        return lanes == former.lanes ? nil : "the target grants \(lanes) lanes instead of \(former.lanes)"
    }

    /// A lane of the sockets provider has five descriptors once it is used, one of tcp has four.
    package static let descriptorsPerLane = 5
    /// The rest of the session has about twenty, with those of libfabric's first use.
    package static let otherDescriptors = 24

    /// Lanes, at most `lanes`, that the limit on open files has room for.
    private static func descriptorLimit(_ lanes: Int) -> Int {
        let (perLane, others) = (descriptorsPerLane, otherDescriptors)
        let count = min(lanes, 1 << 20)
        return max(0, OpenFiles.room(for: others + perLane * count) - others) / perLane
    }

    /// How long a step may take that otherwise takes `timeout` at most.
    func limited(_ timeout: Duration) -> Duration { min(timeout, deadline?.remaining ?? timeout) }

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

    /// What EXTEND and CLAIM have agreed on.
    private struct Agreed {
        var extensions: Extensions = []
        /// For the lanes.
        var secret: LaneSecret?
        /// The answer to CLAIM; nil without one.
        var claim: ClaimOutcome?
    }

    /// EXTEND, where the target has accepted the offer, and CLAIM, where the target keeps tokens.
    private func extend(
        _ inBand: InBandAttributes, _ wanted: Extensions, _ token: WriterToken?, _ former: Former?,
        on control: ControlClient
    ) throws(InitiatorError) -> Agreed {
        var agreed = Agreed()
        if inBand.acceptsExtensions, options.offersExtensions {
            guard
                case .extend(let granted, let secret) = try control.exchange(
                    .extend(wanted), within: limited(options.openTimeout))
            else { throw wrongAnswer("EXTEND", control) }
            agreed = Agreed(extensions: granted.intersection(wanted), secret: secret)
        }
        func refuse(_ reason: String) -> InitiatorError {
            .notResumed(
                loss: .lost(target: control.subject, reason: "the session ended", targetLines: []), reason: reason)
        }
        if let former, agreed.extensions != former.extensions {
            throw refuse("the target agrees on other extensions than before")
        }
        guard let token, agreed.extensions.contains(.writerToken) else { return agreed }
        let purpose: ClaimPurpose = former == nil ? .new : .resume
        guard
            case .claim(let outcome, let secret) = try control.exchange(
                .claim(purpose, token), within: limited(options.openTimeout))
        else { throw wrongAnswer("CLAIM", control) }
        if former != nil, outcome != .kept {
            throw refuse("another session could write to the pool on the target since")
        }
        agreed.claim = outcome
        agreed.secret = secret
        return agreed
    }

    private func wrongAnswer(_ request: String, _ control: ControlClient) -> InitiatorError {
        .protocolError(
            target: control.subject, reason: "the target answered another request than \(request)", targetLines: [])
    }

    func wantedExtensions(_ choice: ProviderChoice, showing token: WriterToken?) -> Extensions {
        let commits =
            options.offersExtensions && choice.provider != .verbs
            && FabricInfo.commitsWrites(provider: choice.provider.name, node: choice.host, listening: false)
        var wanted: Extensions = .laneSecret
        if commits { wanted.insert(.committingWrites) }
        if token != nil { wanted.insert(.writerToken) }
        if digests { wanted.insert(.digests) }
        return wanted
    }

    private func connectLanes(
        _ count: Int, _ choice: ProviderChoice, _ inBand: InBandAttributes, _ secret: LaneSecret?,
        _ control: ControlClient
    ) throws(InitiatorError) -> LaneConnections {
        let provider = choice.provider
        // Registering the local pool pins it.
        if provider == .verbs { LockedMemory.raiseLimit() }
        return try LaneConnections.connect(
            to: choice.host, port: inBand.port, provider: provider, count: count, options: options,
            until: deadline, secret: secret, watching: control)
    }

    private func startMonitor(
        _ control: CurrentControl, _ lanes: LaneSet, _ resumer: SessionResumer?
    ) throws(InitiatorError) -> PoolMonitor {
        do throws(SystemCallError) {
            return try PoolMonitor(control: control, lanes: lanes, resumer: resumer)
        } catch {
            throw .system(error)
        }
    }

    /// Sends CLOSE, which removes a pool that this session created. The target may not have noticed the error.
    private func undoRequest(on control: ControlClient) {
        _ = try? control.exchange(.close(creating == nil ? [] : .remove), within: options.exitTimeout)
    }
}
