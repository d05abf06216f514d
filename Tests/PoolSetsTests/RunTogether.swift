import Glibc
import Synchronization
import SystemSupport

@testable import PoolSets

/// Runs `body` on `count` threads, which begin at the same moment, and waits for all.
func runTogether(_ count: Int, _ body: @escaping @Sendable () -> Void) {
    withExtendedLifetime(StartLine(count)) { line in
        let threads = (0..<count).map { _ in
            try? NamedThread(name: "test") {
                line.wait()
                body()
            }
        }
        for thread in threads { thread?.join() }
    }
}

private final class StartLine: Sendable {
    private let waiting: Atomic<Int>

    init(_ count: Int) { waiting = Atomic(count) }

    func wait() {
        waiting.subtract(1, ordering: .acquiringAndReleasing)
        while waiting.load(ordering: .acquiring) > 0 { sched_yield() }
    }
}

/// The results of one attempt by several threads.
final class CreationOutcomes: Sendable {
    private let state = Mutex<(pools: [Pool], errors: [PoolError])>(([], []))

    func won(_ pool: Pool) { state.withLock { $0.pools.append(pool) } }
    func lost(_ error: PoolError) { state.withLock { $0.errors.append(error) } }
    var errors: [PoolError] { state.withLock { $0.errors } }

    func takeWinners() -> [Pool] {
        state.withLock { state in
            defer { state.pools = [] }
            return state.pools
        }
    }
}
