import Glibc
import SystemSupport
import TestSupport
import Testing

/// `rpmemctl sync` loses its session with the target, and somebody else writes before there is another one.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct SyncLossTests {
    let target: OperatedTarget
    let pair: ReplicaPair

    init() throws {
        target = try OperatedTarget()
        pair = try ReplicaPair(target)
    }

    /// Runs sync with a command that does something in place of a session's daemon, and with `RPMEM_RESUME`.
    private func sync(_ direction: String, session: String) throws -> OperatedTarget.Outcome {
        let path = target.directory.file("wrapped")
        try write(
            "#!/bin/bash\n[ \"$1\" ] && exec \(target.command) \"$@\"\n\(session)\nexec \(target.command)\n", to: path,
            mode: 0o755)
        return try target.run(
            ["sync"] + pair.words + [direction, "--yes"], environment: ["RPMEM_CMD": path, "RPMEM_RESUME": "60"])
    }

    /// The daemon is killed at the end of its first DIGEST. A resumed session would not notice what was written since.
    @Test(arguments: ["--to-target", "--from-target"]) func aLostSessionIsNotResumed(_ direction: String) throws {
        try pair.put([1, 2, 3, 4], at: 9 << 20)
        let answers = target.directory.file("answers")
        let counted = try sync(direction, session: "exec \(target.command) | tee \(answers)")
        #expect(counted.ending == .exited(0), "\(counted)")
        var status = stat()
        #expect(stat(answers, &status) == 0)
        // SET_ATTR, DIGEST of the block, SET_ATTR and CLOSE come last, the attributes only with --to-target.
        let rest = 16 * (direction == "--to-target" ? 5 : 3)
        try pair.put([5, 6, 7, 8], at: 9 << 20)
        let (kept, number) = (target.directory.file("kept"), target.directory.file("number"))
        let outcome = try sync(
            direction,
            session: """
                if [ -e \(number) ]; then
                    printf x | dd of=\(target.parts)/a1 bs=1 seek=3000000 conv=notrunc status=none
                    exec \(target.command)
                fi
                exec 3<&0
                (\(target.command) <&3 & echo $! >\(number); wait) | (
                    dd bs=1 count=\(Int(status.st_size) - rest - 16) status=none
                    dd bs=1 count=16 of=\(kept) status=none
                    kill -9 $(cat \(number)); cat \(kept))
                exit
                """)
        #expect(outcome.ending == .exited(1) && !outcome.output.contains("The replicas are the same"), "\(outcome)")
        #expect(try pair.sync(direction, "--yes").ending == .exited(0))
        try pair.expectSame()
    }
}
