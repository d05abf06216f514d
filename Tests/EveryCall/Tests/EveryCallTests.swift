import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// On the way of a whole session, each call to the system, to libpmem and to libfabric fails once: in the daemon, and in the
/// initiator. `make test-every-call` tries all of them. `make test` tries a sample of them.
@Suite(.serialized) struct EveryCallTests {
    /// The providers with which all calls are tried, instead of a sample of them with tcp.
    private static let wholeProviders = getenv("RPMEM_EVERY_CALL").map { String(cString: $0).split(separator: ",") }
    private static let triesAll = wholeProviders != nil
    /// Of a function that is called more often, as many calls are tried, from the first to the last: `fi_cq_read` polls.
    private static let mostOfOneFunction = 400
    /// Only functions with this in their name; all when nil.
    private static let filter = getenv("RPMEM_EVERY_CALL_FILTER").map { String(cString: $0) }
    /// Only this program; both when nil.
    private static let onlyProgram = getenv("RPMEM_EVERY_CALL_PROGRAM").map { String(cString: $0) }

    @Test(arguments: [Provider.sockets, .tcp], Program.allCases)
    func theSessionFailsWithAReasonOrGoesOn(provider: Provider, program: Program) throws {
        try #require(FailingCalls.library != nil, "failing-calls.c cannot be compiled")
        if !(Self.wholeProviders ?? ["tcp"]).contains(where: { $0 == provider.name }) { return }
        if let only = Self.onlyProgram, only != program.rawValue { return }
        let scenario = try Scenario(provider)
        let whole = try scenario.run(nil, of: program)
        #expect(whole.isSuccess && whole.complaints.isEmpty, "\(whole) \(scenario.log)")
        try #require(whole.isSuccess)
        let descriptors = whole.said("descriptors").first
        let calls = Self.calls(whole.counts)
        print("every call: \(program.rawValue), \(provider.name): \(whole.counts), of which \(calls.count) are tried")
        let tally = Tally(calls)
        // Most of a run is waiting.
        let workers = try (0..<(Self.triesAll ? 16 : 6)).map { number in
            try NamedThread(name: "every-call-\(number)") {
                while let call = tally.next() {
                    do {
                        let verdict = try Verdict(call, of: program, over: provider, descriptors: descriptors)
                        let count = tally.add(verdict)
                        if !verdict.complaints.isEmpty { print(verdict) }
                        if count % 100 == 0 { print("every call: \(count) of \(calls.count) done") }
                        fflush(nil)
                    } catch {
                        Issue.record("\(call): \(error)")
                    }
                }
            }
        }
        for worker in workers { worker.join() }
        for verdict in tally.verdicts where !verdict.complaints.isEmpty { Issue.record("\(verdict)") }
        print(tally.text(provider, program))
    }

    // What the sweep has found.

    /// An address literal once needed getaddrinfo, and the session trapped without it.
    @Test func anAddressOfTheProgramItselfNeedsNoMemory() throws {
        let scenario = try Scenario(.tcp)
        let result = try scenario.run(Call(name: "getaddrinfo", number: 1), of: .daemon)
        #expect(result.daemons.allSatisfy { $0 < 128 } && result.complaints.isEmpty, "\(result)")
    }

    /// It was once repeated a hundred times, and then reported as the lock of another session.
    @Test func aLockThatTheKernelCannotGiveIsAnErrorOfItsOwn() throws {
        let scenario = try Scenario(.tcp)
        let result = try scenario.run(Call(name: "flock", number: 1), of: .daemon)
        #expect(result.isHit && result.said("failed create").first?.contains("flock") == true, "\(result)")
        #expect(try scenario.recover().complaints.isEmpty)
    }

    /// Nobody was told that the kernel would not notice a dead machine.
    @Test func aListenerThatIsNotFoundIsToldOf() throws {
        var logs: [String] = []
        // The daemon looks through its descriptors for other reasons as well.
        for number in 1...4 {
            let scenario = try Scenario(.tcp)
            let result = try scenario.run(Call(name: "opendir", number: number), of: .daemon)
            #expect(result.isHit && result.isSuccess, "\(result)")
            logs.append(scenario.log)
        }
        #expect(logs.contains { $0.contains("warn: peer-timeout: ") }, "\(logs)")
    }

    /// CLOSE once took a file system of unknown type for one that reports a failed write-back, which overlayfs does not.
    @Test func aFileSystemOfUnknownTypeIsNotTakenForAnother() throws {
        let whole = try Scenario(.tcp).run(nil, of: .daemon)
        let count = try #require(whole.counts["fstatfs"])
        // Those of the last CLOSE.
        for number in max(1, count - 5)...count {
            let scenario = try Scenario(.tcp)
            let result = try scenario.run(Call(name: "fstatfs", number: number), of: .daemon)
            #expect(!result.isHit || !result.isSuccess, "fstatfs:\(number) of \(count): \(result)")
        }
    }

    /// Without the descriptor a worker once slept through the errors of the sockets provider.
    @Test func aQueueWithoutADescriptorEndsTheSession() throws {
        let scenario = try Scenario(.sockets)
        // The first is that of the event queue.
        let result = try scenario.run(Call(name: "fi_control", number: 2), of: .daemon)
        #expect(result.isHit && !result.said("failed create").isEmpty && result.complaints.isEmpty, "\(result)")
        #expect(scenario.log.contains("fi_control"), "\(scenario.log)")
        #expect(try scenario.recover().complaints.isEmpty)
    }

