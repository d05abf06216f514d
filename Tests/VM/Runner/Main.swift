import ArgumentParser
import Glibc
import Synchronization
import SystemSupport
import TestSupport

/// Runs the cases of `Tests/VM` in virtual machines with persistent memory and RDMA.
@main struct VMTests: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vm-tests",
        abstract: "Boots virtual machines with persistent memory and RDMA, and runs Tests/VM/cases in them.")

    @Option(help: "Run only cases whose name contains this, or one of these with commas between them.")
    var filter = ""

    @Option(help: "The tree that `make install DESTDIR=` made.")
    var tree: String

    @Option(help: "Where logs, images and the machines' memory go.")
    var workplace: String

    @Option(help: "What cases leave to chance, as an earlier run printed it.")
    var seed = UInt32.random(in: 0..<(1 << 31))

    @Option(help: "How often the case power-loss pulls the plug.")
    var losses = 6

    @Option(help: "How many boots run beside each other.")
    var boots = 1

    @Argument(help: "Test programs and Debian packages for the guests.")
    var files: [String] = []

    func run() throws {
        let began = monotonicNanoseconds()
        let wanted = table(losses: losses).map { boot in (boot, boot.cases.filter { isWanted($0.name) }) }
            .filter { !$0.1.isEmpty }
        if wanted.isEmpty { throw ValidationError("no case's name contains '\(filter)'") }
        let workplace = try Workplace(workplace)
        print("vm: seed \(seed)")
        let results = try runAll(wanted, workplace)
        ResultTable.show(
            results, total: Double(monotonicNanoseconds() - began) / 1e9, log: { workplace.log(of: $0) })
        let isFine = results.allSatisfy { if case .failed = $0.outcome { false } else { true } }
        if !isFine { throw ExitCode.failure }
    }

    private func isWanted(_ name: String) -> Bool {
        filter.isEmpty || filter.split(separator: ",").contains { name.contains($0) }
    }

    private func runAll(_ wanted: [(Boot, [Case])], _ workplace: Workplace) throws -> [CaseResult] {
        let images: Images
        do {
            if let reason = Images.unavailableReason { throw TestSupportError(reason) }
            images = try Images(
                sources: "\(Binaries.packageDirectory)/Tests/VM", tree: tree, files: files, workplace: workplace)
        } catch {
            return wanted.flatMap { boot, cases in
                cases.map { CaseResult(name: $0.name, boot: boot.name, outcome: .skipped("\(error)")) }
            }
        }
        let queue = BootQueue(wanted)
        let seed = seed
        let threads = Threads<[CaseResult]>()
        for number in 0..<max(1, boots) {
            try threads.start("boots-\(number)") {
                var results: [CaseResult] = []
                while let (boot, cases) = queue.next() {
                    results += Self.run(boot, cases, seed: seed, images: images, workplace: workplace)
                }
                return results
            }
        }
        return try threads.join().flatMap { $0 }
    }

    private static func run(
        _ boot: Boot, _ cases: [Case], seed: UInt32, images: Images, workplace: Workplace
    ) -> [CaseResult] {
        var results: [CaseResult] = []
        for it in cases {
            guard let reason = it.skipped else { continue }
            results.append(CaseResult(name: it.name, boot: boot.name, outcome: .skipped(reason)))
        }
        let runnable = cases.filter { $0.skipped == nil }
        if runnable.isEmpty { return results }
        print("vm: booting \(boot.name) for \(runnable.count) \(runnable.count == 1 ? "case" : "cases")")
        fflush(nil)
        do {
            results += try BootRun(boot, cases: runnable, seed: seed, images: images, workplace: workplace).run()
        } catch {
            results += runnable.map { CaseResult(name: $0.name, boot: boot.name, outcome: .failed("\(error)")) }
        }
        return results
    }
}

/// The boots that no thread has taken yet, in order.
private final class BootQueue: Sendable {
    private let boots: Mutex<[(Boot, [Case])]>

    init(_ boots: [(Boot, [Case])]) { self.boots = Mutex(boots) }

    func next() -> (Boot, [Case])? {
        boots.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
}
