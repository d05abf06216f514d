import Glibc
import RpmemInitiator

/// Counts its runs in a pool on another machine. The article "Getting started" of the library's documentation quotes this
/// file.
@main struct Counter {
    static func main() async {
        guard CommandLine.arguments.count == 3 else {
            complain("usage: rpmem-counter [USER@]HOST[:PORT] POOLSET")
            exit(2)
        }
        do throws(InitiatorError) {
            let target = try TargetAddress(CommandLine.arguments[1])
            print("Run \(try await count(target, poolSet: CommandLine.arguments[2]))")
        } catch {
            complain(explanation(of: error))
            exit(1)
        }
    }
}

/// Opens the pool, counts this run, and returns the number that the target has then.
func count(_ target: TargetAddress, poolSet: String) async throws(InitiatorError) -> UInt64 {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 20, alignment: Int(getpagesize()))
    defer { memory.deallocate() }
    let pool = try openOrCreate(target, poolSet, memory)
    do throws(InitiatorError) {
        try addOne(pool, memory)
        let number = try await numberOnTarget(pool)
        try pool.close()
        return number
    } catch {
        // After an error, close only releases what the pool has.
        try? pool.close()
        throw error
    }
}

/// The application's mark in the pool's header: "COUNTER" and a zero.
let signature: SIMD8<UInt8> = [0x43, 0x4f, 0x55, 0x4e, 0x54, 0x45, 0x52, 0]

func openOrCreate(
    _ target: TargetAddress, _ poolSet: String, _ memory: UnsafeMutableRawBufferPointer
) throws(InitiatorError) -> InitiatorPool {
    do throws(InitiatorError) {
        let uuid = UUIDBytes.random()
        return try InitiatorPool.create(
            target: target, poolSet: poolSet, memory: memory, lanes: 2,
            attributes: PoolAttributes(
                signature: signature, major: 1, poolsetUUID: .random(), uuid: uuid, nextUUID: uuid, previousUUID: uuid))
    } catch {
        // On all runs but the first, the pool is there.
        guard case .refused(_, .exists, _) = error else { throw error }
    }
    let pool = try InitiatorPool.open(target: target, poolSet: poolSet, memory: memory, lanes: 2)
    if pool.attributes.signature != signature {
        try pool.close()
        throw .invalidArgument("\(poolSet) holds a pool of another program: name another pool set")
    }
    return pool
}

/// Adds one to the counter, here and on the target.
func addOne(_ pool: InitiatorPool, _ memory: UnsafeMutableRawBufferPointer) throws(InitiatorError) {
    let offset = InitiatorPool.headerSize
    let counter = UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + 8])
    try pool.read(into: counter, offset: offset, lane: 0)
    counter.storeBytes(of: counter.load(as: UInt64.self) &+ 1, as: UInt64.self)
    try pool.persist(offset: offset, length: 8, lane: 0)
}

/// Reads the counter on a thread of the lane's own: the task waits, and its thread does not.
func numberOnTarget(_ pool: InitiatorPool) async throws(InitiatorError) -> UInt64 {
    let lane = try AsyncLane(pool.lanes - 1, of: pool)
    let bytes = try await lane.read(offset: InitiatorPool.headerSize, length: 8)
    return bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
}

/// What a person is told.
func explanation(of error: InitiatorError) -> String {
    switch error {
    case .lost, .timedOut: "\(error). The run may be counted or not: run the program again to see."
    default: "\(error)"
    }
}

/// Says on standard error what is wrong.
func complain(_ words: String) {
    let line = "rpmem-counter: \(words)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}
