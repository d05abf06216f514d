import ArgumentParser
import Glibc
import RpmemInitiator

@main struct Fibonacci: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpmem-fibonacci",
        abstract: "The Fibonacci numbers, one more with each run, kept on this machine and on another.",
        discussion: """
            Either side may be lost or overwritten: the next run finds out, goes on from the other, and repairs what \
            was damaged.

            ssh must reach TARGET without a password. RPMEM_SSH and RPMEM_CMD are honoured.
            """,
        version: "rpmem-fibonacci version \(projectVersion)")

    @Argument(help: "Where the replica is: [user@]host[:port].")
    var target: String

    @Argument(help: "The pool set, a path relative to the target's pool set directory.")
    var poolSet: String

    @Argument(help: "The pool on this machine: a file, which is made if there is none, or a Device DAX.")
    var path: String

    @Flag(
        name: [.customShort("r"), .customLong("replace")],
        help: "Make the replica anew, if it cannot be opened and PATH is undamaged.")
    var replaces = false

    private static let poolSize = 32 << 20

    func run() throws {
        do {
            let local = try MappedPool(path, byteCount: Self.poolSize)
            // The replica uses the memory until it is closed, whatever happens here.
            defer { withExtendedLifetime(local) {} }
            let replica = try open(local)
            do { try step(local, replica) } catch {
                try? replica.close()
                throw error
            }
            try replica.close()
        } catch {
            complain("\(error)")
            throw ExitCode.failure
        }
    }

    // MARK: The replica

    private func open(_ local: MappedPool) throws -> InitiatorPool {
        let target = try TargetAddress(target)
        do throws(InitiatorError) { return try openOrCreate(target, local) } catch {
            guard case .refused(_, .badPoolConfiguration, _) = error,
                Numbers.find(in: UnsafeRawBufferPointer(local.numbers)).numbers != nil
            else { throw error }
            if !replaces {
                throw FibonacciError("\(error)\nIf that replica is damaged, -r makes it anew from \(path).")
            }
        }
        try InitiatorPool.remove(target: target, poolSet: poolSet, force: true)
        print("The replica is made anew.")
        return try openOrCreate(target, local)
    }

    private func openOrCreate(_ target: TargetAddress, _ local: MappedPool) throws(InitiatorError) -> InitiatorPool {
        do throws(InitiatorError) {
            return try InitiatorPool.create(
                target: target, poolSet: poolSet, memory: local.bytes, lanes: 1, attributes: Numbers.poolAttributes())
        } catch {
            guard case .refused(_, .exists, _) = error else { throw error }
        }
        let replica = try InitiatorPool.open(target: target, poolSet: poolSet, memory: local.bytes, lanes: 1)
        if replica.attributes.signature != Numbers.signature {
            try replica.close()
            throw .invalidArgument("\(poolSet) on \(target) holds a pool of another program: name another pool set")
        }
        return replica
    }

    // MARK: The numbers

    /// Recovers, takes one step in the sequence and makes it durable, here first.
    private func step(_ local: MappedPool, _ replica: InitiatorPool) throws {
        let numbers = try recover(local, replica).map { found -> Numbers in
            if let next = found.next { return next }
            print("The next number has more than 64 bits: from the start again.")
            return .start
        }
        let current = numbers ?? .start
        current.write(to: local.numbers)
        try local.persist(local.numbers)
        try replica.persist(offset: Numbers.offset, length: Numbers.byteCount, lane: 0)
        if current.index == 0 { print("F(0) = \(current.first)") }
        print("F(\(current.index + 1)) = \(current.second)")
    }

    /// Puts the best of both sides in place here and repairs the sides that are damaged. nil when neither has numbers.
    private func recover(_ local: MappedPool, _ replica: InitiatorPool) throws -> Numbers? {
        let remoteBytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Numbers.byteCount, alignment: 8)
        defer { remoteBytes.deallocate() }
        // What a new replica has there are zeros.
        try replica.read(into: remoteBytes, offset: Numbers.offset, lane: 0)
        let here = Numbers.find(in: UnsafeRawBufferPointer(local.numbers))
        let there = Numbers.find(in: UnsafeRawBufferPointer(remoteBytes))
        if here == .damage { print("The pool here is damaged.") }
        if there == .damage { print("The replica is damaged.") }

        var best = here.numbers
        if let remote = there.numbers, best.map({ remote.index > $0.index }) ?? true {
            best = remote
            print("Going on from the replica.")
        }
        if here == .damage {
            // Who knows what else was overwritten.
            local.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        }
        (best ?? .start).write(to: local.numbers)
        try local.persist(here == .damage ? local.bytes : local.numbers)
        if here == .damage { print("The pool here is repaired.") }
        if there == .damage {
            try replica.persist(
                offset: Numbers.offset, length: Self.poolSize - Numbers.offset, lane: 0, mode: .relaxed)
            print("The replica is repaired.")
        }
        return best
    }
}

/// Says on standard error what is wrong.
private func complain(_ message: String) {
    let line = "rpmem-fibonacci: \(message)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}
