import Glibc
import RpmemInitiator
import RpmemProtocol

/// An initiator for tests to kill. It opens or creates a pool, prints `connected` once all lanes are connected, and persists on
/// each lane in turn until it is killed. With a number of rounds it closes the pool after them, and waits to be killed.
///
/// usage: driven-initiator create|open SSH COMMAND PROVIDER TARGET POOLSET BYTES LANES ROUNDS|forever
@main struct DrivenInitiator {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 10, let size = Int(arguments[7]), let lanes = Int(arguments[8]),
            let provider = Provider.allCases.first(where: { $0.name == arguments[4] })
        else {
            complain(
                "usage: driven-initiator create|open SSH COMMAND PROVIDER TARGET POOLSET BYTES LANES ROUNDS|forever")
            exit(2)
        }
        var options = InitiatorOptions()
        options.ssh = arguments[2]
        options.commands = CommandRotation(arguments[3])
        options.providers = [provider]
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0x5a)
        do throws(InitiatorError) {
            let target = try TargetAddress(arguments[5])
            let pool: InitiatorPool
            if arguments[1] == "create" {
                pool = try InitiatorPool.create(
                    target: target, poolSet: arguments[6], memory: memory, lanes: lanes,
                    attributes: PoolAttributes(signature: SIMD8("DRIVENIN".utf8), major: 1, incompatFeatures: 6),
                    options: options)
            } else {
                pool = try InitiatorPool.open(
                    target: target, poolSet: arguments[6], memory: memory, lanes: lanes, options: options)
            }
            announce("connected")
            try drive(pool, rounds: Int(arguments[9]) ?? .max)
            try pool.close()
            announce("closed")
            while true { pause() }
        } catch {
            complain("\(error)")
            exit(1)
        }
    }

    private static func drive(_ pool: InitiatorPool, rounds: Int) throws(InitiatorError) {
        let length = 10_000
        var offset = InitiatorPool.headerSize
        for round in 0..<rounds {
            for lane in 0..<pool.lanes {
                try pool.persist(offset: offset, length: length, lane: lane, mode: round % 2 == 0 ? .atomic : .relaxed)
                offset += length
                if offset + length > pool.size { offset = InitiatorPool.headerSize }
            }
        }
    }

    private static func announce(_ word: String) {
        print(word)
        fflush(nil)
    }

    private static func complain(_ text: String) {
        let line = "driven-initiator: \(text)\n"
        _ = line.withCString { write(2, $0, strlen($0)) }
    }
}
