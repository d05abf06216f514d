import CFabric
import Fabric
import RpmemProtocol

/// The provider of a session. It is chosen before the target's port is known.
package struct ProviderChoice {
    package let provider: Provider
    /// The host to connect lanes to.
    package let host: String
    /// Lanes that the local provider can have.
    package let laneLimit: Int

    /// Takes the first enabled provider that libfabric has for the target's host. Where the name means nothing to this machine,
    /// takes the HostName that ssh_config(5) has for it.
    package init(for target: TargetAddress, options: InitiatorOptions) throws(InitiatorError) {
        do throws(InitiatorError) { self = try Self(host: target.host, options) } catch {
            guard case .noProvider(let host, _) = error, let reason = LaneHost.reasonNotResolved(host) else {
                throw error
            }
            guard let other = LaneHost.named(bySSH: target, options) else {
                throw .noProvider(
                    host: host,
                    tried: [
                        "the name does not resolve here (\(reason)), and lanes need an address: add it to /etc/hosts"
                            + (LaneHost.isSSH(options)
                                ? ", or a HostName to ssh_config"
                                : ". Only a program named ssh is asked for the HostName of an alias, and RPMEM_SSH is \(options.ssh)")
                    ])
            }
            if let reason = LaneHost.reasonNotResolved(other) {
                throw .noProvider(
                    host: host,
                    tried: [
                        "\(other), its HostName in ssh_config, does not resolve here (\(reason)): write an address there"
                    ])
            }
            self = try Self(host: other, options)
        }
    }

    /// The choice to go on with where the target refuses this one's provider; nil when none is enabled, and a failure when this
    /// machine does not have it. Only `sockets` follows, behind `tcp`: targets of PMDK do not know `tcp`.
    package func next(
        for target: TargetAddress, options: InitiatorOptions
    ) -> Result<ProviderChoice, InitiatorError>? {
        guard provider == .tcp, let place = options.providers.firstIndex(of: .tcp),
            options.providers[place...].contains(.sockets)
        else { return nil }
        var options = options
        options.providers = [.sockets]
        return Result { () throws(InitiatorError) in try ProviderChoice(for: target, options: options) }
    }

    /// Whether ssh is kept to IPv4: ssh and the lanes then choose the same address of the host.
    ///
    /// - Parameter host: What lanes are connected to.
    package static func forcesIPv4(_ provider: Provider, host: String) -> Bool {
        // ssh refuses to be kept to IPv4 when the host is an IPv6 address.
        provider == .sockets && !host.contains(":")
    }

    var forcesIPv4: Bool { Self.forcesIPv4(provider, host: host) }

    /// The enabled providers among which libfabric's answers will decide: verbs only where this machine has an RDMA device.
    static func candidates(_ options: InitiatorOptions) -> [Provider] {
        options.providers.filter { $0 != .verbs || RDMADevice.exists }
    }

    private init(host: String, _ options: InitiatorOptions) throws(InitiatorError) {
        var errors: [String] = []
        for provider in options.providers {
            do throws(FabricError) {
                let info = try FabricInfo.query(provider: provider.name, node: host, service: nil, listening: false)
                self.provider = provider
                self.host = host
                laneLimit = max(1, info.laneLimit)
                return
            } catch {
                errors.append("\(provider.name): \(Self.reason(error, provider))")
            }
        }
        for (provider, text) in options.disabledByMistake {
            let name = provider.name
            errors.append("\(name): disabled by RPMEM_ENABLE_\(name.uppercased())=\(text), =1 enables it")
        }
        for provider in [Provider.verbs, .sockets]
        where !options.providers.contains(provider) && !options.disabledByMistake.contains(where: { $0.0 == provider })
        {
            errors.append("\(provider.name): not enabled, RPMEM_ENABLE_\(provider.name.uppercased())=1 does")
        }
        throw .noProvider(host: host, tried: errors)
    }

    private static func reason(_ error: FabricError, _ provider: Provider) -> String {
        guard error.code == Int32(FI_ENODATA) else { return "\(error)" }
        return provider == .verbs
            ? "no RDMA device of this machine reaches it (`fi_info -p verbs` lists those that libfabric finds)"
            : "\(error)"
    }
}

/// The way data is made persistent on the target for each kind of call: a column of the table in `docs/protocol.md`,
/// section 4.5 (Persistency methods and calls).
struct PersistRecipes: Hashable, BitwiseCopyable, Sendable {
    enum Recipe: Hashable, BitwiseCopyable, Sendable {
        /// A request that carries the data: the target's CPU copies it into the pool.
        case inline
        /// A WRITE, then a persist request for its range.
        case writeAndAsk
        /// A WRITE that the target's provider makes durable before it acknowledges it; see ``Extensions/committingWrites``.
        case writeAndCommit
        /// A WRITE, then a READ that pushes it out of the target's I/O path.
        case writeAndReadBack
    }

    let atomic: Recipe
    let relaxed: Recipe
    /// For ranges of at most ``shortLength`` bytes, atomic or relaxed; nil when length does not matter.
    let short: Recipe?
    let deep: Recipe

    /// A page. Inline, such a range costs one message instead of a WRITE and a request, and the target's copy costs less.
    private static let shortLength = 4096

    /// - Parameter commits: Whether ``Extensions/committingWrites`` is agreed on.
    init(_ provider: Provider, _ method: PersistMethod, commits: Bool = false) {
        switch (provider, method) {
        case (.sockets, .gpspm) where commits:
            self.init(atomic: .writeAndCommit, relaxed: .writeAndCommit, deep: .writeAndAsk)
        case (.verbs, .gpspm), (.tcp, .gpspm):
            self.init(
                atomic: .inline, relaxed: commits ? .writeAndCommit : .writeAndAsk, short: .inline, deep: .writeAndAsk)
        case (.verbs, .apm), (.tcp, .apm): self.init(atomic: .inline, relaxed: .writeAndReadBack, deep: .writeAndAsk)
        case (.sockets, .gpspm):
            self.init(atomic: .writeAndAsk, relaxed: .writeAndAsk, short: .inline, deep: .writeAndAsk)
        case (.sockets, .apm):
            self.init(atomic: .writeAndReadBack, relaxed: .writeAndReadBack, deep: .writeAndReadBack)
        }
    }

    /// How to persist a range of `length` bytes.
    func forPersist(_ mode: InitiatorPool.Mode, length: Int) -> Recipe {
        if let short, length <= Self.shortLength { return short }
        return switch mode {
        case .atomic: atomic
        case .relaxed: relaxed
        }
    }

    private init(atomic: Recipe, relaxed: Recipe, short: Recipe? = nil, deep: Recipe) {
        self.atomic = atomic
        self.relaxed = relaxed
        self.short = short
        self.deep = deep
    }
}
