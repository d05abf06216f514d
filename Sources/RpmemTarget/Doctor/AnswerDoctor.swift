import DoctorChecks
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports

/// `rpmemd --doctor [SET]`: listens for lanes without a pool while the other end tries them, then prints the checks of this
/// machine. Standard output gets one document a line: a ``DoctorOffer``, a ``DoctorClock`` for each line `clock` of standard
/// input, and ``DoctorFindings`` when standard input ends. Nothing is locked or changed, and the log gets no line.
///
/// - Returns: The exit status: 0 when all was printed, whatever it says; otherwise an errno.
func answerDoctor(_ set: String?, _ overrides: CommandLineOverrides) -> Int32 {
    ProviderEnvironment.prepareTarget()
    let environment = SessionEnvironment.current(input: STDIN_FILENO)
    do throws(SystemCallError) {
        guard let settings = try? Settings.load(overrides) else {
            try write(DoctorOffer(rpmemd: projectVersion, listeners: []))
            var consultation = DoctorConsultation(listeners: [])
            try consultation.run()
            try write(DoctorFindings(checks: TargetChecks.withoutSettings(overrides), refusal: nil))
            return 0
        }
        let listeners = Provider.allCases.map { TrialListener($0, settings, environment) }
        try write(DoctorOffer(rpmemd: projectVersion, listeners: listeners.map(\.report)))
        var consultation = DoctorConsultation(listeners: listeners)
        try consultation.run()
        let refusal = consultation.refusal ?? listeners.lazy.compactMap(\.droppedText).first
        let checks = TargetChecks(settings: settings, set: set).run()
        try write(DoctorFindings(checks: checks, refusal: refusal))
        return 0
    } catch {
        StandardError().write(reason: "--\(CommandOption.doctor.name): \(error)")
        return error.errno.rawValue
    }
}

private func write(_ document: some Report) throws(SystemCallError) {
    try writeAll(Array((jsonText(document) + "\n").utf8), to: STDOUT_FILENO)
}

/// The time between the offer and the end of standard input: lanes are accepted, and the clock is told.
private struct DoctorConsultation {
    private let listeners: [TrialListener]
    private var input: [UInt8] = []
    /// Why a lane was refused; nil when none was.
    private(set) var refusal: String?

    /// A peer that goes away without a word keeps nothing open for longer.
    private static let milliseconds: UInt64 = 180_000
    /// Bytes of a line. A longer one is none of rpmemctl's.
    private static let longestLine = 64

    init(listeners: [TrialListener]) { self.listeners = listeners }

    mutating func run() throws(SystemCallError) {
        let deadline = Deadline.after(milliseconds: Self.milliseconds)
        var pause = RefusedWait()
        while !deadline.hasPassed {
            for listener in listeners { refusal = listener.serve() ?? refusal }
            var set = PollSet()
            let standardInput = set.add(STDIN_FILENO)
            let ready = listeners.filter(\.isWorthWaiting)
            for listener in ready { set.add(listener.eventDescriptor) }
            let end = pause.next(isWorthWaiting: ready.count == listeners.count)
            try set.wait(until: end.map { min($0, deadline) } ?? deadline)
            if set.isReady(standardInput), try !readInput() { return }
        }
    }

    /// - Returns: Whether there may be more.
    private mutating func readInput() throws(SystemCallError) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 256)
        let count = try retryingInterrupts("read", on: "standard input") { read(STDIN_FILENO, &chunk, chunk.count) }
        if count == 0 { return false }
        input += chunk[..<count]
        while let end = input.firstIndex(of: UInt8(ascii: "\n")) {
            let isClock = input[..<end].elementsEqual("clock".utf8)
            input.removeFirst(end + 1)
            if isClock { try write(DoctorClock(realtime: Self.now())) }
        }
        return input.count <= Self.longestLine
    }

    private static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}