    /// Without memory for the list of its descriptors, ssh once started with those of the initiator.
    @Test(arguments: ["init", "adddup2", "addclosefrom_np"])
    func sshIsNotStartedWithDescriptorsOfThisProcess(_ action: String) throws {
        let scenario = try Scenario(.tcp)
        let call = Call(name: "posix_spawn_file_actions_\(action)", number: 1)
        let result = try scenario.run(call, of: .initiator)
        #expect(result.isHit && result.said("failed create").first?.contains("posix_spawn") == true, "\(result)")
        #expect(result.complaints.isEmpty, "\(result)")
    }

    /// A pool set file that could not be looked at was once left out of the list, which said nothing of it.
    @Test func aListThatMissesAPoolSaysSo() throws {
        let scenario = try Scenario(.tcp)
        let whole = try scenario.list(nil)
        #expect(whole.ending == .exited(0) && whole.text.contains("pool.set"), "\(whole)")
        var tried = 0
        for name in ["readdir", "fdopendir", "openat2", "openat", "open", "fstatat", "fstat", "pread"] {
            for number in 1...max(1, whole.counts[name] ?? 0) {
                let answer = try scenario.list(Call(name: name, number: number))
                let tells = answer.text.contains("\"truncated\":true")
                #expect(
                    answer.ending != .exited(0) || answer.text.contains("pool.set") || tells,
                    "\(name):\(number): \(answer)")
                tried += 1
            }
        }
        print("every call: rpmemd --list: \(tried) calls failed")
    }

    /// The calls to try: up to 400 of each function, or in a sample the first one of each, which is the same in every run.
    private static func calls(_ counts: [String: Int]) -> [Call] {
        var calls: [Call] = []
        for (name, count) in counts.sorted(by: { $0.key < $1.key }) where filter.map({ name.contains($0) }) ?? true {
            let tried = min(count, mostOfOneFunction)
            for index in 0..<tried { calls.append(Call(name: name, number: 1 + index * count / tried)) }
        }
        // First what was not tried before.
        calls.sort { ($0.number, $0.name) < ($1.number, $1.name) }
        if triesAll { return calls }
        return calls.filter { $0.number == 1 }
    }
}

/// What became of a session in which one call failed.
struct Verdict: CustomStringConvertible {
    let call: Call
    let program: Program
    let isHit: Bool
    /// Whether the session went on as if nothing had happened.
    let isTolerated: Bool
    var complaints: [String]
    private let details: String

    init(_ call: Call, of program: Program, over provider: Provider, descriptors: String?) throws {
        self.call = call
        self.program = program
        let scenario = try Scenario(provider)
        let result = try scenario.run(call, of: program)
        isHit = result.isHit
        isTolerated = result.isSuccess
        complaints = result.complaints
        // OPEN counts a failure of its look for earlier write-back errors as such an error, and does what one asks for.
        let isTakenForEarlierError =
            ["fstatfs", "sync_file_range"].contains(call.name) && scenario.log.contains("reads the medium's contents")
        if isHit, isTolerated, !isTakenForEarlierError, Tolerated.reason(call, program) == nil {
            complaints.append("the failure is ignored")
        }
        if result.isSuccess, let descriptors, result.said("descriptors").first != descriptors {
            complaints.append("\(result.said("descriptors")) are left, not \(descriptors)")
        }
        let isMarkedOpen = scenario.isMarkedOpen
        // An OPEN that is refused has promised nothing, and leaves the mark as it was.
        let isOpenRefused = !result.said("failed open").isEmpty
        if isHit, !isTolerated, !isOpenRefused, program == .daemon, call.isDurability, isMarkedOpen == false {
            complaints.append("a write that may be lost, and the pool is marked as cleanly closed")
        }
        let log = scenario.log
        let recovery = try scenario.recover()
        complaints += recovery.complaints
        details =
            complaints.isEmpty
            ? "" : (result.lines + recovery.lines + [log, scenario.report]).joined(separator: "\n    ")
    }

    var description: String { "\(program.rawValue) \(call): \(complaints.joined(separator: "; "))\n    \(details)" }
}

/// Hands out calls, and counts verdicts; threads share it.
private final class Tally: Sendable {
    private let rest: Mutex<ArraySlice<Call>>
    private let all = Mutex<[Verdict]>([])

    init(_ calls: [Call]) { rest = Mutex(calls[...]) }

    func next() -> Call? { rest.withLock { $0.popFirst() } }

    var verdicts: [Verdict] { all.withLock { $0 } }

    /// - Returns: How many there are.
    func add(_ verdict: Verdict) -> Int {
        all.withLock { verdicts in
            verdicts.append(verdict)
            return verdicts.count
        }
    }

    /// For `docs/proofs.md`: calls that failed, by library.
    func text(_ provider: Provider, _ program: Program) -> String {
        let failed = verdicts.filter(\.isHit)
        let fabric = failed.count { $0.call.name.hasPrefix("fi_") }
        let memory = failed.count { verdict in ["pmem", "ndctl", "daxctl"].contains { verdict.call.name.hasPrefix($0) }
        }
        let tolerated = Dictionary(grouping: failed.filter(\.isTolerated), by: \.call.name).mapValues(\.count)
            .sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return """
            every call: \(program.rawValue), \(provider.name): \(failed.count) calls failed
                libfabric: \(fabric)
                libpmem and its relatives: \(memory)
                the system: \(failed.count - fabric - memory)
                tolerated: \(failed.count { $0.isTolerated }): \(tolerated)
                not reached: \(verdicts.count - failed.count)
            """
    }
}
