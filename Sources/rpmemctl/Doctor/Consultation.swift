import DoctorChecks
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TargetReports

/// A run of `rpmemd --doctor` on the target, through ssh as sessions go: its greeting, its offer, its clock, its findings.
struct Consultation {
    /// What the run says of ssh, the login and the daemon; complete after ``finish()``.
    private(set) var diagnosis: LoginDiagnosis
    private let target: TargetAddress
    private let options: InitiatorOptions
    private let arguments: [String]
    private let forceIPv4: Bool
    /// The providers to listen for, the first one for certain.
    private let providers: [String]
    private var remote: RemoteCommand?
    /// Why ``finish()`` has no findings; nil when it has, and when there was no greeting.
    private(set) var problem: String?

    init(_ target: TargetAddress, poolSet: String?, _ options: InitiatorOptions, providers: [String], laneHost: String?)
    {
        self.target = target
        self.providers = providers
        self.options = options
        forceIPv4 =
            providers.first == Provider.sockets.name
            && ProviderChoice.forcesIPv4(.sockets, host: laneHost ?? target.host)
        arguments = [poolSet.map { "--doctor=\($0)" } ?? "--doctor"]
        let host = target.user.map { "\($0)@\(target.host)" } ?? target.host
        diagnosis = LoginDiagnosis(
            target: "\(target)", sshArguments: (target.port.map { "-p \($0) " } ?? "") + shellQuoted(host),
            knownHostsName: target.port.map { "[\(target.host)]:\($0)" } ?? target.host,
            command: options.commands.next())
    }

    /// Starts the command, and reads its offer.
    ///
    /// - Returns: nil when there is none: ``diagnosis`` says why.
    mutating func begin() -> DoctorOffer? {
        do throws(InitiatorError) {
            let remote = try RemoteCommand(
                diagnosis.command, arguments, on: target, forceIPv4: forceIPv4, options: options)
            self.remote = remote
            guard let greeting = try readGreeting(remote) else {
                if diagnosis.unreadableAnswer == nil {
                    diagnosis.obstacle =
                        "no answer of rpmemd is among the first \(RemoteCommand.mostNoiseLines) lines of the target's command"
                }
                remote.end()
                self.remote = nil
                return nil
            }
            diagnosis.version = greeting.rpmemd
            try remote.send(
                line: (["listen"] + providers).joined(separator: " "), within: options.operationTimeout)
            let line = try remote.readLine(within: options.connectTimeout)
            return decode(line, as: DoctorOffer.self)
        } catch {
            if diagnosis.version != nil { problem = problem ?? Self.problem(error, "what it offers") }
            diagnosis.noise += remote?.unread ?? []
            switch error {
            case .sessionEnded(_, _, let ending):
                if case .status(let status)? = ending.exit { diagnosis.status = status }
                diagnosis.lines = ending.targetLines
                diagnosis.unusableLibrary = ending.unusableLibrary
            case .timedOut(_, let timeout):
                diagnosis.obstacle = "no answer within \(timeout.components.seconds) seconds"
            default: diagnosis.obstacle = "\(error)"
            }
            remote?.end()
            remote = nil
            return nil
        }
    }

    /// A login shell may print lines of its own before the document, and the start of its line.
    private mutating func readGreeting(_ remote: RemoteCommand) throws(InitiatorError) -> DoctorGreeting? {
        guard
            let document = try remote.readDocument(
                &diagnosis.noise, within: options.connectTimeout, "\(target)")
        else { return nil }
        do { return try TargetQuery.decode(document, as: DoctorGreeting.self, of: "\(target)") } catch {
            diagnosis.unreadableAnswer = "\(error)"
            return nil
        }
    }

    /// How far the target's clock is ahead, by the shortest of a few round trips.
    func compareClocks() -> (offset: Int64, uncertainty: Int64)? {
        guard let remote else { return nil }
        var best: (offset: Int64, uncertainty: Int64)?
        for _ in 0..<4 {
            let start = realtimeNanoseconds()
            guard (try? remote.send(line: "clock", within: options.operationTimeout)) != nil,
                let line = try? remote.readLine(within: options.operationTimeout),
                let clock = try? TargetQuery.decode(line, as: DoctorClock.self, of: "\(target)")
            else { return best }
            if let found = FabricChecks.compare(clock: clock.realtime, sent: start, received: realtimeNanoseconds()),
                found.uncertainty < best?.uncertainty ?? .max
            {
                best = found
            }
        }
        return best
    }

    /// Reads what the target found, and ends the command.
    mutating func finish() -> DoctorFindings? {
        guard let remote else { return nil }
        defer { remote.end() }
        remote.closeInput()
        do throws(InitiatorError) {
            return decode(try remote.readLine(within: options.openTimeout), as: DoctorFindings.self)
        } catch {
            problem = problem ?? Self.problem(error, "what it found")
            return nil
        }
    }

    /// A document behind the greeting. Where it cannot be read, ``problem`` says why.
    private mutating func decode<Answer: Report>(_ line: String, as: Answer.Type) -> Answer? {
        do { return try TargetQuery.decode(line, as: Answer.self, of: "\(target)") } catch {
            problem = problem ?? "\(error)"
            return nil
        }
    }

    private static func problem(_ error: InitiatorError, _ subject: String) -> String {
        switch error {
        case .sessionEnded(_, _, let ending):
            "rpmemd ended before it told \(subject)"
                + (ending.targetLines.isEmpty ? "" : ": \(ending.targetLines.joined(separator: " / "))")
        case .timedOut(_, let timeout):
            "rpmemd did not tell \(subject) within \(timeout.components.seconds) s"
        default: "rpmemd did not tell \(subject): \(error)"
        }
    }
}
