import Glibc
import Synchronization
import Testing

extension Trait where Self == BlockingTrait {
    /// For suites whose tests wait in system calls. Their bodies run on threads of their own. Swift Testing has one thread for
    /// each CPU, and the time limit of a test runs while the test waits for one.
    static var blocking: Self { BlockingTrait() }
}

struct BlockingTrait: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(BlockingThreads.shared) { try await function() }
    }
}

/// Threads that tests may block. They are started and ended with the number of jobs.
private final class BlockingThreads: TaskExecutor {
    static let shared = BlockingThreads()

    /// Tests that run at the same time: more than CPUs, because tests mostly wait.
    private static let limit = 4

    private struct Work {
        var jobs: [UnownedJob] = []
        var threads = 0
    }
    private let work = Mutex(Work())

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let needsThread = work.withLock { work in
            work.jobs.append(job)
            if work.threads == Self.limit { return false }
            work.threads += 1
            return true
        }
        guard needsThread else { return }
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { _ in
                BlockingThreads.shared.run()
                return nil
            }, nil)
        if result != 0 { fatalError("pthread_create: \(String(cString: strerror(result)))") }
        pthread_detach(thread)
    }

    private func run() {
        while let job = next() { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }

    /// nil when there is no job; the calling thread ends then.
    private func next() -> UnownedJob? {
        work.withLock { work in
            if work.jobs.isEmpty {
                work.threads -= 1
                return nil
            }
            return work.jobs.removeFirst()
        }
    }
}
