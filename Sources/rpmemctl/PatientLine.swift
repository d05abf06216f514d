import RpmemInitiator
import RpmemProtocol

extension RemoteCommand {
    /// The next line of a command that may turn out to be a session: with an older daemon, or behind a forced command. A session
    /// waits for a request, so its input is closed.
    ///
    /// - Parameters:
    ///   - limit: The time that `deadline` is the end of, for messages.
    ///   - place: For messages.
    func readLine(
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
