import Glibc
import RpmemInitiator
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// A thread on each lane, which replicates one range after the other until that fails. No range is written twice.
final class Writers {
    struct Acknowledgement: Sendable {
        var range: Range<Int>
        var call: ReplicationCall
    }

    struct Failure {
        var error: InitiatorError
        /// When the call came back, in nanoseconds.
        var time: UInt64
    }

    private final class Log: Sendable {
        let acknowledged = Mutex<[Acknowledgement]>([])
        let failures = Mutex<[Failure]>([])
    }

    private let log = Log()
    private let threads: ThreadGroup

    init(_ original: Original, _ pool: InitiatorPool, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let ranges = original.disjointRanges(most: 20_000, &random).shuffled(using: &random)
        threads = try ThreadGroup(pool.lanes) { [log] lane in
            var random = SeededGenerator(seed: seed &+ UInt64(lane))
            let mine = ranges.indices.filter { $0 % pool.lanes == lane }.map { ranges[$0] }
            do throws(InitiatorError) {
                for range in mine {
                    let calls = ReplicationCall.allCases
                    let call = calls[Int(random.next() % UInt64(calls.count))]
                    try original.replicate(range, to: pool, by: call, lane: lane, &random)
                    log.acknowledged.withLock { $0.append(Acknowledgement(range: range, call: call)) }
                }
                // All is written: wait for the end in reads.
                let buffer = try! Pages(4096)
                while true { try pool.read(into: buffer.bytes, offset: 4096, lane: lane) }
            } catch {
                let time = monotonicNanoseconds()
                log.failures.withLock { $0.append(Failure(error: error, time: time)) }
            }
        }
    }

    var acknowledged: [Acknowledgement] { log.acknowledged.withLock { $0 } }
    var failures: [Failure] { log.failures.withLock { $0 } }

    /// Waits until that many ranges were acknowledged, or a lane failed.
    func awaitAcknowledgements(_ count: Int) {
        while acknowledged.count < count, failures.isEmpty { usleep(200) }
    }

    func join() { threads.join() }
}
