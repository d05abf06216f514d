import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// On the way of `rpmemd --check SET --repair PLAN`, each call to the system fails once.
@Suite(.serialized) struct EveryRepairCallTests {
    private let directory = TemporaryDirectory("rpmem-every-repair")
    private static let name = "pool.set"
    private static let count = 4
    private var names: [String] { (0..<Self.count).map { directory.file("p\($0)") } }
    private var log: String { directory.file("log") }

    /// Header pages of all parts.
    private func pages() throws -> [[UInt8]] {
        try names.map { name in
            let file = try Descriptor.open(name, O_RDONLY)
            var page = [UInt8](repeating: 0, count: 4096)
            guard pread(file.number, &page, page.count, 0) == page.count else { throw SystemCallError.last("pread") }
            return page
        }
    }

    private func write(_ pages: [[UInt8]]) throws {
        for (name, page) in zip(names, pages) {
            let file = try Descriptor.open(name, O_WRONLY)
            guard pwrite(file.number, page, page.count, 0) == page.count else { throw SystemCallError.last("pwrite") }
        }
    }

    private struct Answer: CustomStringConvertible {
        var ending: ChildProcess.Ending?
        var output: String
        var errors: String
        var counts: [String: Int]
        var description: String { "\(String(describing: ending)): \(output) \(errors)" }

        var plan: String? { output.firstMatch(of: /"repairPlan":"([0-9a-f]+)"/).map { String($0.1) } }
    }

    private func check(repairing plan: String? = nil, failing call: Call? = nil) throws -> Answer {
        let counts = directory.file("counts")
        try FailingCalls.makeCounts(counts)
        var environment = [
            "PATH": "/usr/bin:/bin", "HOME": directory.path, "LD_PRELOAD": FailingCalls.library ?? "",
            "RPMEM_FAIL_PROGRAM": Program.daemon.rawValue, "RPMEM_FAIL_COUNTS": counts,
        ]
        if Sanitizer.isOn { environment["RPMEM_FAIL_SANITIZED"] = "1" }
        if let call { environment["RPMEM_FAIL_CALL"] = "\(call)" }
        let process = try ChildProcess(
            [Binaries.rpmemd, "--poolset-dir", directory.file("sets"), "--log-file", log, "--check", Self.name]
                + (plan.map { ["--repair", $0] } ?? []), environment: environment)
        let output = try process.receive(1 << 20, within: 60_000)
        return Answer(
            ending: try process.wait(within: 60_000), output: String(decoding: output, as: UTF8.self),
            errors: process.errorText, counts: try FailingCalls.counts(counts))
    }

    /// Either the pool is as before, or what was repaired is said. The next repair does the rest.
    @Test func thePoolIsAsBeforeOrWhatWasDoneIsSaid() throws {
        try #require(FailingCalls.library != nil, "failing-calls.c cannot be compiled")
        mkdir(directory.file("sets"), 0o755)
        let set = try Descriptor.open(directory.file("sets/\(Self.name)"), O_WRONLY | O_CREAT, mode: 0o644)
        try writeAll(Array(("PMEMPOOLSET\n" + names.map { "2M \($0)\n" }.joined()).utf8), to: set.number)
        try PoolStore(directory: directory.file("sets")).create(
            descriptor: PoolDescriptor(validating: Self.name),
            attributes: PoolAttributes(signature: SIMD8("REPAIRED".utf8), major: 1, incompatFeatures: 6),
            requestedSize: 0
        ).close()
        let whole = try pages()
        var damaged = whole
        for index in [1, 3] { damaged[index][4090] ^= 0x40 }
        try write(damaged)
        let plan = try #require(try check().plan)
        let count = try check(repairing: plan)
        let repaired = try pages()
        #expect(count.ending == .exited(0) && repaired == whole, "\(count)")
        // Two headers, each durably.
        #expect(count.counts["pwritev2"] == 2, "\(count.counts)")
        var tried = 0
        var refused = 0
        for (name, calls) in count.counts.sorted(by: { $0.key < $1.key }) {
            for number in 1...min(calls, 60) {
                try write(damaged)
                unlink(log)
                let call = Call(name: name, number: number)
                let answer = try check(repairing: plan, failing: call)
                tried += 1
                let now = try pages()
                switch answer.ending {
                case .exited(0): #expect(now == whole, "\(call): \(answer)")
                case .exited(let status) where status < 128 || status == 255:
                    refused += 1
                    #expect(!answer.errors.isEmpty, "\(call): \(answer)")
                    let isSaid = names.indices.allSatisfy { index in
                        now[index] == damaged[index]
                            || answer.errors.contains("repaired: \(names[index]): ") && now[index] == whole[index]
                    }
                    #expect(isSaid, "\(call): \(answer)")
                default: Issue.record("\(call): \(answer)")
                }
                if now == whole { continue }
                let next = try #require(try check().plan, "\(call): \(answer)")
                let last = try check(repairing: next)
                let rest = try pages()
                #expect(last.ending == .exited(0) && rest == whole, "\(call): \(answer), then \(last)")
            }
        }
        #expect(refused > 10)
        print("every call: rpmemd --repair: \(tried) calls failed, after \(refused) of them it was refused")
    }
}
