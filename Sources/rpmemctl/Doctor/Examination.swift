import DoctorChecks
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TargetReports

/// The checks of this machine, and of the way to the target; those of the target come from its daemon.
struct Examination {
    private let target: TargetAddress
    private let poolSet: String?
    private let options = InitiatorOptions.processEnvironment()

    init(of target: TargetAddress, poolSet: String?) {
        self.target = target
        self.poolSet = poolSet
    }

    /// Every wait has a limit: those of a session.
    func run() -> DoctorReport {
        var report = DoctorReport(rpmemctl: projectVersion, target: "\(target)", poolSet: poolSet)
        let (name, resolves) = nameCheck
        report.checks = [name, FabricChecks.libraries(.initiator)]
        let choice =
            resolves ? Result { () throws(InitiatorError) in try ProviderChoice(for: target, options: options) } : nil
        let own = ownProviders(choice)

        var consultation = Consultation(
            target, poolSet: poolSet, options,
            providers: (own.chosen.map { [$0] } ?? []) + own.enabled.filter { $0 != own.chosen },
            laneHost: (try? choice?.get())?.host)
        let offer = consultation.begin()
        let isPMDK = resolves && consultation.diagnosis.isPMDK
        report.provider = own.used(isPMDK ? FabricChecks.listenersOfPMDK : offer?.listeners)
        report.rpmemd = consultation.diagnosis.version
        let trials = offer.map { tryLanes($0.listeners, own, host: (try? choice?.get())?.host) } ?? []
        let clocks = consultation.compareClocks()
        report.clockOffset = clocks?.offset
        let findings = consultation.finish()

        report.checks += consultation.diagnosis.checks
        report.checks += findings?.checksOfTarget ?? []
        if report.rpmemd != nil, findings == nil {
            report.checks.append(
                ReportedCheck(
                    .rpmemd, .target, .fail,
                    consultation.problem ?? "rpmemd ended before it told what it found",
                    remedy: "`rpmemd --doctor </dev/null`, and the kernel's log, show why"))
        }
        report.checks += isPMDK ? FabricChecks.providersOfPMDK(own) : providerChecks(own, resolves: resolves, offer)
        report.checks += trials.map { trial in
            FabricChecks.inBand(
                trial, isChosen: trial.provider == report.provider,
                refusal: findings?.refusals.first { $0.provider == trial.provider })
        }
        if let offer,
            let check = FabricChecks.secret(isRequired: offer.requiresSecret, isOffered: options.offersExtensions)
        {
            report.checks.append(check)
        }
        if trials.isEmpty {
            report.checks.append(
                ReportedCheck(.inBand, .initiator, .skip, "there is no port of the target to connect to"))
        }
        report.checks += limitChecks(isVerbs: own.chosen == Provider.verbs.name)
        if let clocks {
            report.checks.append(FabricChecks.clocks(offset: clocks.offset, uncertainty: clocks.uncertainty))
        }
        // All checks of one subject are together, whoever made them.
        let order = ReportedCheck.Name.allCases.map(\.rawValue)
        func rank(_ check: ReportedCheck) -> Int { order.firstIndex(of: check.check) ?? order.count }
        report.checks = report.checks.enumerated().sorted {
            (rank($0.element), $0.offset) < (rank($1.element), $1.offset)
        }.map(\.element)
        return report
    }

    // MARK: This machine

    /// Lanes are connected to an address that this machine's resolver, or ssh_config, has for the name.
    private var nameCheck: (ReportedCheck, resolves: Bool) {
        func check(_ verdict: ReportedCheck.Verdict, _ text: String, _ remedy: String? = nil) -> ReportedCheck {
            ReportedCheck(.name, .initiator, verdict, text, remedy: remedy)
        }
        guard let reason = LaneHost.reasonNotResolved(target.host) else {
            return (check(.ok, "\(target.host) resolves"), true)
        }
        if let other = LaneHost.named(bySSH: target, options) {
            guard let reason = LaneHost.reasonNotResolved(other) else {
                return (check(.ok, "\(target.host) is \(other) in ssh_config"), true)
            }
            return (
                check(
                    .fail, "\(other), the HostName of \(target.host) in ssh_config, does not resolve: \(reason)",
                    "write an address there"), false
            )
        }
        return (
            check(
                .fail, "\(target.host) does not resolve: \(reason)",
                "correct the name, or `echo 'ADDRESS \(target.host)' | sudo tee -a /etc/hosts`"), false
        )
    }

    private func ownProviders(_ choice: Result<ProviderChoice, InitiatorError>?) -> FabricChecks.OwnProviders {
        let enabled = options.providers.map(\.name)
        return switch choice {
        case .success(let choice)?:
            .init(
                enabled: enabled, chosen: choice.provider.name,
                next: (try? choice.next(for: target, options: options)?.get())?.provider.name, problem: nil)
        case .failure(let error)?: .init(enabled: enabled, chosen: nil, problem: "\(error)")
        case nil: .init(enabled: enabled, chosen: nil, problem: nil)
        }
    }

    private func limitChecks(isVerbs: Bool) -> [ReportedCheck] {
        let devices = RDMAChecks()
        let limits = LimitChecks.ofThisProcess(.initiator)
        let wanted = options.maximumLanes == .max ? nil : UInt64(options.maximumLanes)
        return [
            limits.memory(pool: nil, hasRDMA: !devices.devices.isEmpty, pinsPools: isVerbs),
            limits.files(
                laneLimit: wanted, perLane: UInt64(SessionOpening.descriptorsPerLane),
                others: UInt64(SessionOpening.otherDescriptors)),
            devices.check(.initiator, isNeeded: isVerbs),
        ]
    }

    // MARK: Between the machines

    private func providerChecks(
        _ own: FabricChecks.OwnProviders, resolves: Bool, _ offer: DoctorOffer?
    ) -> [ReportedCheck] {
        if !resolves {
            return [ReportedCheck(.providers, .initiator, .skip, "libfabric decides by the address, and there is none")]
        }
        guard let offer, offer.listeners.isEmpty else { return FabricChecks.providers(own, offered: offer?.listeners) }
        return FabricChecks.providers(own, offered: nil)
            + [ReportedCheck(.providers, .target, .skip, "its configuration has errors")]
    }

    /// A lane of each provider that both ends have.
    private func tryLanes(
        _ listeners: [DoctorListener], _ own: FabricChecks.OwnProviders, host: String?
    ) -> [FabricChecks.Trial] {
        guard let host else { return [] }
        return options.providers.compactMap { provider in
            guard let port = listeners.first(where: { $0.provider == provider.name })?.port,
                provider != .verbs || own.chosen == provider.name
            else { return nil }
            let start = ContinuousClock.now
            let failure = LaneTrial.run(provider, host: host, port: port, within: options.laneTimeout)
            return FabricChecks.Trial(
                provider: provider.name, host: host, port: port, failure: failure,
                milliseconds: Int(start.duration(to: .now) / .milliseconds(1)))
        }
    }
}
