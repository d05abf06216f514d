import RpmemProtocol
import Synchronization

/// The persist requests that a worker has answered, by mode, the bytes of their ranges, how long some of them took, the batches,
/// and when the worker last answered.
///
/// Thirty-two numbers of 8 bytes at fixed places, so that they can lie in memory that other processes map. Only the worker writes
/// them; each thread may read them at any time, each number for itself. A relaxed store of the only writer is an ordinary
/// store in machine code.
struct PersistCounts: ~Copyable {
    /// One mode.
    struct Count: ~Copyable {
        let requests = Atomic<UInt64>(0)
        let bytes = Atomic<UInt64>(0)

        /// Called by the only writer.
        @inline(__always)
        func add(_ size: UInt64) {
            requests.store(requests.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
            bytes.store(bytes.load(ordering: .relaxed) &+ size, ordering: .relaxed)
        }

        var value: PersistTotals.Count {
            .init(requests: requests.load(ordering: .relaxed), bytes: bytes.load(ordering: .relaxed))
        }
    }

    let relaxed = Count()
    let inline = Count()
    let deep = Count()
    let times = PersistTimes()
    /// Drains, and syncs, each for all ranges of a batch. A deep persist is one of its own, and not counted.
    let batches = Atomic<UInt64>(0)
    /// The time of the last answers on the monotonic clock, in nanoseconds; 0 before the first.
    let lastAnswer = Atomic<UInt64>(0)

    /// Called by the worker after it has sent an answer.
    @inline(__always)
    func add(_ mode: PersistMode, _ size: UInt64) {
        switch mode {
        case .write: relaxed.add(size)
        case .inline: inline.add(size)
        case .deep: deep.add(size)
        }
    }

    /// Called by the worker once the ranges of a batch are durable.
    @inline(__always)
    func addBatch() { batches.store(batches.load(ordering: .relaxed) &+ 1, ordering: .relaxed) }

    /// Called by the worker behind a batch that it has timed, and before it sleeps: while it is busy, the time is that of one of the
    /// last 16 batches.
    @inline(__always)
    func noteAnswer(at nanoseconds: UInt64) { lastAnswer.store(nanoseconds, ordering: .relaxed) }

    /// The numbers now.
    var totals: PersistTotals {
        PersistTotals(
            relaxed: relaxed.value, inline: inline.value, deep: deep.value, batches: batches.load(ordering: .relaxed))
    }
}

/// The sum of the ``PersistCounts`` of a session's workers.
struct PersistTotals: Equatable, Sendable {
    struct Count: Equatable, Sendable {
        var requests: UInt64 = 0
        /// Of the ranges, each time that they were made durable.
        var bytes: UInt64 = 0

        static func + (left: Count, right: Count) -> Count {
            Count(requests: left.requests &+ right.requests, bytes: left.bytes &+ right.bytes)
        }
    }

    /// Ranges that RDMA WRITEs stored: ``PersistMode/write``.
    var relaxed = Count()
    /// Ranges whose data came with the request.
    var inline = Count()
    /// Ranges that were persisted down to the medium.
    var deep = Count()
    /// ``PersistCounts/batches``
    var batches: UInt64 = 0

    static func + (left: PersistTotals, right: PersistTotals) -> PersistTotals {
        PersistTotals(
            relaxed: left.relaxed + right.relaxed, inline: left.inline + right.inline, deep: left.deep + right.deep,
            batches: left.batches &+ right.batches)
    }
}

extension PersistTotals: CustomStringConvertible {
    /// For the log. Scripts read it, so its form is documented in rpmemd(1).
    var description: String {
        let all = relaxed + inline + deep
        let modes = [("relaxed", relaxed), ("inline", inline), ("deep", deep)]
            .map { "\($0) \($1.requests): \($1.bytes)" }.joined(separator: ", ")
        return "requests \(all.requests): \(all.bytes) bytes made durable (\(modes))"
    }
}
