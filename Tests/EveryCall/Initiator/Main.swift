import Glibc
import RpmemInitiator
import RpmemProtocol

/// The initiator of EveryCallTests: a whole session of every kind of call, in which one system call or one call to libfabric
/// fails. It says on standard output what it was told, one line each.
///
/// usage: every-call-initiator run|recover SSH COMMAND PROVIDER POOLSET
@main struct EveryCallInitiator {
    static let size = 6 << 20
    static let lanes = 2

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 6, let provider = Provider.allCases.first(where: { $0.name == arguments[4] }) else {
            say("usage: every-call-initiator run|recover SSH COMMAND PROVIDER POOLSET")
            exit(2)
        }
        var options = InitiatorOptions()
        options.ssh = arguments[2]
        options.commands = CommandRotation(arguments[3])
        options.providers = [provider]
        options.operationTimeout = .seconds(20)
        options.laneTimeout = .seconds(20)
        let session = Session(poolSet: arguments[5], options: options)
        let before = openDescriptors()
        let isDone = arguments[1] == "run" ? session.run() : session.recover()
        // The pool is released, so that what is left is kept by libraries, or lost.
        say("descriptors \(openDescriptors() - before)")
        exit(isDone ? 0 : 1)
    }

    /// Through the C library's own buffer: the call that writes it is not this program's, and cannot be the one that fails.
    static func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    private static func openDescriptors() -> Int { (0..<Int32(1024)).count { fcntl($0, F_GETFD) >= 0 } }
}

private struct Session {
    let poolSet: String
    let options: InitiatorOptions
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: EveryCallInitiator.size, alignment: 4096)

    static let created = PoolAttributes(signature: SIMD8("EVERYCAL".utf8), major: 1, incompatFeatures: 6)
    static let changed = PoolAttributes(
        signature: SIMD8("EVERYCAL".utf8), major: 2, incompatFeatures: 6, poolsetUUID: UUIDBytes(SIMD16(repeating: 7)))

    /// Every call of the interface, once or more.
    func run() -> Bool {
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        do throws(InitiatorError) {
            try step("create") { () throws(InitiatorError) in
                let pool = try InitiatorPool.create(
                    target: target(), poolSet: poolSet, memory: memory, lanes: EveryCallInitiator.lanes,
                    attributes: Self.created, options: options)
                EveryCallInitiator.say("created")
                try use(pool, changing: true)
            }
            try step("open") { () throws(InitiatorError) in
                let pool = try open()
                if pool.attributes.major != Self.changed.major
                    || pool.attributes.poolsetUUID != Self.changed.poolsetUUID
                {
                    EveryCallInitiator.say("wrong attributes")
                }
                try use(pool, changing: false)
            }
            try step("remove") { () throws(InitiatorError) in
                try InitiatorPool.remove(target: target(), poolSet: poolSet, options: options)
                EveryCallInitiator.say("removed")
            }
            return true
        } catch {
            return false
        }
    }

    /// What an operator does after a failure: opens the pool if there is one, or creates it, and removes it.
    func recover() -> Bool {
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        do throws(InitiatorError) {
            let pool = try open()
            EveryCallInitiator.say("opened")
            try step("close") { () throws(InitiatorError) in try pool.close() }
        } catch {
            EveryCallInitiator.say("not opened: \(error)")
            do throws(InitiatorError) { try create() } catch {
                EveryCallInitiator.say("not created: \(error)")
                do throws(InitiatorError) {
                    try step("force") { () throws(InitiatorError) in
                        try InitiatorPool.remove(target: target(), poolSet: poolSet, force: true, options: options)
                    }
                    try step("create") { () throws(InitiatorError) in try create() }
                } catch { return false }
            }
        }
        do throws(InitiatorError) {
            try step("remove") { () throws(InitiatorError) in
                try InitiatorPool.remove(target: target(), poolSet: poolSet, options: options)
            }
            EveryCallInitiator.say("removed")
            return true
        } catch { return false }
    }

    private func target() throws(InitiatorError) -> TargetAddress { try TargetAddress("localhost") }

    private func open() throws(InitiatorError) -> InitiatorPool {
        try InitiatorPool.open(
            target: target(), poolSet: poolSet, memory: memory, lanes: EveryCallInitiator.lanes, options: options)
    }

    private func create() throws(InitiatorError) {
        let pool = try InitiatorPool.create(
            target: target(), poolSet: poolSet, memory: memory, lanes: EveryCallInitiator.lanes,
            attributes: Self.created,
            options: options)
        try pool.close()
        EveryCallInitiator.say("created")
    }

    private func step(_ name: String, _ body: () throws(InitiatorError) -> Void) throws(InitiatorError) {
        EveryCallInitiator.say("begin \(name)")
        do throws(InitiatorError) { try body() } catch {
            EveryCallInitiator.say("failed \(name): \(error)")
            throw error
        }
    }

    /// Closes the pool in any case, as an application does.
    private func use(_ pool: InitiatorPool, changing: Bool) throws(InitiatorError) {
        do throws(InitiatorError) {
            if changing { try pool.setAttributes(Self.changed) }
            if changing { EveryCallInitiator.say("changed") }
            try persist(pool, seed: changing ? 1 : 101)
            try readBack(pool)
        } catch {
            try? pool.close()
            throw error
        }
        try pool.close()
        EveryCallInitiator.say("closed")
    }

    private func persist(_ pool: InitiatorPool, seed: UInt8) throws(InitiatorError) {
        var seed = seed
        func next(_ offset: Int, _ length: Int, _ body: (Int, Int) throws(InitiatorError) -> Void)
            throws(InitiatorError)
        {
            for index in offset..<offset + length { memory[index] = seed }
            EveryCallInitiator.say("begin persist \(offset) \(length) \(seed)")
            try body(offset, length)
            EveryCallInitiator.say("persisted \(offset) \(length) \(seed)")
            seed += 1
        }
        try next(4096, 100) { (offset, length) throws(InitiatorError) in
            try pool.persist(offset: offset, length: length, lane: 0)
        }
        try next(10_000, 5000) { (offset, length) throws(InitiatorError) in
            try pool.persist(offset: offset, length: length, lane: 1, mode: .relaxed)
        }
        // Over the end of the first part.
        try next((4 << 20) - 50_000, 100_000) { (offset, length) throws(InitiatorError) in
            try pool.persist(offset: offset, length: length, lane: 0)
        }
        try next(200_000, 3000) { (offset, length) throws(InitiatorError) in
            try pool.deepPersist(offset: offset, length: length, lane: 1)
        }
        try next(300_000, 70_000) { (offset, length) throws(InitiatorError) in
            try pool.flush(offset: offset, length: 30_000, lane: 0)
            try pool.flush(offset: offset + 30_000, length: length - 30_000, lane: 0, mode: .relaxed)
            try pool.drain(lane: 0)
        }
    }

    private func readBack(_ pool: InitiatorPool) throws(InitiatorError) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 200_000, alignment: 64)
        defer { bytes.deallocate() }
        for offset in [4096, 300_000, (4 << 20) - 60_000] {
            try pool.read(into: bytes, offset: offset, lane: 1)
            if memcmp(bytes.baseAddress!, memory.baseAddress! + offset, bytes.count) != 0 {
                EveryCallInitiator.say("wrong data at \(offset)")
            }
        }
    }
}
