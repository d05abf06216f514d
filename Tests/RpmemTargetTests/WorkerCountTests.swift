import RpmemProtocol
import Testing

@testable import RpmemTarget

struct WorkerCountTests {
    @Test(arguments: [(Provider.sockets, [1, 1, 3, 7]), (.tcp, [1, 2, 4, 8]), (.verbs, [1, 2, 4, 8])])
    func theProvidersThreadTakesTheCPUOfAWorker(_ provider: Provider, _ workers: [Int]) {
        #expect([1, 2, 4, 8].map { PoolOpening.defaultWorkers(for: provider, processors: $0) } == workers)
    }
}
