import Fabric
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport

/// The workers of a session, a completion queue and a thread each. The lanes are distributed over them.
///
/// It belongs to the session's thread.
final class LaneWorkers {
    /// Signalled when a worker stops by itself, and when it ends a lane.
    let stopped: WakeUp
    private let queues: [CompletionQueue]
    /// One for each worker.
    private let syncAliases: [SyncAlias]
    private let provider: Provider
    /// The workers count there; nil for memory of their own.
    private let page: SessionPage?
    /// Empty until ``start(_:)``.
    private var workers: [PersistWorker] = []
    private let ends = Ends()
    /// What the workers have answered. Final after ``finish()``, and zero before.
    private(set) var totals = PersistTotals()

    /// - Parameter queueDepth: Operations that a lane may have under way in each direction.
    init(_ offer: InBandOffer, laneCount: Int, queueDepth: Int, in domain: FabricDomain) throws(FabricError) {
        let count = min(offer.syncAliases.count, laneCount)
        var queues: [CompletionQueue] = []
        for number in 0..<count {
            let lanes = (laneCount - number + count - 1) / count
            queues.append(try CompletionQueue(in: domain, size: lanes * 2 * queueDepth))
        }
        do throws(SystemCallError) { stopped = try WakeUp() } catch { throw FabricError(error) }
        self.queues = queues
        syncAliases = offer.syncAliases
        provider = offer.provider
        page = offer.page
    }

    /// The queue of the worker that serves a lane.
    func queue(ofLane lane: Int) -> CompletionQueue { queues[lane % queues.count] }

    /// The ``PersistWorker/rounds`` of the worker that serves a lane. The workers run.
    func rounds(ofLane lane: Int) -> UInt64 { workers[lane % queues.count].rounds }

    /// The first reason for which a worker stopped by itself; nil while none has.
    var firstEnd: WorkerEnd? { ends.state.withLock { $0.first } }

    /// Whether a worker could not make a range durable, be it the first that stopped or not. Final after ``finish()``.
    var hasFailedToPersist: Bool { ends.state.withLock { $0.hasFailedToPersist } }

    /// Starts the threads, unless they run.
    func start(_ context: PersistContext) throws(FabricError) {
        guard workers.isEmpty else { return }
        let ends = ends
        let signal = stopped.descriptor.number
        for (number, queue) in queues.enumerated() {
            var context = context
            context.persister = syncAliases[number].persister
            let waitDescriptor = provider == .sockets ? try queue.waitDescriptor() : -1
            do throws(SystemCallError) {
                workers.append(
                    try PersistWorker(
                        number: number, queue: queue.pointer, waitDescriptor: waitDescriptor, context: context,
                        counts: page?.counts(ofWorker: number)
                    ) { end in
                        ends.state.withLock { $0.add(end) }
                        // `stopped` is kept until the workers are joined.
                        WakeUp.signal(signal)
                    })
            } catch {
                throw FabricError(error)
            }
        }
    }

    /// Ends and joins the threads. Idempotent.
    func finish() {
        for worker in workers {
            worker.finish()
            totals = totals + worker.totals
        }
        workers = []
    }

    /// The ends that workers report, shared with their threads.
    private final class Ends: Sendable {
        let state = Mutex(Record())

        struct Record {
            var first: WorkerEnd?
            var hasFailedToPersist = false

            mutating func add(_ end: WorkerEnd) {
                if first == nil { first = end }
                if case .persistFailed = end { hasFailedToPersist = true }
            }
        }
    }
}
