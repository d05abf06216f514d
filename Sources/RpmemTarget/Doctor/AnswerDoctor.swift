import DoctorChecks
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports

/// `rpmemd --doctor [SET]`: listens for lanes without a pool while the other end tries them, then prints the checks of this
/// machine. Standard output gets one document a line: a ``DoctorGreeting``, a ``DoctorOffer``, a ``DoctorClock`` for each line `clock` of standard
/// input, and ``DoctorFindings`` when standard input ends. Nothing is locked or changed, and the log gets no line.
///
/// - Returns: The exit status: 0 when all was printed, whatever it says; otherwise an errno.
func answerDoctor(_ set: String?, _ overrides: CommandLineOverrides) -> Int32 {
    ProviderEnvironment.prepareTarget()
    let environment = SessionEnvironment.current(input: STDIN_FILENO)
    do throws(SystemCallError) {
        var consultation = DoctorConsultation()
        try write(DoctorGreeting(rpmemd: projectVersion))
        let wanted = try consultation.readWanted()
        let settings = try? Settings.load(overrides)
        let listeners = settings.map { TrialListener.all($0, environment, first: wanted) } ?? []
        try write(
            DoctorOffer(
                listeners: listeners.map(\.report), requiresSecret: settings?.inBandSecret.value == .require))
        try consultation.run(listeners)
        let refusals = listeners.compactMap { consultation.refusals[$0.report.provider] ?? $0.dropped }
        var checks =
            settings.map { TargetChecks(settings: $0, set: set).run() } ?? TargetChecks.withoutSettings(overrides)
        // The other end takes no line of more than 64 KiB.
        for index in checks.indices {
            checks[index].found = clipped(checks[index].found, limit: 1000)
            checks[index].remedy = checks[index].remedy.map { clipped($0, limit: 1000) }
        }
        try write(DoctorFindings(checks: checks, refusals: refusals))
        return 0
    } catch {
        StandardError().write(reason: "--\(CommandOption.doctor.name): \(error)")
        return error.errno.rawValue
    }
}

private func write(_ document: some Report) throws(SystemCallError) {
    try printOut(jsonText(document) + "\n")
}

/// What the other end writes to standard input, and what happens until that ends: lanes are accepted, and the clock is told.
private struct DoctorConsultation {
    private var input: [UInt8] = []
    private var hasEnded = false
    private let deadline = Deadline.after(milliseconds: Self.milliseconds)
    /// The last lane of each provider that was refused, by the provider's name.
    private(set) var refusals: [String: DoctorRefusal] = [:]

    /// A peer that goes away without a word keeps nothing open for longer.
    private static let milliseconds: UInt64 = 180_000
    /// Bytes that were not acted on. More are none of rpmemctl's.
    private static let longestInput = 1024

    /// The providers in the first line, `listen PROVIDER...`; none when standard input ends before.
    mutating func readWanted() throws(SystemCallError) -> [Provider] {
        while true {
            if let line = nextLine() {
                return line.split(separator: " ").dropFirst().compactMap { name in
                    Provider.allCases.first { $0.name == name }
                }
            }
            guard !hasEnded, try PollSet.wait(for: STDIN_FILENO, until: deadline) else { return [] }
            try readInput()
        }
    }

    /// Returns when standard input has ended.
    mutating func run(_ listeners: [TrialListener]) throws(SystemCallError) {
        var pause = RefusedWait()
        while !hasEnded, !deadline.hasPassed {
            while let line = nextLine() {
                if line == "clock" { try write(DoctorClock(realtime: realtimeNanoseconds())) }
            }
            for listener in listeners {
                if let refusal = listener.serve() { refusals[refusal.provider] = refusal }
            }
            var set = PollSet()
            let standardInput = set.add(STDIN_FILENO)
            let ready = listeners.filter(\.isWorthWaiting)
            for listener in ready { set.add(listener.eventDescriptor) }
            let end = pause.next(isWorthWaiting: ready.count == listeners.count)
            try set.wait(until: end.map { min($0, deadline) } ?? deadline)
            if set.isReady(standardInput) { try readInput() }
        }
    }

    private mutating func nextLine() -> String? {
        guard let end = input.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        defer { input.removeFirst(end + 1) }
        return String(decoding: input[..<end], as: UTF8.self)
    }

    private mutating func readInput() throws(SystemCallError) {
        var chunk = [UInt8](repeating: 0, count: 256)
        let count = try retryingInterrupts("read", on: "standard input") { read(STDIN_FILENO, &chunk, chunk.count) }
        input += chunk[..<count]
        hasEnded = count == 0 || input.count > Self.longestInput
    }
}
