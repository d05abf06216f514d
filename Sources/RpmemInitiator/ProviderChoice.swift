import Fabric
import RpmemProtocol

/// The provider of a session, and what libfabric says about it before the target's port is known.
struct ProviderChoice {
    let provider: Provider
    /// Lanes that this side's provider can have.
    let laneLimit: Int

    /// The first of the enabled providers by which libfabric can reach the host.
    init(for host: String, options: InitiatorOptions) throws(InitiatorError) {
        var refusals: [String] = []
        for provider in options.providers {
            do throws(FabricError) {
                let info = try FabricInfo.query(provider: provider.name, node: host, service: nil, listening: false)
                self.provider = provider
                laneLimit = max(1, info.laneLimit)
                return
            } catch {
                refusals.append("\(provider.name): \(error)")
            }
        }
        for provider in [Provider.verbs, .sockets] where !options.providers.contains(provider) {
            refusals.append("\(provider.name): not enabled, RPMEM_ENABLE_\(provider.name.uppercased())=1 does")
        }
        throw .noProvider(host: host, tried: refusals)
    }
}

/// How data gets to the target and becomes persistent there: a column of the table in `docs/protocol.md`, section 4.5
/// (Persistency methods and calls).
struct PersistRecipes: Hashable, Sendable {
    enum Recipe: Hashable, Sendable {
        /// The data travels inside the request, and the target's CPU puts it in place.
        case inline
        /// WRITE, then a request for the range.
        case writeAndAsk
        /// WRITE, then a READ that pushes it out of the target's I/O path.
        case writeAndReadBack
    }

    let atomic: Recipe
    let relaxed: Recipe
    let deep: Recipe

    init(_ provider: Provider, _ method: PersistMethod) {
        switch (provider, method) {
        case (.verbs, .gpspm), (.tcp, .gpspm): self.init(atomic: .inline, relaxed: .writeAndAsk, deep: .writeAndAsk)
        case (.verbs, .apm), (.tcp, .apm): self.init(atomic: .inline, relaxed: .writeAndReadBack, deep: .writeAndAsk)
        case (.sockets, .gpspm): self.init(atomic: .writeAndAsk, relaxed: .writeAndAsk, deep: .writeAndAsk)
        case (.sockets, .apm):
            self.init(atomic: .writeAndReadBack, relaxed: .writeAndReadBack, deep: .writeAndReadBack)
        }
    }

    private init(atomic: Recipe, relaxed: Recipe, deep: Recipe) {
        self.atomic = atomic
        self.relaxed = relaxed
        self.deep = deep
    }
}
