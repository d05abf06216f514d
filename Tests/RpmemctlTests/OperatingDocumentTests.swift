import Glibc
import SystemSupport
import TestSupport
import Testing

/// The commands of docs/operating.md, in their order, on a target as the text tells of it. Comments in the text, which readers do
/// not see, say what happens between the commands.
@Suite(
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct OperatingDocumentTests {
    private enum Step: Equatable {
        case command(String)
        case event(String)
    }

    private func steps() throws -> [Step] {
        let path = "\(Binaries.packageDirectory)/docs/operating.md"
        let text = String(decoding: try readFile(Descriptor.open(path, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            if line.hasPrefix("    $ ") { return .command(String(line.dropFirst(6))) }
            guard line.hasPrefix("<!-- test: "), line.hasSuffix(" -->") else { return nil }
            return .event(String(line.dropFirst(11).dropLast(4)))
        }
    }

    @Test func everyCommandDoesWhatTheTextSays() throws {
        let target = try OperatedTarget()
        try target.makePool("orders.set")
        try target.addSet("test.set", "8M @/test")
        try target.addSet("new.set", "20M @/new0", "20M @/new1")
        var session: ChildProcess?
        var pair: ReplicaPair?
        var status: Int32 = 0
        var outputs: [String] = []
        let steps = try steps()
        #expect(steps.count { if case .command = $0 { true } else { false } } >= 14)
        for step in steps {
            switch step {
            case .event("hold orders.set"): session = try target.hold("orders.set")
            case .event("kill"):
                let daemon = try #require(outputs.last?.firstMatch(of: /in use by +process (\d+)/)).1
                kill(pid_t(daemon) ?? 0, SIGKILL)
                session?.signal(SIGKILL)
                _ = try session?.wait()
                // The kernel gives the lock back once the daemon has ended.
                let deadline = Deadline.after(milliseconds: 60_000)
                while try target.check("orders.set").0.pool.state == .inUse, !deadline.hasPassed {}
            case .event("damage"): try target.damage("orders1", at: 4090)
            case .event("status 2"): status = 2
            case .event("replica a.set"):
                pair = try ReplicaPair(target)
                try pair?.put([1, 2, 3], at: 1 << 20)
            case .event("no replica"):
                for file in ["\(target.sets)/a.set", "\(target.parts)/a0", "\(target.parts)/a1"] { unlink(file) }
            case .event(let other): Issue.record("unknown event \(other)")
            case .command(let line):
                var line = line.replacing("user@target", with: target.address)
                if let pair { line = line.replacing("local.set", with: pair.localSet) }
                let outcome = try target.shell(line)
                #expect(outcome.ending == .exited(status), "\(line): \(outcome)")
                status = 0
                outputs.append(outcome.output)
            }
        }
        let all = outputs.joined()
        for text in [
            "in use", "[no-pool]", "[dirty]", "[header-checksum]", "repaired:", "Removed.", "total", "different:",
            "the same:",
        ] {
            #expect(all.contains(text), "\(text)")
        }
        #expect(!all.contains("look at orders.set"))
        #expect(TemporaryDirectory.entries(of: target.sets) == ["new.set", "test.set"])
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }
}
