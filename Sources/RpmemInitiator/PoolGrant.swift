import RpmemProtocol

/// Starting the target, and asking it for the pool.
extension SessionOpening {
    /// A session whose target has granted CREATE or OPEN.
    struct Granted {
        let control: ControlClient
        let command: String
        let choice: ProviderChoice
        let wanted: Extensions
        /// Lanes that were asked for.
        let laneCount: Int
        let inlineCapacity: Int
        let inBand: InBandAttributes
        let attributes: PoolAttributes
        /// When ssh had been started, the initial status was there, and the answer was.
        let start, ready, answered: ContinuousClock.Instant
    }

    /// Starts the target and asks it for the pool. Where the target refuses the provider, starts it again and asks for the next
    /// one: see ``ProviderRefusal``. Each of the two has the times of a session's beginning.
    ///
    /// - Parameters:
    ///   - laneLimit: Lanes to ask for at most, beside the provider's own limit.
    ///   - early: The target's command where it was started before.
    func grant(
        _ descriptor: PoolDescriptor, _ choice: ProviderChoice, laneLimit: Int, _ token: WriterToken?,
        _ early: consuming Result<(ControlClient, command: String), InitiatorError>?
    ) throws(InitiatorError) -> Granted {
        let refusal: ProviderRefusal
        var opening = self
        opening.started = nil
        switch try ask(descriptor, choice, laneLimit, token, early) {
        case .granted(let granted): return granted
        case .refused(let reason, let command):
            refusal = reason
            opening.command = command
        }
        let other: ProviderChoice
        switch choice.next(for: target, options: options) {
        case .success(let next)?: other = next
        case .failure(let missing)?: throw refusal.and(missing)
        case nil: throw refusal.withoutNext
        }
        options.onProviderRefusal?(refusal.text(next: other.provider))
        do throws(InitiatorError) {
            switch try opening.ask(descriptor, other, laneLimit, token, nil) {
            case .granted(let granted): return granted
            case .refused(let second, _): throw second.error
            }
        } catch {
            throw error.behind(targetLines: refusal.error.targetLines)
        }
    }

    private enum Answer {
        case granted(Granted)
        /// The session has ended.
        case refused(ProviderRefusal, command: String)
    }

    /// Starts the target and asks it for the pool over one provider. Where this throws, the session has ended.
    private func ask(
        _ descriptor: PoolDescriptor, _ choice: ProviderChoice, _ laneLimit: Int, _ token: WriterToken?,
        _ early: consuming Result<(ControlClient, command: String), InitiatorError>?
    ) throws(InitiatorError) -> Answer {
        let laneCount = max(1, min(laneLimit, choice.laneLimit))
        let (control, command) =
            if let early { try early.get() } else { try startTarget(forcesIPv4: choice.forcesIPv4) }
        let start = ContinuousClock.now
        // While ssh starts.
        let wanted = wantedExtensions(choice, showing: token)
        do throws(InitiatorError) { try control.awaitInitialStatus(within: limited(options.connectTimeout)) } catch {
            control.end()
            throw error
        }
        let ready = ContinuousClock.now
        let inlineCapacity = LaneSet.inlineCapacity(lanes: laneCount, provider: choice.provider)
        do throws(InitiatorError) {
            let (inBand, attributes) = try requestPool(
                descriptor, choice.provider, laneCount, inlineCapacity: inlineCapacity, from: control)
            return .granted(
                Granted(
                    control: control, command: command, choice: choice, wanted: wanted, laneCount: laneCount,
                    inlineCapacity: inlineCapacity, inBand: inBand, attributes: attributes, start: start, ready: ready,
                    answered: .now))
        } catch {
            let unreadBytes = control.unreadByteCount
            let exit = control.end().exit
            guard
                let refusal = ProviderRefusal(of: choice.provider, error, unreadBytes: unreadBytes, exit: exit)
            else { throw error }
            return .refused(refusal, command: command)
        }
    }

    /// Starts ssh before the provider is chosen.
    ///
    /// - Returns: nil where ssh has to wait: its arguments depend on the provider, or it would be in vain.
    func startTargetEarly() -> Result<(ControlClient, command: String), InitiatorError>? {
        let choices = Set(
            ProviderChoice.candidates(options).map { ProviderChoice.forcesIPv4($0, host: target.host) })
        guard choices.count == 1, let forcesIPv4 = choices.first else { return nil }
        return Result { () throws(InitiatorError) in try startTarget(forcesIPv4: forcesIPv4) }
    }

    private func startTarget(forcesIPv4: Bool) throws(InitiatorError) -> (ControlClient, command: String) {
        let command = command ?? options.commands.next()
        let ssh = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: forcesIPv4, command: command)
        return (try ControlClient(ssh, poolSet: poolSet, exitTimeout: options.exitTimeout), command)
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
                ? PoolRequest.offering(inlineSize: UInt64(inlineCapacity), digests: digests) : UInt64(inlineCapacity),
            descriptor: descriptor)
        if let creating {
            let answer = try control.exchange(.create(request, creating), within: limited(options.openTimeout))
            if case .create(let inBand) = answer { return (inBand, creating) }
        } else {
            let answer = try control.exchange(.open(request), within: limited(options.openTimeout))
            if case .open(let inBand, let attributes) = answer { return (inBand, attributes) }
        }
        throw .protocolError(
            target: control.subject,
            reason: "the target answered another request than \(creating == nil ? "OPEN" : "CREATE")",
            targetLines: [])
    }
}
