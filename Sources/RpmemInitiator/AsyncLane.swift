import Glibc
import Synchronization
import SystemSupport

/// A lane for asynchronous code: calls run on a thread of the lane's own, so that they never block Swift's cooperative
/// threads.
///
/// The actor keeps the calls of many tasks apart: the lane carries out one at a time. Make one for each lane that
/// asynchronous code uses, and leave that lane to it; a second one, or a call of the pool's with the same number, gets
/// ``InitiatorError/laneInUse(_:)``. There is one thread per `AsyncLane`; it ends with the last reference. A call is not
/// cancelled with its task: it ends within ``InitiatorOptions/operationTimeout`` for each answer that it waits for.
///
/// The local pool's memory must stay valid until the pool is closed, as for the pool itself.
public actor AsyncLane {
    /// The pool that the lane belongs to.
    public nonisolated let pool: InitiatorPool
    /// The lane's number.
    public nonisolated let number: Int
    private nonisolated let executor: LaneExecutor

    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Starts the lane's thread.
    ///
    /// - Parameters:
    ///   - number: From 0 to ``InitiatorPool/lanes`` − 1.
    ///   - pool: An open pool, which the lane keeps alive.
    public init(_ number: Int, of pool: InitiatorPool) throws(InitiatorError) {
        if number < 0 || number >= pool.lanes {
            throw .invalidArgument("lane \(number) does not exist: there are \(pool.lanes), from 0 on")
        }
        do throws(SystemCallError) { executor = try LaneExecutor(name: "rpmem-lane-\(number)") } catch {
            throw .system(error)
        }
        self.pool = pool
        self.number = number
    }

    /// See ``InitiatorPool/persist(offset:length:lane:mode:)``.
    public func persist(offset: Int, length: Int, mode: InitiatorPool.Mode = .atomic) throws(InitiatorError) {
        try pool.persist(offset: offset, length: length, lane: number, mode: mode)
    }

    /// See ``InitiatorPool/deepPersist(offset:length:lane:)``.
    public func deepPersist(offset: Int, length: Int) throws(InitiatorError) {
        try pool.deepPersist(offset: offset, length: length, lane: number)
    }

    /// See ``InitiatorPool/flush(offset:length:lane:mode:)``.
    public func flush(offset: Int, length: Int, mode: InitiatorPool.Mode = .atomic) throws(InitiatorError) {
        try pool.flush(offset: offset, length: length, lane: number, mode: mode)
    }

    /// See ``InitiatorPool/drain(lane:)``.
    public func drain() throws(InitiatorError) { try pool.drain(lane: number) }

    /// The bytes of a range of the target's pool, as ``InitiatorPool/read(into:offset:lane:)-(MutableRawSpan,_,_)`` copies
    /// them.
    public func read(offset: Int, length: Int) throws(InitiatorError) -> [UInt8] {
        // The pool's size bounds the length before memory is allocated for it.
        if length < 0 || length > pool.size {
            throw .invalidArgument("\(length) bytes are not inside the pool of \(pool.size) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: length)
        var span = bytes.mutableSpan
        var rawSpan = span.mutableBytes
        try pool.read(into: &rawSpan, offset: offset, lane: number)
        return bytes
    }
}

/// Runs the jobs of one actor on one thread.
final class LaneExecutor: SerialExecutor {
    private let queue: JobQueue

    /// - Parameter name: Of the thread; the first 15 bytes count.
    init(name: String) throws(SystemCallError) {
        let queue = try JobQueue()
        self.queue = queue
        let thread = try NamedThread(name: name) {
            while let jobs = queue.next() {
                // A job keeps its actor alive, and the actor its executor.
                for (job, executor) in jobs { job.runSynchronously(on: executor) }
            }
        }
        // The last reference to an actor may go on its own thread, which cannot join itself.
        thread.detach()
    }

    deinit { queue.close() }

    func enqueue(_ job: consuming ExecutorJob) { queue.add(UnownedJob(job), on: asUnownedSerialExecutor()) }
}

/// Jobs that wait for a thread.
private final class JobQueue: Sendable {
    private struct Waiting {
        var jobs: [(job: UnownedJob, executor: UnownedSerialExecutor)] = []
        var isClosed = false
    }
    private let state = Mutex(Waiting())
    private let wakeUp: WakeUp

    init() throws(SystemCallError) { wakeUp = try WakeUp() }

    func add(_ job: UnownedJob, on executor: UnownedSerialExecutor) {
        state.withLock { $0.jobs.append((job, executor)) }
        wakeUp.signal()
    }

    /// Ends the thread once all jobs have run.
    func close() {
        state.withLock { $0.isClosed = true }
        wakeUp.signal()
    }

    /// Waits for jobs; nil when the queue is closed.
    func next() -> [(job: UnownedJob, executor: UnownedSerialExecutor)]? {
        while true {
            let (jobs, isClosed) = state.withLock { state in
                defer { state.jobs = [] }
                return (state.jobs, state.isClosed)
            }
            if !jobs.isEmpty { return jobs }
            if isClosed { return nil }
            // poll(2) can only fail with ENOMEM here. The loop then polls again.
            _ = try? PollSet.wait(for: wakeUp.descriptor.number, until: nil)
            wakeUp.clear()
        }
    }
}
