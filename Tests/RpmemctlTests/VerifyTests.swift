import CLinux
import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `rpmemctl verify` on a target behind a real sshd.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct VerifyTests {
    let target: OperatedTarget
    let pair: ReplicaPair

    init() throws {
        target = try OperatedTarget()
        pair = try ReplicaPair(target)
    }

    @Test func equalReplicasAreTheSameAndNothingIsChanged() throws {
        let before = pair.files()
        let (report, outcome) = try pair.verify()
        #expect(outcome.ending == .exited(0) && report.same && report.ranges == [] && report.identified, "\(outcome)")
        #expect(report.from == 4096 && report.to == UInt64(ReplicaPair.size) && report.blockSize == 65536)
        let text = try target.run(["verify"] + pair.words)
        #expect(
            text.ending == .exited(0) && text.output.hasPrefix("the same: \(pair.localSet) and a.set on"), "\(text)")
        #expect(text.errors.isEmpty)
        #expect(pair.files() == before)
    }

    /// One byte in the first block, at the border of parts, and at the end: whatever compares less than all finds none of them.
    @Test func everyDifferenceIsFound() throws {
        let border = ReplicaPair.partSize
        try pair.put([1, 2, 3], at: 4097)
        try pair.putOnTarget([7], at: border - 1)
        try pair.putOnTarget([7], at: border)
        try pair.put([0xff], at: ReplicaPair.size - 1)
        let (report, outcome) = try pair.verify()
        #expect(outcome.ending == .exited(2) && !report.same, "\(outcome)")
        #expect(report.differingBlocks == 4)
        let last = (ReplicaPair.size - 1) / 65536 * 65536
        let expected = [(4096, 65536 - 4096), (border - 65536, 2 * 65536), (last, ReplicaPair.size - last)]
        #expect(report.ranges == expected.map { ReportedRange(offset: UInt64($0.0), length: UInt64($0.1)) })
        let text = try target.run(["verify"] + pair.words)
        let line = "  131072 bytes at \(border - 65536)\n"
        #expect(text.ending == .exited(2) && text.output.contains(line), "\(text)")
    }

    // MARK: Refusals

    private func expectRefused(
        _ words: [String], _ reason: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        for command in [["verify"] + words, ["sync"] + words + ["--to-target", "--yes"]] {
            let before = pair.files()
            let outcome = try target.run(command)
            #expect(
                outcome.ending == .exited(1) && outcome.errors.contains(reason), "\(outcome)",
                sourceLocation: sourceLocation)
            #expect(pair.files() == before, sourceLocation: sourceLocation)
        }
    }

    @Test func aPoolInUseHereIsRefused() throws {
        let file = try Descriptor.open(pair.place.file("l1"), O_RDWR)
        #expect(rpmem_flock(file.number, LOCK_EX) == 0)
        try expectRefused(pair.words, "in use by process \(getpid())")
        withExtendedLifetime(file) {}
    }

    @Test func aPoolInUseOnTheTargetIsRefused() throws {
        let session = try target.hold("a.set")
        // The session goes on writing to the target's parts.
        let before = try pair.local()
        for words in [["verify"] + pair.words, ["sync"] + pair.words + ["--to-target", "--yes"]] {
            let outcome = try target.run(words)
            #expect(outcome.ending == .exited(1) && outcome.errors.contains("(rpmemd)"), "\(outcome)")
        }
        let isUntouched = try pair.local() == before
        #expect(isUntouched)
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test func anotherPoolIsRefused() throws {
        for (name, size) in [("b", "8M"), ("c", "16M")] {
            try target.addSet("\(name).set", "\(size) @/\(name)0")
            try target.store().create(
                descriptor: PoolDescriptor(validating: "\(name).set"),
                attributes: PoolAttributes(signature: SIMD8("OPERATED".utf8), major: 1, incompatFeatures: 6),
                requestedSize: 0
            ).close()
        }
        try expectRefused([pair.localSet, target.address, "b.set"], "needs \(ReplicaPair.size) bytes")
        try expectRefused([pair.localSet, target.address, "c.set"], "is no replica of \(pair.localSet): another pool")
    }

    @Test func aReplicaThatLeftTheRingIsRefused() throws {
        var attributes = ReplicaPair.attributes(1)
        attributes.uuid = .random()
        let pool = try target.store().open(descriptor: PoolDescriptor(validating: "a.set"), requestedSize: 0)
        try pool.setAttributes(attributes)
        try pool.close()
        try expectRefused(pair.words, "no replica of the local pool any more")
    }

    @Test func aMissingPoolIsRefused() throws {
        for part in ["a0", "a1"] { unlink("\(target.parts)/\(part)") }
        try expectRefused(pair.words, "`pmempool sync` with the local pool set")
        try expectRefused([pair.localSet, target.address, "none.set"], "no such pool set")
        try expectRefused(
            [pair.place.file("none.set"), target.address, "a.set"], "none.set: No such file or directory")
    }

    @Test func aPoolThatIsSmallerIsRefused() throws {
        try write(
            "PMEMPOOLSET\n8M \(pair.place.file("l0"))\n", to: pair.place.file("short.set"))
        try expectRefused([pair.place.file("short.set"), target.address, "a.set"], "l0")
    }

    @Test func directionsMustBeSaid() throws {
        for options in [[], ["--to-target", "--from-target"]] {
            let outcome = try target.run(["sync"] + pair.words + options)
            #expect(
                outcome.ending == .exited(64) && outcome.errors.contains("--to-target or --from-target"), "\(outcome)")
        }
    }

    @Test func anOlderDaemonIsNamed() throws {
        let old = target.directory.file("old")
        try write("#!/bin/sh\necho \"rpmemd: unrecognized option '$1'\" >&2\nexit 255\n", to: old, mode: 0o755)
        let outcome = try target.run(["verify"] + pair.words, environment: ["RPMEM_CMD": old])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("does not know --digest"), "\(outcome)")
    }

    @Test(arguments: ["", "00", String(repeating: "x", count: 5000)]) func digestsNeedAKey(_ input: String) throws {
        let shell = try ChildProcess([
            "/bin/sh", "-c", "printf %s \(input.isEmpty ? "''" : input) | \(target.command) --digest a.set",
        ])
        shell.closeInput()
        #expect(try shell.wait() == .exited(EINVAL), "\(shell.errorText)")
        #expect(shell.errorText.contains("has no key of 64 hexadecimal digits"), "\(shell.errorText)")
    }

    /// A target whose answer ends early, or says that everything is as here.
    @Test func anAnswerThatEndsEarlyIsNoAnswer() throws {
        let cut = target.directory.file("cut")
        try write("#!/bin/sh\n\(target.command) \"$@\" | head -c 3000\n", to: cut, mode: 0o755)
        let outcome = try target.run(["verify"] + pair.words, environment: ["RPMEM_CMD": cut])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("its digests end after block"), "\(outcome)")
    }

    /// A target that falls silent in the middle.
    @Test func aSilentTargetIsNotWaitedForWithoutLimit() throws {
        let silent = target.directory.file("silent")
        try write(
            "#!/bin/sh\n(\(target.command) \"$@\"; sleep 600) | (head -c 3000; sleep 600)\n", to: silent, mode: 0o755)
        let outcome = try target.run(
            ["verify"] + pair.words, environment: ["RPMEM_CMD": "exec \(silent)", "RPMEM_TIMEOUT": "2"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("within 2 s"), "\(outcome)")
        for process in TestSupport.processes(withEntry: "HOME=\(target.directory.path)") { kill(process, SIGKILL) }
    }

    /// A target that sends a byte now and then.
    @Test func aTargetThatTricklesIsNotWaitedForWithoutLimit() throws {
        let trickling = target.directory.file("trickling")
        try write(
            "#!/bin/sh\n\(target.command) \"$@\" | (head -c 3000; while dd bs=1 count=1 status=none; do sleep 0.5; done)\n",
            to: trickling, mode: 0o755)
        let outcome = try target.run(
            ["verify"] + pair.words, environment: ["RPMEM_CMD": "exec \(trickling)", "RPMEM_TIMEOUT": "3"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("within 3 s"), "\(outcome)")
        for process in TestSupport.processes(withEntry: "HOME=\(target.directory.path)") { kill(process, SIGKILL) }
    }

    // MARK: Files without a header

    @Test func aRawFileNeedsTheFlag() throws {
        let raw = pair.place.file("raw")
        try write(String(repeating: "r", count: 8 << 20), to: raw)
        let words = [raw, target.address, "a.set"]
        try expectRefused(words, "add --raw")
        try expectRefused([pair.localSet, target.address, "a.set", "--raw"], "no raw file")
        try expectRefused([pair.place.file("l0"), target.address, "a.set", "--raw"], "leave --raw out")
        let outcome = try target.run(["verify"] + words + ["--raw"])
        #expect(outcome.ending == .exited(2) && outcome.output.contains("note: without pool headers"), "\(outcome)")
        let done = try target.run(["sync"] + words + ["--raw", "--to-target", "--yes"])
        #expect(done.ending == .exited(0), "\(done)")
        let isCopied = try pair.remote().prefix((8 << 20) - 4096).allSatisfy { $0 == UInt8(ascii: "r") }
        #expect(isCopied)
        #expect(try pair.remoteHeader().incompatFeatures == 6)
    }

    /// A damaged pool is no plain data: its header is what `--raw` would compare, and overwrite.
    @Test func aDamagedPoolIsNoRawFile() throws {
        for (signature, isRefused) in [("PMEMOBJ", true), ("PMEMLOG", true), ("PMEMPOOLSET", true), ("data", false)] {
            let raw = pair.place.file("damaged")
            unlink(raw)
            try write(
                signature + "\0" + String(repeating: "r", count: (8 << 20) - signature.utf8.count - 1), to: raw)
            if isRefused {
                try expectRefused(
                    [raw, target.address, "a.set", "--raw"],
                    signature == "PMEMPOOLSET" ? "no raw file" : "`pmempool sync`")
            } else {
                #expect(try target.run(["verify", raw, target.address, "a.set", "--raw"]).ending == .exited(2))
            }
        }
    }

    // MARK: Keys

    @Test func aRestrictedKeyReadsItsOwnPools() throws {
        let allowed = try target.run(
            ["verify"] + pair.words, environment: ["RPMEM_CMD": try restrictedCommand("a.set")])
        #expect(allowed.ending == .exited(0), "\(allowed)")
        let refused = try target.run(
            ["verify"] + pair.words, environment: ["RPMEM_CMD": try restrictedCommand("b.set")])
        #expect(refused.ending == .exited(1) && refused.errors.contains("restrict-to"), "\(refused)")
    }

    /// Without headers there is no SET_ATTR that the target could refuse, and a provider that refuses a WRITE gives no reason.
    @Test(arguments: ["tcp", "sockets"]) func aReadOnlyKeyThatWritesIsToldWhy(_ provider: String) throws {
        let raw = pair.place.file("raw")
        try write(String(repeating: "r", count: 8 << 20), to: raw)
        try target.addSet("bare.set", "OPTION NOHDRS", "16M @/bare")
        let part = "\(target.parts)/bare"
        try write("", to: part)
        #expect(truncate(part, 16 << 20) == 0)
        let outcome = try target.run(
            ["sync", raw, target.address, "bare.set", "--raw", "--to-target", "--yes", "--provider", provider],
            environment: ["RPMEM_CMD": "\(target.command) --permissions read-only"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("permissions = read-only ("), "\(outcome)")
    }

    /// A command that does with its arguments what sshd does with those of a restricted key.
    private func restrictedCommand(_ sets: String) throws -> String {
        let path = target.directory.file("restricted-\(sets)")
        try write(
            "#!/bin/sh\nSSH_ORIGINAL_COMMAND=\"rpmemd $*\" exec \(target.command) --restrict --restrict-to \(sets)\n",
            to: path, mode: 0o755)
        return path
    }
}
