import Glibc
import RpmemInitiator
import Testing

@Suite(.timeLimit(.minutes(2))) struct RemovalTests {
    private func remove(_ script: String, poolSet: String = "a.set", force: Bool = false, set: Bool = false) throws
        -> (InitiatorError?, ScriptedTarget)
    {
        let target = try ScriptedTarget(
            "[ \"$1\" != --remove ] || printf '%s\\n' \"$*\" \"$FAKE_SSH_ARGUMENTS\" >arguments; \(script)")
        do throws(InitiatorError) {
            try InitiatorPool.remove(
                target: try TargetAddress("127.0.0.1:22"), poolSet: poolSet, force: force, removePoolSet: set,
                options: target.options)
            return (nil, target)
        } catch {
            return (error, target)
        }
    }

    @Test func theCommandGetsTheOptions() throws {
        let (error, target) = try remove(stock(0), poolSet: "it's a.set", force: true, set: true)
        #expect(error == nil)
        let script = "exec /bin/sh \(target.scratch.path)/script"
        #expect(
            try target.scratch.text("arguments") == """
                --remove it's a.set --force --pool-set
                -p
                22
                -T
                -oBatchMode=yes
                127.0.0.1
                \(script) --remove 'it'\\''s a.set' --force --pool-set

                """)
    }

    @Test(arguments: [Int32(1), 2, 9, 16, 125, 133]) func theExitStatusIsAnErrno(_ status: Int32) throws {
        let (error, _) = try remove("echo because >&2; exit \(status)")
        #expect(error?.errno == status)
        #expect(error?.targetLines == ["because"])
    }

    /// A forced command of authorized_keys, or the shell of an account without login: its status is no errno.
    @Test func aCommandThatPrintsIsNoRemoval() throws {
        let (error, _) = try remove("echo This account is not available.; exit 1")
        #expect(error?.errno == EPROTO)
        let text = error.map { "\($0)" } ?? ""
        #expect(
            text.contains(
                "a.set is not removed: the command printed \"This account is not available.\\x0a\" and ended with status 1"
            ),
            "\(text)")
        // A greeting does not hide the daemon's reason.
        let (refused, _) = try remove("echo Welcome; echo 'rpmemd: removing a.set: no such pool set' >&2; exit 2")
        #expect(refused?.errno == ENOENT)
    }

    // MARK: Commands that say nothing

    /// Such as `RPMEM_SSH=/bin/true`.
    @Test(arguments: [Int32(0), 1, 2]) func aCommandThatIsAlwaysSilentIsNoRemoval(_ status: Int32) throws {
        let (error, _) = try remove("exit \(status)")
        expectNoRpmemd(error, status)
    }

    /// What the same command does with `--version`, when it has said nothing of the removal and ended with status 0.
    @Test(arguments: [
        // `RPMEM_CMD=/bin/true`
        "echo 'true (GNU coreutils) 9.1'",
        // A program that reaches the target only this time, without the arguments.
        "printf '\\0\\0\\0\\0'; exit 1", "exit 1",
    ]) func aCommandWithoutRpmemdsVersionIsNoRemoval(_ version: String) throws {
        let (error, _) = try remove("case $1 in --remove) exit 0;; esac; \(version)")
        expectNoRpmemd(error, 0)
    }

    @Test func aBannerOfSshdHidesNoCommandThatDoesNothing() throws {
        let (error, _) = try remove("echo Authorized users only >&2")
        expectNoRpmemd(error, 0)
        #expect(error?.targetLines == ["Authorized users only"])
    }

    private func expectNoRpmemd(
        _ error: InitiatorError?, _ status: Int32, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(error?.errno == EPROTO, sourceLocation: sourceLocation)
        let text = error.map { "\($0)" } ?? ""
        #expect(
            text.contains(
                "a.set is not removed: the command printed nothing and ended with status \(status), and with --version it "
                    + "does not say that it is rpmemd"), "\(text)", sourceLocation: sourceLocation)
        #expect(text.contains("`rpmemd --remove a.set`"), "\(text)", sourceLocation: sourceLocation)
    }

    /// PMDK's rpmemd: it removes without a word, and its reasons go to its log. A session that ends without a request is an
    /// error in that log.
    private func stock(_ status: Int32) -> String {
        """
        printf '%s\\n' "${1-session}" >>starts
        case $1 in --remove) exit \(status);; --version) echo rpmemd version 1.12.1 >&2; exit 0;; esac
        printf '\\0\\0\\0\\0'; cat >/dev/null; exit 1
        """
    }

    @Test func aSilentRemovalByPMDKsDaemonSucceedsWithoutASession() throws {
        let (error, target) = try remove(stock(0))
        #expect(error == nil)
        #expect(try target.scratch.text("starts") == "--remove\n--version\n")
    }

    @Test(arguments: [
        // This project's daemon.
        "echo rpmemd version 0.1.0", "echo 'rpmemd: --version is not for this key' >&2; exit 1",
        // An ssh that fails the second time, and a wrapper that lets only removals and sessions through.
        "echo lost >&2; exit 255", "exit 255", "kill -9 $$", "echo denied >&2; exit 1",
    ]) func aSilentRemovalStandsWhatever(_ version: String) throws {
        #expect(try remove("case $1 in --remove) exit 0;; esac; \(version)").0 == nil)
    }

    @Test func aWarningOfTheDaemonNeedsNoSecondStart() throws {
        let (error, target) = try remove("echo \"$1\" >>starts; echo 'rpmemd: warning: no log' >&2")
        #expect(error == nil)
        #expect(try target.scratch.text("starts") == "--remove\n")
    }

    @Test(arguments: [Int32(1), 2, 16]) func aSilentRefusalOfPMDKsDaemonIsAnErrno(_ status: Int32) throws {
        let (error, _) = try remove(stock(status))
        #expect(error?.errno == status)
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains("ended with status \(status) and gave no reason"), "\(text)")
        #expect(text.contains("\"\(String(cString: strerror(status)))\""), "\(text)")
    }

    /// The second start has a time limit, and its end is not the removal's.
    @Test func aSecondStartThatHangsIsEnded() throws {
        var target = try ScriptedTarget("case $1 in --remove) exit 0;; esac; exec sleep 1000")
        target.options.connectTimeout = .milliseconds(50)
        target.options.exitTimeout = .milliseconds(50)
        try InitiatorPool.remove(
            target: try TargetAddress("127.0.0.1"), poolSet: "a.set", options: target.options)
    }

    @Test(arguments: [Int32(126), 127, 255]) func whatShellsAndSshReportIsNone(_ status: Int32) throws {
        let (error, _) = try remove("echo no way >&2; exit \(status)")
        guard case .sessionEnded(_, _, let ending)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(ending.exit == .status(status))
        #expect(error?.errno == ECONNRESET)
        #expect(error?.targetLines == ["no way"])
    }

    @Test func aSignalIsTheSessionsEnd() throws {
        let (error, _) = try remove("kill -9 $$")
        guard case .sessionEnded(_, _, let ending)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(ending.exit == .signal(SIGKILL))
    }

    @Test(arguments: ["exec sleep 1000", "exec yes"]) func aCommandThatDoesNotEndIsEnded(_ command: String) throws {
        var target = try ScriptedTarget(command)
        target.options.openTimeout = .milliseconds(50)
        target.options.exitTimeout = .milliseconds(50)
        let error = #expect(throws: InitiatorError.self) {
            try InitiatorPool.remove(
                target: try TargetAddress("127.0.0.1"), poolSet: "a.set", options: target.options)
        }
        #expect(error?.errno == ETIMEDOUT)
    }

    @Test(arguments: ["", "a\0b"]) func aNameThatIsNoneIsRefused(_ name: String) throws {
        let (error, _) = try remove("exit 0", poolSet: name)
        #expect(error?.errno == EINVAL)
    }
}
