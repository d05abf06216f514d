import ArgumentParser
import Glibc
import RpmemInitiator
import RpmemProtocol

/// The arguments and options that name the target, the pool set, the provider and the pool's size.
struct TargetOptions: ParsableArguments {
    @Argument(help: "The target: [user@]host[:port], an IPv6 address in brackets.")
    var target: TargetArgument

    @Argument(
        help: ArgumentHelp(
            "The pool set, relative to the target's pool set directory.",
            discussion: """
                If the set has no pool, one is created and removed at the end. A pool that another program created is \
                refused.
                """
        ))
    var poolSet: String

    @Option(help: "The libfabric provider: verbs, sockets or tcp. Default: the first that the environment enables.")
    var provider: ProviderArgument?

    @Option(help: ArgumentHelp("Size of the pool in MiB.", valueName: "MiB"))
    var size: Int = 64

    func validate() throws {
        guard size >= 8, size <= 1 << 20 else { throw ValidationError("--size: 8 to 1048576 MiB are possible") }
    }

    /// The options of the environment variables, with the provider of `--provider` if given.
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

/// Anonymous memory that a pool is replicated from. It is unmapped with the last reference.
///
/// Sendable: the threads of a benchmark only read it.
final class PoolMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init(mebibytes: Int) throws {
        let count = mebibytes << 20
        guard
            let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { throw ToolError("mmap of \(mebibytes) MiB: \(String(cString: strerror(errno)))") }
        bytes = UnsafeMutableRawBufferPointer(start: start, count: count)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }
}

/// An error of the tool itself, not of the initiator or the fabric.
struct ToolError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// The signature of pools that rpmemctl created. It writes to no other.
let toolSignature: SIMD8<UInt8> = SIMD8("RPMEMCTL".utf8)

extension InitiatorPool {
    /// Creates the tool's pool, or opens the pool that an earlier run left.
    ///
    /// - Returns: The pool, and whether this run created it.
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
                    + "use a pool set that no other program uses")
        }
        return (pool, false)
    }
}
