import ArgumentParser
import RpmemInitiator

@main struct Hello: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpmem-hello",
        abstract: "Keeps a greeting in a replicated pool, in another language each time.",
        discussion: """
            The first run creates the pool on the target and replicates a greeting. Each later run opens it, reads the \
            greeting back from the target, translates it, and replicates the translation.

            ssh must reach TARGET without a password. RPMEM_SSH and RPMEM_CMD are honoured.
            """,
        version: "rpmem-hello version \(projectVersion)")

    @Argument(help: "Where the pool is: [user@]host[:port].")
    var target: String

    @Argument(help: "The pool set, a path relative to the target's pool set directory.")
    var poolSet: String

    @Option(help: "Size of the pool in MiB; the target's pool set must have as much.")
    var size = 32

    @Option(help: "Lanes to ask for; the last one granted carries the greeting.")
    var lanes = 1

    @Option(help: "How to reach the target's memory: verbs, sockets or tcp. Default: what the environment enables.")
    var provider: String?

    @Flag(help: "Remove the pool from the target instead.")
    var remove = false

    func validate() throws {
        if size < 1 || size > 1 << 20 { throw ValidationError("--size must be from 1 to \(1 << 20)") }
        if lanes < 1 { throw ValidationError("--lanes must be at least 1") }
        if let provider, Provider(named: provider) == nil {
            throw ValidationError("--provider must be verbs, sockets or tcp")
        }
    }

    func run() throws {
        var options = InitiatorOptions.processEnvironment()
        for warning in options.warnings { complain(warning) }
        if let provider = provider.flatMap(Provider.init(named:)) { options.providers = [provider] }
        do throws(InitiatorError) {
            let target = try TargetAddress(target)
            if remove {
                try InitiatorPool.remove(target: target, poolSet: poolSet, options: options)
                print("Removed the pool \(poolSet) from \(target).")
            } else {
                try greet(target, options)
            }
        } catch {
            complain("\(error)")
            throw ExitCode.failure
        }
    }

    private func greet(_ target: TargetAddress, _ options: InitiatorOptions) throws(InitiatorError) {
        let memory = LocalPool(byteCount: size << 20)
        let (pool, isNew) = try openOrCreate(target, memory, options)
        // The pool uses the memory until it is closed, whatever happens here.
        defer { withExtendedLifetime(memory) {} }
        let lane = pool.lanes - 1
        print(
            "\(isNew ? "Created" : "Opened") the pool \(poolSet) on \(target):",
            "\(pool.size >> 20) MiB, \(pool.lanes) \(pool.lanes == 1 ? "lane" : "lanes") over \(pool.provider.name),",
            "\(pool.persistMethod == .apm ? "APM" : "GPSPM").")
        do throws(InitiatorError) {
            let greeting: Greeting
            if isNew {
                greeting = Greeting(language: 0)
            } else {
                let found = try read(from: pool, memory, lane)
                print("The target has, in \(found.languageName): \(found.text)")
                greeting = found.translated
            }
            greeting.write(to: memory.bytes, at: Greeting.offset)
            try pool.persist(offset: Greeting.offset, length: Greeting.byteCount, lane: lane)
            print("Replicated, in \(greeting.languageName): \(greeting.text)")
        } catch {
            try? pool.close()
            throw error
        }
        try pool.close()
    }

    private func openOrCreate(
        _ target: TargetAddress, _ memory: LocalPool, _ options: InitiatorOptions
    ) throws(InitiatorError) -> (InitiatorPool, isNew: Bool) {
        do throws(InitiatorError) {
            let pool = try InitiatorPool.create(
                target: target, poolSet: poolSet, memory: memory.bytes, lanes: lanes,
                attributes: Greeting.poolAttributes(), options: options)
            return (pool, true)
        } catch {
            guard case .refused(_, .exists, _) = error else { throw error }
        }
        let pool = try InitiatorPool.open(
            target: target, poolSet: poolSet, memory: memory.bytes, lanes: lanes, options: options)
        if pool.attributes.signature != Greeting.signature {
            try pool.close()
            throw .invalidArgument("\(poolSet) holds a pool of another program: name another pool set")
        }
        return (pool, false)
    }

    private func read(
        from pool: InitiatorPool, _ memory: LocalPool, _ lane: Int
    ) throws(InitiatorError) -> Greeting {
        let place = UnsafeMutableRawBufferPointer(
            rebasing: memory.bytes[Greeting.offset..<Greeting.offset + Greeting.byteCount])
        try pool.read(into: place, offset: Greeting.offset, lane: lane)
        guard let greeting = Greeting(reading: memory.bytes, at: Greeting.offset) else {
            throw .invalidArgument("\(poolSet) holds no greeting where one should be: --remove it, and start again")
        }
        return greeting
    }
}

extension Provider {
    init?(named name: String) {
        guard let provider = Provider.allCases.first(where: { $0.name == name }) else { return nil }
        self = provider
    }
}
