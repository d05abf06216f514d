import Testing

@testable import RpmemInitiator

@Suite(.timeLimit(.minutes(2))) struct RemoteCommandTests {
    /// Writing finds the command gone before reading does. The reason is how it ended, not the broken pipe.
    @Test func aCommandThatIsGoneTellsHowItEnded() throws {
        let command = try RemoteCommand(
            onThisMachine: "echo first; echo why >&2; exec <&-; echo second; exit 3 #", [], options: InitiatorOptions())
        let timeout = Duration.seconds(60)
        #expect(try command.readLine(within: timeout) == "first")
        // The command's end of its standard input is closed from here on.
        #expect(try command.readLine(within: timeout) == "second")
        try command.send(line: "listen", within: timeout)
        do throws(InitiatorError) {
            _ = try command.readLine(within: timeout)
            Issue.record("a line of a command that has ended")
        } catch {
            guard case .sessionEnded(_, _, let ending) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(ending.exit == .status(3) && ending.targetLines == ["why"])
        }
    }
}
