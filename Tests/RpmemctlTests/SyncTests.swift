import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `rpmemctl sync` on a target behind a real sshd.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct SyncTests {
    let target: OperatedTarget
    let pair: ReplicaPair

    init() throws {
        target = try OperatedTarget()
        pair = try ReplicaPair(target)
    }

    /// Differences in some blocks, over the border of the parts and at both ends.
    private func makeDifferences() throws {
        let bytes = (0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        for offset in [4096, 300_000, ReplicaPair.partSize - 1500, 12 << 20, ReplicaPair.size - 3000] {
            try pair.put(bytes, at: offset)
        }
        try pair.putOnTarget(bytes, at: 5 << 20)
    }

    private func report(_ outcome: OperatedTarget.Outcome) throws -> PoolSyncReport {
        try outcome.document(PoolSyncReport.self)
    }

    // MARK: Both directions

    @Test(arguments: ["--to-target", "--from-target"]) func onlyBlocksThatDifferAreWritten(_ direction: String) throws {
        try makeDifferences()
        let (local, remote) = (try pair.local(), try pair.remote())
        let outcome = try pair.sync(direction, "--yes", "--json")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        let report = try report(outcome)
        // The border's bytes are in two blocks.
        #expect(report.synchronized && report.comparison.differingBlocks == 7)
        #expect(report.writtenBytes == report.comparison.differingBytes && report.writtenBytes < 8 * 65536)
        try pair.expectSame()
        let isRight = try pair.local() == (direction == "--to-target" ? local : remote)
        #expect(isRight)
        let again = try pair.sync(direction, "--yes")
        #expect(again.ending == .exited(0) && again.output.hasPrefix("the same:") && !again.output.contains("Written"))
    }

    @Test(arguments: ["--to-target", "--from-target"]) func everythingDiffers(_ direction: String) throws {
        try pair.put([UInt8](repeating: 0xa5, count: ReplicaPair.size - 4096), at: 4096)
        let outcome = try pair.sync(direction, "--yes")
        #expect(
            outcome.ending == .exited(0) && outcome.output.contains("Written: \(ReplicaPair.size - 4096) bytes."),
            "\(outcome)")
        try pair.expectSame()
    }

    // MARK: Asking

    @Test func aDryRunWritesNothing() throws {
        try makeDifferences()
        let before = pair.files()
        let outcome = try pair.sync("--to-target", "--dry-run")
        #expect(outcome.ending == .exited(0) && outcome.output.contains("to write:"), "\(outcome)")
        let report = try report(try pair.sync("--from-target", "--dry-run", "--json"))
        #expect(report.writtenBytes == 0 && !report.synchronized && report.direction == .fromTarget)
        let unasked = try pair.sync("--to-target")
        #expect(unasked.ending == .exited(3) && unasked.errors.contains("add --yes"), "\(unasked)")
        #expect(pair.files() == before)
    }

    /// Runs sync on a terminal where somebody types `input`.
    private func onTerminal(typing input: String) throws -> (ending: ChildProcess.Ending?, output: String) {
        let line = "\(Binaries.rpmemctl) sync \(pair.words.joined(separator: " ")) --to-target"
        let process = try target.launch(
            ["/usr/bin/script", "-qec", line, "/dev/null"], environment: ["SHELL": "/bin/sh"])
        try process.send(Array(input.utf8))
        let output = String(decoding: try process.receive(1 << 20, within: 120_000), as: UTF8.self)
        return (try process.wait(), output)
    }

    @Test func thePersonIsAsked() throws {
        try makeDifferences()
        let before = pair.files()
        let (refused, text) = try onTerminal(typing: "n\n")
        #expect(refused == .exited(3) && text.contains("Overwrite these blocks of a.set on"), "\(text)")
        #expect(pair.files() == before)
        let (ending, output) = try onTerminal(typing: "y\n")
        #expect(ending == .exited(0) && output.contains("The replicas are the same."), "\(output)")
        try pair.expectSame()
    }

    /// The session starts while digests are made. Where these take longer than the target waits for a request, another one is started.
    @Test(arguments: [0, 8]) func sessionsThatStartEarly(_ seconds: Int) throws {
        try makeDifferences()
        let starts = target.directory.file("starts")
        func startCount() throws -> Int { try readFile(try Descriptor.open(starts, O_RDONLY), limit: 100).count }
        // The first difference is in the first batch of digests, which lies behind the line and the header of a frame.
        let slow = try command(
            """
            if [ "$1" = --digest ]; then
                \(target.command) "$@" | (head -n 1; dd bs=1 count=2100 status=none; sleep \(seconds); cat)
                exit ${PIPESTATUS[0]}
            fi
            echo >> \(starts)
            set -- --lane-timeout \(seconds == 0 ? 600 : 4)
            """)
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: slow)
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
        #expect(try startCount() == (seconds == 0 ? 1 : 2))
        let same = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: slow)
        #expect(same.ending == .exited(0), "\(same)")
        #expect(try startCount() == (seconds == 0 ? 1 : 2))
    }

    /// Another login would be refused as well.
    @Test func aSessionThatStartedEarlyAndIsRefused() throws {
        try makeDifferences()
        let starts = target.directory.file("starts")
        let refusing = try command("[ \"$1\" ] || { echo >> \(starts); set -- --providers verbs; }")
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: refusing)
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("let the initiator use verbs"), "\(outcome)")
        #expect(try readFile(try Descriptor.open(starts, O_RDONLY), limit: 100).count == 1)
    }

    // MARK: Interruptions

    /// A target's command that does something before the daemon gets its arguments; `$1` is `--digest`, or missing for a session.
    private func command(_ script: String) throws -> [String: String] {
        let path = target.directory.file("wrapped")
        try write("#!/bin/bash\n\(script)\nexec \(target.command) \"$@\"\n", to: path, mode: 0o755)
        return ["RPMEM_CMD": path]
    }

    /// A command whose session passes on `count` bytes of its answers, then is killed.
    private func killed(afterAnswers count: Int) throws -> [String: String] {
        let (kept, number) = (target.directory.file("kept"), target.directory.file("number"))
        // dd takes no byte of the pipe that is meant for the next command.
        return try command(
            """
            if [ ! "$1" ]; then
                exec 3<&0
                (\(target.command) <&3 & echo $! >\(number); wait) | (
                    dd bs=1 count=\(count) status=none; dd bs=1 count=16 of=\(kept) status=none
                    kill -9 $(cat \(number)); cat \(kept))
                exit
            fi
            """)
    }

    /// Bytes of all answers of a session that catches up. The last ones have these sizes.
    private func answerBytes(_ direction: String) throws -> Int {
        let answers = target.directory.file("answers")
        let counting = try command("[ \"$1\" ] || exec \(target.command) | tee \(answers)")
        let outcome = try target.run(["sync"] + pair.words + [direction, "--yes"], environment: counting)
        #expect(outcome.ending == .exited(0), "\(outcome)")
        var status = stat()
        #expect(stat(answers, &status) == 0)
        return Int(status.st_size)
    }

    private static let header = 16
    /// Of DIGEST for the seven blocks of ``makeDifferences()``.
    private static let digests = header + 7 * 16

    private func expectHalfWritten(
        _ side: ReportedComparison.Side, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let header = side == .local ? try pair.localHeader() : try pair.remoteHeader()
        #expect(header.incompatFeatures == 6 | 1 << 31 && header.isChecksumValid, sourceLocation: sourceLocation)
        let (report, outcome) = try pair.verify()
        #expect(
            outcome.ending == .exited(2) && report.halfWritten == side, "\(outcome)", sourceLocation: sourceLocation)
        let before = pair.files()
        let wrong = try pair.sync(side == .local ? "--to-target" : "--from-target", "--yes")
        #expect(
            wrong.ending == .exited(1)
                && wrong.errors.contains(side == .local ? "finish it with --from-target" : "finish it with --to-target"),
            "\(wrong)", sourceLocation: sourceLocation)
        #expect(pair.files() == before, sourceLocation: sourceLocation)
    }

    /// The daemon is killed when it has answered the first SET_ATTR, and before the initiator knows.
    @Test func aTargetThatIsKilledLeavesAMarkedReplica() throws {
        try makeDifferences()
        // SET_ATTR, DIGEST, SET_ATTR and CLOSE come last.
        let count = try answerBytes("--to-target") - 3 * Self.header - Self.digests
        try makeDifferences()
        try pair.put([9, 9, 9], at: 7 << 20)
        let lost = try target.run(
            ["sync"] + pair.words + ["--to-target", "--yes"], environment: killed(afterAnswers: count))
        #expect(lost.ending == .exited(1) && lost.errors.contains("\(target.address): may be half-written"), "\(lost)")
        try expectHalfWritten(.target)
        let outcome = try pair.sync("--to-target", "--yes")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
    }

    /// Another file must not get the number of a stream that is closed. A part would get what is printed of a loss.
    @Test func closedStreamsAreNoFiles() throws {
        let outcome = try target.run(
            ["sync"] + pair.words + ["--to-target", "--dry-run"], prefix: ["/bin/sh", "-c", "exec \"$@\" >&-", "sh"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("write: Bad file descriptor"), "\(outcome)")
    }

    @Test func aTargetThatWasNotComparedAgainStaysMarked() throws {
        try makeDifferences()
        let count = try answerBytes("--to-target") - 2 * Self.header - Self.digests
        try pair.put([1, 2, 3, 4], at: 9 << 20)
        let killing = try killed(afterAnswers: count)
        let lost = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: killing)
        #expect(
            lost.ending == .exited(1) && lost.errors.contains("\(target.address): may be half-written now"), "\(lost)")
        try expectHalfWritten(.target)
        let outcome = try pair.sync("--to-target", "--yes")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
    }

    @Test func aLocalReplicaThatWasNotComparedAgainStaysMarked() throws {
        try makeDifferences()
        // DIGEST and CLOSE come last.
        let count = try answerBytes("--from-target") - Self.header - Self.digests
        try pair.put([1, 2, 3, 4], at: 9 << 20)
        let killing = try killed(afterAnswers: count)
        let lost = try target.run(["sync"] + pair.words + ["--from-target", "--yes"], environment: killing)
        #expect(
            lost.ending == .exited(1) && lost.errors.contains("\(pair.localSet): may be half-written now"), "\(lost)")
        #expect(try pair.localHeader().bytes[4024 + 16] == 1)
        try expectHalfWritten(.local)
        // As when only some blocks had been written.
        try pair.put([4, 5, 6], at: 2 << 20)
        let outcome = try pair.sync("--from-target", "--yes")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
    }

    /// Killed at any moment, again and again: the same command goes on, and the other side is never written to.
    @Test(arguments: ["--to-target", "--from-target"], [SIGKILL, SIGINT])
    func whoeverIsInterruptedGoesOn(_ direction: String, _ signal: Int32) throws {
        var generator = SeededGenerator(seed: UInt64(signal))
        for _ in 0..<4 {
            try pair.put([UInt8](repeating: .random(in: 0...255, using: &generator), count: 6 << 20), at: 1 << 20)
            let source = try direction == "--to-target" ? pair.local() : pair.remote()
            let process = try target.launch([Binaries.rpmemctl, "sync"] + pair.words + [direction, "--yes"])
            usleep(UInt32.random(in: 0...1_500_000, using: &generator))
            process.signal(signal)
            _ = try process.wait()
            let isUntouched = try source == (direction == "--to-target" ? pair.local() : pair.remote())
            #expect(isUntouched)
            // The daemon of the session that was lost may have the pool for a moment.
            var outcome = try pair.sync(direction, "--yes")
            let deadline = Deadline.after(milliseconds: 60_000)
            while outcome.errors.contains("in use"), !deadline.hasPassed { outcome = try pair.sync(direction, "--yes") }
            #expect(outcome.ending == .exited(0), "\(outcome)")
            try pair.expectSame()
        }
    }

    private static let directions = ["--to-target", "--from-target"]

    /// Between the comparison and the session the target's lock is free.
    @Test(arguments: directions) func somebodyWhoWritesMeanwhileIsNoticed(_ direction: String) throws {
        try makeDifferences()
        let spoiling = try command(
            """
            [ "$1" ] || printf x | dd of=\(target.parts)/a1 bs=1 seek=3000000 conv=notrunc status=none
            """)
        let local = try pair.local()
        let outcome = try target.run(["sync"] + pair.words + [direction, "--yes"], environment: spoiling)
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains("somebody else wrote to it since it was compared"),
            "\(outcome)")
        let isUntouched = try pair.local() == local
        #expect(isUntouched)
        let (report, _) = try pair.verify()
        #expect(report.halfWritten == nil && report.differingBlocks == 8)
        let again = try pair.sync(direction, "--yes")
        #expect(again.ending == .exited(0), "\(again)")
        try pair.expectSame()
    }

    /// From its first digest to its last request, the session has the target's pool locked.
    @Test func nobodyGetsThePoolMeanwhile() throws {
        try makeDifferences()
        let other = target.directory.file("other")
        // OPEN, EXTEND and the first DIGEST go through; the SET_ATTR waits until somebody else has tried.
        let first = 44 + "a.set".utf8.count + 1 + 24 + 180
        let trying = try command(
            """
            if [ ! "$1" ]; then
                (dd bs=1 count=\(first) status=none
                 dd bs=1 count=16 of=\(other).held status=none
                 \(target.command) --digest a.set </dev/null >/dev/null 2>\(other); echo $? >>\(other)
                 cat \(other).held -) | \(target.command)
                exit
            fi
            """)
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: trying)
        #expect(outcome.ending == .exited(0), "\(outcome)")
        let text = String(decoding: try readFile(try Descriptor.open(other, O_RDONLY), limit: 4096), as: UTF8.self)
        #expect(text.contains("in use by") && text.hasSuffix("\n\(EAGAIN)\n"), "\(text)")
        try pair.expectSame()
    }

    /// Whoever writes without the lock, to a block that was written.
    @Test func blocksThatDifferAfterwardsAreNoticed() throws {
        try makeDifferences()
        // OPEN, EXTEND, DIGEST and SET_ATTR go through; the second DIGEST waits.
        let first = 44 + "a.set".utf8.count + 1 + 24 + 180 + 116
        let spoiling = try command(
            """
            if [ ! "$1" ]; then
                (dd bs=1 count=\(first) status=none
                 dd bs=1 count=16 of=\(target.directory.file("held")) status=none
                 printf x | dd of=\(target.parts)/a0 bs=1 seek=300100 conv=notrunc status=none
                 cat \(target.directory.file("held")) -) | \(target.command)
                exit
            fi
            """)
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: spoiling)
        #expect(
            outcome.ending == .exited(2) && outcome.errors.contains("1 blocks differ after they were written"),
            "\(outcome)")
        try expectHalfWritten(.target)
    }

    /// A pool with other attributes is put in place of the one that was compared.
    @Test func anotherPoolAtTheSessionIsNoticed() throws {
        try makeDifferences()
        // Another sync that does not finish.
        let count = try answerBytes("--to-target") - 3 * Self.header - Self.digests
        try makeDifferences()
        try pair.put([9, 9, 9], at: 7 << 20)
        _ = try target.run(
            ["sync"] + pair.words + ["--to-target", "--yes"], environment: try killed(afterAnswers: count))
        let saved = target.directory.file("saved")
        #expect(try ChildProcess(["/bin/cp", "\(target.parts)/a0", saved], environment: [:]).wait() == .exited(0))
        #expect(try pair.sync("--to-target", "--yes").ending == .exited(0))
        try makeDifferences()
        try pair.put([8, 8], at: 3 << 20)
        let replacing = try command("[ \"$1\" ] || cat \(saved) >\(target.parts)/a0")
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: replacing)
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains("another pool is there since it was compared"),
            "\(outcome)")
        let again = try pair.sync("--to-target", "--yes")
        #expect(again.ending == .exited(0), "\(again)")
        try pair.expectSame()
    }

    @Test(arguments: directions) func aSessionWithoutDigestsIsNotUsed(_ direction: String) throws {
        try makeDifferences()
        let before = (try pair.local(), try pair.remote())
        let outcome = try target.run(
            ["sync"] + pair.words + [direction, "--yes"], environment: ["RPMEM_EXTENSIONS": "0"])
        // Before a comparison that may take hours.
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains("RPMEM_EXTENSIONS=0 is set here, leave it out")
                && outcome.output == "", "\(outcome)")
        let isUntouched = try pair.local() == before.0 && pair.remote() == before.1
        #expect(isUntouched)
        #expect(try pair.verify().report.halfWritten == nil)
    }

    @Test func aReadOnlyKeyMayVerifyAndNotSync() throws {
        try makeDifferences()
        let readOnly = ["RPMEM_CMD": "\(target.command) --permissions read-only"]
        #expect(try target.run(["verify"] + pair.words, environment: readOnly).ending == .exited(2))
        let before = try pair.remote()
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: readOnly)
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains("read-only")
                && !outcome.errors.contains("half-written"), "\(outcome)")
        let isUntouched = try pair.remote() == before
        #expect(isUntouched)
    }

    /// Two local replicas: the pool has the size of the smaller one, and only the first could be overwritten.
    @Test func aSetWithAnotherLocalReplica() throws {
        let set = pair.place.file("two.set")
        try write(
            "PMEMPOOLSET\n8M \(pair.place.file("l0"))\n8M \(pair.place.file("l1"))\nREPLICA\n8M /nowhere/x\n"
                + "REPLICA host b.set\n", to: set)
        let outcome = try target.run(["verify", set, target.address, "a.set", "--json"])
        #expect(try outcome.document(PoolVerifyReport.self).comparison.to == 8 << 20)
        let refused = try target.run(["sync", set, target.address, "a.set", "--from-target", "--yes"])
        #expect(
            refused.ending == .exited(1) && refused.errors.contains("has another replica on this machine"), "\(refused)"
        )
    }
}
