import RpmemInitiator
import RpmemProtocol

extension RemoteCommand {
    /// Lines before a document that a login shell may print.
    static let mostNoiseLines = 200

    /// The first document that the command prints. A login shell may print lines of its own before it, and the start of its line.
    ///
    /// - Parameters:
    ///   - noise: Gets what was printed before.
    ///   - timeout: For all lines together.
    ///   - place: For messages.
    /// - Returns: nil when none is among the first lines.
    func readDocument(
        _ noise: inout [UInt8], within timeout: Duration, _ place: String
    ) throws(InitiatorError) -> String? {
        let deadline = ContinuousClock.now + timeout
        for _ in 0..<Self.mostNoiseLines {
            let line = try readLine(until: deadline, limit: timeout, place)
            if let start = line.firstRange(of: "{\"version\"")?.lowerBound {
                noise += Array(line[..<start].utf8)
                return String(line[start...])
            }
            noise += Array("\(line)\n".utf8)
        }
        return nil
    }

    /// The next line of a command that may turn out to be a session: with an older daemon, or behind a forced command. A session
    /// waits for a request, so its input is closed.
    ///
    /// - Parameters:
    ///   - limit: The time that `deadline` is the end of, for messages.
    ///   - place: For messages.
    private func readLine(
        until deadline: ContinuousClock.Instant, limit: Duration, _ place: String
    ) throws(InitiatorError) -> String {
        while true {
            // In parts of a second: a session has to be seen.
            let part = min(.seconds(1), max(.zero, deadline - .now))
            do throws(InitiatorError) { return try readLine(within: part) } catch {
                guard case .timedOut = error else { throw error }
                if InitialStatus.ends(unread) { closeInput() }
                if .now >= deadline { throw .timedOut(waitingFor: "answer from \(place)", after: limit) }
            }
        }
    }
}
