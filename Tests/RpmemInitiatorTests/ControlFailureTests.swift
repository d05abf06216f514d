import Glibc
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// Targets that fail before the pool is open.
@Suite(.timeLimit(.minutes(2))) struct ControlFailureTests {
    /// Bytes of the OPEN that ``ScriptedTarget/openingError()`` sends: 44, and `a.set` with its NUL.
    private static let openSize = 44 + 6

    @Test(arguments: [Int32(2), 13, 22, 111]) func theInitialStatusIsAnErrno(_ errno: Int32) throws {
        let target = try ScriptedTarget(
            "cat status; echo 'no such directory' >&2; exit 1",
            files: ["status": InitialStatus.failed(errno: errno).encode()])
        let error = target.openingError()
        #expect(error?.errno == errno)
        #expect(error?.targetLines == ["no such directory"])
        guard case .targetNotReady? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func anEndBeforeTheStatusIsAReset() throws {
        let target = try ScriptedTarget("echo one >&2; printf 'two\\r\\nthree' >&2; exit 255")
        let error = target.openingError()
        #expect(error?.errno == ECONNRESET)
        #expect(error?.targetLines == ["one", "two", "three"])
        guard case .sessionEnded(_, _, let ending)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(ending.exit == .status(255))
    }

    @Test func halfAStatusIsAReset() throws {
        #expect(try ScriptedTarget("printf '\\000\\000'").openingError()?.errno == ECONNRESET)
    }

    @Test func aMissingCommandIsNamed() throws {
        var target = try ScriptedTarget("")
        target.options.commands = CommandRotation("no-such-command-here")
        let error = target.openingError()
        #expect(error?.errno == ECONNRESET)
        #expect(error?.description.contains("PATH") == true)
        #expect(error?.targetLines.first?.contains("no-such-command-here") == true)
    }

    @Test func aMissingSshIsNamed() throws {
        var target = try ScriptedTarget("")
        target.options.ssh = target.scratch.path + "/no-ssh"
        let error = target.openingError()
        #expect(error?.errno == ENOENT)
        #expect(error?.description.contains("RPMEM_SSH") == true)
    }

    @Test func noiseOnStandardOutputIsExplained() throws {
        let target = try ScriptedTarget("echo 'Welcome to node'; cat >/dev/null")
        let error = target.openingError()
        #expect(error?.errno == EPROTO)
        #expect(error?.description.contains("Welc") == true)
        #expect(error?.description.contains("start-up file") == true)
    }

    @Test func silenceBeforeTheStatusTimesOut() throws {
        var target = try ScriptedTarget("cat >/dev/null; true")
        target.options.connectTimeout = .milliseconds(50)
        #expect(target.openingError()?.errno == ETIMEDOUT)
    }

    /// Endless output must not make a wait longer than its time-out.
    @Test func complaintsWithoutEndTimeOut() throws {
        var target = try ScriptedTarget("exec yes complaint 3>&1 >&2")
        target.options.connectTimeout = .milliseconds(50)
        target.options.exitTimeout = .milliseconds(50)
        let error = target.openingError()
        #expect(error?.errno == ETIMEDOUT)
        #expect(error?.description.contains("initial status") == true)
    }

    @Test func silenceAfterARequestTimesOut() throws {
        var target = try ScriptedTarget("printf '\\000\\000\\000\\000'; cat >/dev/null; true")
        target.options.openTimeout = .milliseconds(50)
        #expect(target.openingError()?.errno == ETIMEDOUT)
    }

    @Test func anEndInsteadOfAnAnswerIsAReset() throws {
        let target = try ScriptedTarget(
            "printf '\\000\\000\\000\\000'; head -c \(Self.openSize) >/dev/null; echo crashed >&2; kill -11 $$")
        let error = target.openingError()
        #expect(error?.errno == ECONNRESET)
        // The shell may add a line of its own.
        #expect(error?.targetLines.contains("crashed") == true)
    }

    /// A write to a target that is gone must not raise SIGPIPE.
    @Test func aTargetThatReadsNothingIsAReset() throws {
        let target = try ScriptedTarget("exec <&-; printf '\\000\\000\\000\\000'; echo bye >&2; exit 3")
        let error = target.openingError()
        #expect(error?.errno == ECONNRESET)
        #expect(error?.targetLines == ["bye"])
    }

    /// The captured answers of PMDK's rpmemd.
    @Test(arguments: [
        ("busy", EBUSY), ("abs", EINVAL), ("missing", ENOENT),
    ]) func aRefusalIsItsErrno(_ capture: String, errno: Int32) throws {
        let stream = try vector("control/\(capture).s2c")
        let target = try ScriptedTarget(
            "cat status; head -c \(Self.openSize) >/dev/null; cat answer; echo 'see line 3' >&2; exit 1",
            files: ["status": Array(stream[..<4]), "answer": Array(stream[4...])])
        let error = target.openingError()
        guard case .refused(_, let status, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(error?.errno == errno)
        #expect(status.initiatorErrno == errno)
        #expect(error?.targetLines == ["see line 3"])
    }

    @Test(arguments: Status.allCases.filter { $0 != .success })
    func everyStatusHasItsErrno(_ status: Status) throws {
        let target = try ScriptedTarget(
            "printf '\\000\\000\\000\\000'; head -c \(Self.openSize) >/dev/null; cat answer",
            files: ["answer": Response.refused(.open, status).encode()])
        let error = target.openingError()
        guard case .refused(_, status, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(error?.errno == status.initiatorErrno)
    }

    @Test(arguments: ["answer to CREATE", "unknown status", "port 0", "noise"])
    func anAnswerThatIsNoneIsAViolation(_ kind: String) throws {
        let inBand = InBandAttributes(port: 1, method: .gpspm, remoteKey: 1, remoteAddress: 4096, laneCount: 1)
        var answer: [UInt8]
        switch kind {
        case "answer to CREATE": answer = Response.create(inBand).encode()
        case "unknown status":
            answer = Response.open(inBand, .none).encode()
            answer[3] = 99
        case "port 0":
            answer = Response.open(inBand, .none).encode()
            answer[19] = 0
        default: answer = Array("Connection closed by somebody's shell".utf8)
        }
        let target = try ScriptedTarget(
            "printf '\\000\\000\\000\\000'; head -c \(Self.openSize) >/dev/null; cat answer; cat >/dev/null",
            files: ["answer": answer])
        #expect(target.openingError()?.errno == EPROTO)
    }

    @Test func bytesBeforeTheRequestAreAViolation() throws {
        let target = try ScriptedTarget("printf '\\000\\000\\000\\000\\000'; cat >/dev/null")
        let error = target.openingError()
        // The byte arrives with the status, or later as the start of an answer that never ends.
        #expect(error?.errno == EPROTO)
    }

    @Test func aProviderThatIsNotThereIsExplained() throws {
        var target = try ScriptedTarget("exit 1")
        target.options.providers = []
        let error = target.openingError()
        #expect(error?.errno == ENOMEDIUM)
        #expect(error?.description.contains("RPMEM_ENABLE_SOCKETS=1") == true)
    }

    @Test func aHostThatIsNotThereIsExplained() throws {
        let target = try ScriptedTarget("exit 1")
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.open(
                target: try TargetAddress("no-such-host.invalid"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
                options: target.options)
        }
        #expect(error?.errno == ENOMEDIUM)
        #expect(error?.description.contains("no-such-host.invalid") == true)
    }
}
