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

    /// Sessions start while digests are made. Where these take longer than the target waits for a request, another one is started.
    @Test(arguments: [0, 8]) func sessionsThatStartEarly(_ seconds: Int) throws {
        try makeDifferences()
        let starts = target.directory.file("starts")
        func startCount() throws -> Int { try readFile(try Descriptor.open(starts, O_RDONLY), limit: 100).count }
        let slow = try command(
            """
            \(atTheSecondDigest("sleep \(seconds)"))
            if [ ! "$1" ]; then echo >> \(starts); set -- --lane-timeout \(seconds == 0 ? 600 : 4); fi
            """)
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: slow)
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
        #expect(try startCount() == (seconds == 0 ? 2 : 3))
        let same = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: slow)
        #expect(same.ending == .exited(0), "\(same)")
        #expect(try startCount() == (seconds == 0 ? 2 : 3))
    }

    // MARK: Interruptions

    /// A target's command that does something before the daemon gets its arguments; `$1` is `--digest`, or missing for a session.
    private func command(_ script: String) throws -> [String: String] {
        let path = target.directory.file("wrapped")
        try write("#!/bin/bash\n\(script)\nexec \(target.command) \"$@\"\n", to: path, mode: 0o755)
        return ["RPMEM_CMD": path]
    }

    /// A script that does `action` at the second time that digests are asked for.
    private func atTheSecondDigest(_ action: String) -> String {
        let mark = target.directory.file("asked")
        return "if [ \"$1\" = --digest ]; then if [ -e \(mark) ]; then \(action); fi; touch \(mark); fi"
    }

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
        let answers = target.directory.file("answers")
        // A first run counts the bytes of the first session's answers. The last two are those to SET_ATTR and CLOSE.
        let counting = try command("[ \"$1\" ] || [ -e \(answers) ] || exec \(target.command) | tee \(answers)")
        let first = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: counting)
        #expect(first.ending == .exited(0), "\(first)")
        var status = stat()
        #expect(stat(answers, &status) == 0)
        let count = Int(status.st_size) - 2 * 16
        try makeDifferences()
        try pair.put([9, 9, 9], at: 7 << 20)
        let number = target.directory.file("number")
        // dd takes no byte of the pipe that is meant for the next command.
        let killing = try command(
            """
            if [ ! "$1" ]; then
                exec 3<&0
                (\(target.command) <&3 & echo $! >\(number); wait) | (
                    dd bs=1 count=\(count) status=none; dd bs=1 count=16 of=\(answers) status=none
                    kill -9 $(cat \(number)); cat \(answers))
                exit
            fi
            """)
        let lost = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: killing)
        #expect(lost.ending == .exited(1) && !lost.errors.isEmpty, "\(lost)")
        try expectHalfWritten(.target)
        let outcome = try pair.sync("--to-target", "--yes")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
    }

    @Test func aTargetThatWasNotComparedAgainStaysMarked() throws {
        try makeDifferences()
        let failing = try command(atTheSecondDigest("echo 'rpmemd: cut' >&2; exit 5"))
        let lost = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: failing)
        #expect(lost.ending == .exited(1) && lost.errors.contains("cut"), "\(lost)")
        try expectHalfWritten(.target)
        let outcome = try pair.sync("--to-target", "--yes")
        #expect(outcome.ending == .exited(0), "\(outcome)")
        try pair.expectSame()
    }

    @Test func aLocalReplicaThatWasNotComparedAgainStaysMarked() throws {
        try makeDifferences()
        let failing = try command(atTheSecondDigest("echo 'rpmemd: cut' >&2; exit 5"))
        let lost = try target.run(["sync"] + pair.words + ["--from-target", "--yes"], environment: failing)
        #expect(lost.ending == .exited(1) && lost.errors.contains("cut"), "\(lost)")
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

    @Test func somebodyWhoWritesMeanwhileIsNoticed() throws {
        try makeDifferences()
        let spoiling = try command(
            atTheSecondDigest("printf x | dd of=\(target.parts)/a1 bs=1 seek=3000000 conv=notrunc status=none"))
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: spoiling)
        #expect(
            outcome.ending == .exited(2) && outcome.errors.contains("1 blocks differ after they were written"),
            "\(outcome)")
        try expectHalfWritten(.target)
    }

    /// The second digests are of other blocks, or say that somebody else has finished overwriting the replica.
    @Test(arguments: [
        #"s/"blockSize":65536/"blockSize":4096/"#, #"s/\("attributes":"[0-9a-f]\{32\}\)80000006/\100000006/"#,
    ])
    func anotherPoolAtTheSecondComparisonIsNoticed(_ edit: String) throws {
        try makeDifferences()
        let changing = try command(
            atTheSecondDigest("\(target.command) \"$@\" | LC_ALL=C sed '\(edit)'; exit ${PIPESTATUS[0]}"))
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: changing)
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains("another pool is there since it was compared"),
            "\(outcome)")
        let again = try target.run(["sync"] + pair.words + ["--to-target", "--yes"])
        #expect(again.ending == .exited(0), "\(again)")
    }

    @Test func aReadOnlyKeyMayVerifyAndNotSync() throws {
        try makeDifferences()
        let readOnly = ["RPMEM_CMD": "\(target.command) --permissions read-only"]
        #expect(try target.run(["verify"] + pair.words, environment: readOnly).ending == .exited(2))
        let before = try pair.remote()
        let outcome = try target.run(["sync"] + pair.words + ["--to-target", "--yes"], environment: readOnly)
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("read-only"), "\(outcome)")
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
