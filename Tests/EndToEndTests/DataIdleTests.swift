import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Wake-ups of a daemon whose pool is open and idle.
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct DataIdleTests {
    /// The daemon's own threads sleep. The `sockets` provider's thread polls; the test recognises it by its name.
    @Test(arguments: loopbackProviders, [1, 4]) func noThreadWakesUp(_ provider: Provider, _ lanes: Int) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: lanes, reach.options(provider))
        var random = SeededGenerator(seed: 61)
        for lane in 0..<lanes {
            try original.replicate(4096..<14_096, to: pool, by: .persist, lane: lane, &random)
        }
        let daemon = try reach.daemon()
        let workers = try ownThreads(of: daemon).filter { $0.key != "\(daemon)" }
        #expect(!workers.isEmpty && workers.count <= lanes)

        // One second of ten without a wake-up is enough: the machine itself may wake a thread.
        var woken: [String: Int] = [:]
        for _ in 0..<10 {
            let before = try ownThreads(of: daemon)
            usleep(1_000_000)
            let after = try ownThreads(of: daemon)
            woken = after.filter { before[$0.key] != $0.value }
            if woken.isEmpty { break }
        }
        #expect(woken.isEmpty, "woke up in each of ten seconds")

        try original.replicate(4096..<14_096, to: pool, by: .persist, lane: 0, &random)
        try pool.close()
        try original.expectOnParts()
    }

    /// The number of voluntary context switches of each of the daemon's own threads: the main thread and the workers.
    private func ownThreads(of process: pid_t) throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for thread in TemporaryDirectory.entries(of: "/proc/\(process)/task") {
            func text(_ name: String) throws -> String {
                let file = try Descriptor.open("/proc/\(process)/task/\(thread)/\(name)", O_RDONLY)
                return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
            }
            let isOwn = try thread == "\(process)" || text("comm").hasPrefix("persist-")
            if !isOwn { continue }
            guard let match = try text("status").firstMatch(of: /\nvoluntary_ctxt_switches:\s+(\d+)/) else {
                throw TestSupportError("no count of thread \(thread)")
            }
            counts[thread] = Int(match.1)
        }
        return counts
    }
}
