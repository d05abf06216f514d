import Glibc
import SystemSupport
import TestSupport

/// Runs the cases of one boot, from switching the machine on to switching it off.
final class BootRun {
    private let boot: Boot
    private let images: Images
    private let workplace: Workplace
    private let directory: String
    private let console: LogFile
    private let seed: UInt32
    private let link: Link?
    private let companion: CompanionMachine?
    private var waiting: [Case]
    private var current: Running?
    private var results: [CaseResult] = []
    private var alarm: String?

    /// A case that has begun.
    private struct Running {
        var it: Case
        var log: LogFile
        var began: UInt64
        /// The number of times that the plug has been pulled during the case.
        var stage = 0
    }

    /// - Parameters:
    ///   - cases: The boot's cases that are to run.
    ///   - seed: The seed of the random numbers of the cases.
    init(_ boot: Boot, cases: [Case], seed: UInt32, images: Images, workplace: Workplace) throws {
        self.boot = boot
        self.seed = seed
        self.images = images
        self.workplace = workplace
        waiting = cases
        directory = try workplace.makeMachineDirectory(boot.name)
        console = try LogFile(workplace.consoleLog(of: boot.name))
        guard let companion = boot.companion else {
            (link, self.companion) = (nil, nil)
            return
        }
        let link = try Link()
        self.link = link
        self.companion = try CompanionMachine(
            companion, of: boot, seed: seed, link: link, images: images, directory: directory,
            console: workplace.consoleLog(of: "\(boot.name).companion"))
    }

    deinit { TemporaryDirectory.remove(directory) }

    func run() throws -> [CaseResult] {
        var canRestart = true
        while current != nil || !waiting.isEmpty {
            let end = try runOneMachine()
            switch end {
            case .plugPulled: continue
            // QEMU's emulation of CXL hangs now and then, before the kernel has a process.
            case .notStarted where canRestart:
                canRestart = false
                print("vm: \(boot.name) did not start in \(boot.startLimit) s: switched on once more")
                fflush(nil)
                continue
            default: break
            }
            failTheRest(end)
            break
        }
        if let alarm = try alarm ?? companion?.alarm() {
            // The alarm cannot be assigned to a case: console and report are not synchronised.
            for index in results.indices {
                results[index].outcome = .failed("the guest's kernel says: \(alarm)")
            }
        }
        return results
    }

    private enum End {
        case done
        case plugPulled
        /// No report has come from the machine.
        case notStarted
        case failed(String)
    }

    private func runOneMachine() throws -> End {
        let stage = current?.stage ?? 0
        try console.write("== \(boot.name): switched on, stage \(stage)")
        let guest = try Guest(
            boot, cases: (current.map { [$0.it] } ?? []) + waiting, stage: stage, seed: seed, link: link,
            images: images, directory: directory)
        var deadline = Deadline.after(milliseconds: UInt64(boot.startLimit) * 1000)
        var phase: String?
        var plug: Deadline?
        while true {
            guard let event = try guest.next(until: plug ?? deadline) else {
                if plug != nil {
                    try guest.pullPlug()
                    current?.stage += 1
                    return .plugPulled
                }
                return phase.map { .failed($0) } ?? .notStarted
            }
            switch event {
            case .console(let line):
                try console.write(line)
                try current?.log.write("[console] \(line)")
                if alarm == nil, ConsoleLog.isAlarming(line) { alarm = line }
            case .report(.ready), .report(.done):
                phase = "it hung between cases"
                deadline = .after(milliseconds: 600_000)
                if case .report(.done) = event { return current == nil ? .done : .failed("a case did not end") }
            case .report(.begin(let name)):
                try begin(name)
                let limit = current?.it.limit ?? 0
                // The guest itself ends a case that takes too long.
                deadline = .after(milliseconds: UInt64(limit + 120) * 1000)
                phase = "it hung in a case of at most \(limit) s"
            case .report(.output(let line)): try current?.log.write(line)
            case .report(.end(_, let status)):
                end(status)
                deadline = .after(milliseconds: 600_000)
                phase = "it hung between cases"
            case .report(.pullPlug(let milliseconds)): plug = .after(milliseconds: UInt64(max(milliseconds, 0)))
            case .report(.monitor(let command)):
                try console.write("[monitor] < \(command)")
                try guest.command(command)
            case .ended: return .failed("the machine went off: \(guest.complaints.split(separator: "\n").last ?? "")")
            }
        }
    }

    private func begin(_ name: String) throws {
        if current?.it.name == name {
            try current?.log.write("== again, after the plug was pulled")
            return
        }
        guard waiting.first?.name == name else { return }
        let log = try LogFile(workplace.log(of: name))
        current = Running(it: waiting.removeFirst(), log: log, began: monotonicNanoseconds())
    }

    private func end(_ status: Int) {
        guard let running = current else { return }
        current = nil
        let outcome: CaseResult.Outcome =
            switch status {
            case 0: .passed
            case 77: .skipped(LogFile.lastLines(1, of: running.log.path).first ?? "")
            case 124, 137: .failed("not over after \(running.it.limit) s")
            default: .failed("exit status \(status): \(LogFile.lastLines(1, of: running.log.path).first ?? "")")
            }
        add(running, outcome)
    }

    private func add(_ running: Running, _ outcome: CaseResult.Outcome) {
        let seconds = Double(monotonicNanoseconds() - running.began) / 1e9
        let result = CaseResult(name: running.it.name, boot: boot.name, outcome: outcome, seconds: seconds)
        results.append(result)
        ResultTable.announce(result)
    }

    private func failTheRest(_ end: End) {
        let reason: String
        switch end {
        case .failed(let why): reason = why
        case .notStarted: reason = "it did not start in \(boot.startLimit) s, twice"
        case .done, .plugPulled: return
        }
        if let running = current { add(running, .failed(reason)) }
        current = nil
        for it in waiting {
            results.append(CaseResult(name: it.name, boot: boot.name, outcome: .failed("not run: \(reason)")))
        }
        waiting = []
    }
}
