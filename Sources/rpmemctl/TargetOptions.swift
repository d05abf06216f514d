import ArgumentParser
import Glibc
import RpmemInitiator
import RpmemProtocol

/// Which pool, and how to get there.
struct TargetOptions: ParsableArguments {
    @Argument(help: "The target: [user@]host[:port], an IPv6 address in brackets.")
    var target: TargetArgument

    @Argument(
        help: ArgumentHelp(
            "The pool set, relative to the target's pool set directory.",
            discussion: "Its pool is created if there is none, and removed again. A pool of somebody else's is refused."
        ))
    var poolSet: String

    @Option(help: "The libfabric provider: verbs, sockets or tcp. Without it, what the environment enables.")
    var provider: ProviderArgument?

    @Option(help: ArgumentHelp("Size of the pool in MiB.", valueName: "MiB"))
    var size: Int = 64

    func validate() throws {
        guard size >= 8, size <= 1 << 20 else { throw ValidationError("--size: 8 to 1048576 MiB are possible") }
    }

    /// The environment's options, and the provider asked for.
    var initiatorOptions: InitiatorOptions {
        var options = InitiatorOptions.processEnvironment()
        if let provider { options.providers = [provider.provider] }
        return options
    }
}

struct TargetArgument: ExpressibleByArgument {
    let address: TargetAddress

    init?(argument: String) {
        guard let address = try? TargetAddress(argument) else { return nil }
        self.address = address
    }
}

struct ProviderArgument: ExpressibleByArgument {
    let provider: Provider

    init?(argument: String) {
        guard let provider = Provider.allCases.first(where: { $0.name == argument }) else { return nil }
        self.provider = provider
    }
}

/// Anonymous memory that a pool is replicated from; unmapped when its owner lets go of it.
final class PoolMemory: @unchecked Sendable {
    // The benchmark's threads only read it, each its own part.
    let bytes: UnsafeMutableRawBufferPointer

    init(mebibytes: Int) throws {
        let count = mebibytes << 20
        guard
            let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { throw ToolError("\(mebibytes) MiB of memory: \(String(cString: strerror(errno)))") }
        bytes = UnsafeMutableRawBufferPointer(start: start, count: count)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }
}

/// Something that the tool itself cannot do, in words.
struct ToolError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Marks pools that rpmemctl made, and so may write to.
let toolSignature: SIMD8<UInt8> = SIMD8("RPMEMCTL".utf8)

extension InitiatorPool {
    /// Creates the tool's pool, or opens the one that an earlier run left.
    static func forTool(
        _ target: TargetOptions, memory: PoolMemory, lanes: Int, options: InitiatorOptions
    ) throws -> (pool: InitiatorPool, isCreated: Bool) {
        var attributes = PoolAttributes(signature: toolSignature, major: 1)
        attributes.uuid = .random()
        attributes.poolsetUUID = .random()
        do throws(InitiatorError) {
            let pool = try InitiatorPool.create(
                target: target.target.address, poolSet: target.poolSet, memory: memory.bytes, lanes: lanes,
                attributes: attributes, options: options)
            return (pool, true)
        } catch {
            if error.errno != EEXIST { throw error }
        }
        let pool = try InitiatorPool.open(
            target: target.target.address, poolSet: target.poolSet, memory: memory.bytes, lanes: lanes,
            options: options)
        guard pool.attributes.signature == toolSignature else {
            try? pool.close()
            throw ToolError(
                "\(target.poolSet) on \(target.target.address) holds a pool that rpmemctl did not make: "
                    + "name a pool set of its own")
        }
        return (pool, false)
    }
}
