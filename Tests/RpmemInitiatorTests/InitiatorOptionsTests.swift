import RpmemProtocol
import Testing

@testable import RpmemInitiator

@Suite struct InitiatorOptionsTests {
    @Test func nothingSetMeansVerbsAndNoLimits() {
        let options = InitiatorOptions(environment: [:])
        #expect(options.providers == [.verbs])
        #expect(options.maximumLanes == .max)
        #expect(options.workQueueSize == 50)
        #expect(options.operationTimeout == .seconds(30))
        #expect(options.pollTime == .microseconds(50))
        #expect(options.ssh == "ssh")
        #expect(options.commands.next() == "rpmemd")
        #expect(options.warnings.isEmpty)
    }

    @Test(arguments: [
        (["RPMEM_ENABLE_SOCKETS": "1"], [Provider.verbs, .sockets]),
        (["RPMEM_ENABLE_VERBS": "0", "RPMEM_ENABLE_SOCKETS": "1"], [.sockets]),
        (["RPMEM_ENABLE_VERBS": "0"], []),
        (["RPMEM_ENABLE_TCP": "1"], [.verbs, .tcp]),
        (["RPMEM_ENABLE_SOCKETS": "2", "RPMEM_ENABLE_TCP": "1"], [.verbs, .tcp, .sockets]),
    ]) func providersAreEnabledOneByOne(_ environment: [String: String], providers: [Provider]) {
        #expect(InitiatorOptions(environment: environment).providers == providers)
    }

    @Test func numbersAreTaken() {
        let options = InitiatorOptions(
            environment: ["RPMEM_MAX_NLANES": "7", "RPMEM_WORK_QUEUE_SIZE": "128", "RPMEM_TIMEOUT": "60"])
        #expect(options.maximumLanes == 7)
        #expect(options.workQueueSize == 128)
        #expect(options.operationTimeout == .seconds(60))
        #expect(options.exitTimeout == .seconds(5))
    }

    @Test func whoWaitsLittleForAnswersWaitsLittleForTheEnd() {
        let options = InitiatorOptions(environment: ["RPMEM_TIMEOUT": "1"])
        #expect(options.operationTimeout == .seconds(1))
        #expect(options.exitTimeout == .seconds(1))
    }

    @Test(arguments: ["x", "0", "-1", "7 lanes", "99999999999999999999"])
    func numbersThatAreNoneAreIgnoredWithAWarning(_ text: String) {
        let options = InitiatorOptions(environment: ["RPMEM_MAX_NLANES": text])
        #expect(options.maximumLanes == .max)
        #expect(options.warnings == ["RPMEM_MAX_NLANES=\(text) is ignored: a positive number is needed"])
    }

    @Test(arguments: [0, 2000, 1_000_000]) func timeToPollIsTaken(_ microseconds: Int) {
        let options = InitiatorOptions(environment: ["RPMEM_POLL_TIME": "\(microseconds)"])
        #expect(options.pollTime == .microseconds(microseconds))
        #expect(options.warnings.isEmpty)
    }

    @Test(arguments: ["x", "-1", "1000001", "5 us"]) func timeToPollThatIsNoneIsIgnoredWithAWarning(_ text: String) {
        let options = InitiatorOptions(environment: ["RPMEM_POLL_TIME": text])
        #expect(options.pollTime == .microseconds(50))
        #expect(
            options.warnings == ["RPMEM_POLL_TIME=\(text) is ignored: a number of microseconds up to 1000000 is needed"]
        )
    }

    @Test func sessionsAreResumedForAsManySecondsAsAskedFor() {
        #expect(InitiatorOptions(environment: [:]).resumeTime == .zero)
        #expect(InitiatorOptions(environment: ["RPMEM_RESUME": "0"]).resumeTime == .zero)
        #expect(InitiatorOptions(environment: ["RPMEM_RESUME": "120"]).resumeTime == .seconds(120))
        let wrong = InitiatorOptions(environment: ["RPMEM_RESUME": "86401"])
        #expect(wrong.resumeTime == .zero)
        #expect(wrong.warnings == ["RPMEM_RESUME=86401 is ignored: a number of seconds up to 86400 is needed"])
    }

    @Test func flagsThatAreNoneEnableNothing() {
        let options = InitiatorOptions(environment: ["RPMEM_ENABLE_SOCKETS": "yes", "RPMEM_ENABLE_VERBS": ""])
        #expect(options.providers.isEmpty)
        #expect(options.warnings.count == 2)
    }

    @Test(arguments: ["yes", "", "2"]) func extensionsStayOnWithoutANumber(_ text: String) {
        let options = InitiatorOptions(environment: ["RPMEM_EXTENSIONS": text])
        #expect(options.offersExtensions)
        #expect(options.warnings == (text.isEmpty ? [] : ["RPMEM_EXTENSIONS=\(text) is ignored: 0 or 1 is needed"]))
    }

    /// Why no provider reaches a target.
    private func reason(_ host: String, _ environment: [String: String]) throws -> String {
        let options = InitiatorOptions(environment: environment)
        let target = try TargetAddress(host)
        let error = #expect(throws: InitiatorError.self) { _ = try ProviderChoice(for: target, options: options) }
        return error.map { "\($0)" } ?? ""
    }

    @Test func aProviderIsNamedThatAValueDisables() throws {
        let reason = try reason("127.0.0.1", ["RPMEM_ENABLE_TCP": "true", "RPMEM_ENABLE_VERBS": "off"])
        #expect(reason.contains("tcp: disabled by RPMEM_ENABLE_TCP=true, =1 enables it"), "\(reason)")
        #expect(reason.contains("verbs: disabled by RPMEM_ENABLE_VERBS=off, =1 enables it"), "\(reason)")
        #expect(reason.contains("sockets: not enabled, RPMEM_ENABLE_SOCKETS=1 does"), "\(reason)")
        #expect(!reason.contains("verbs: not enabled"), "\(reason)")
    }

    /// An alias of ssh_config(5) is none for another program than ssh.
    @Test func onlySSHIsAskedForAnAlias() throws {
        let name = "no-such-host.invalid"
        let asked = try reason(name, ["RPMEM_ENABLE_TCP": "1"])
        #expect(asked.hasSuffix("add it to /etc/hosts, or a HostName to ssh_config"), "\(asked)")
        let other = try reason(name, ["RPMEM_ENABLE_TCP": "1", "RPMEM_SSH": "/usr/bin/tunnel"])
        #expect(other.contains("add it to /etc/hosts. Only a program named ssh is asked"), "\(other)")
        #expect(other.hasSuffix("RPMEM_SSH is /usr/bin/tunnel"), "\(other)")
    }

    @Test func commandsAreTakenInTurn() {
        let options = InitiatorOptions(environment: ["RPMEM_CMD": "one|two --x|three"])
        let copy = options
        #expect([options, copy, options, copy].map { $0.commands.next() } == ["one", "two --x", "three", "one"])
        #expect(InitiatorOptions(environment: ["RPMEM_CMD": "|"]).commands.next() == "rpmemd")
    }
}
