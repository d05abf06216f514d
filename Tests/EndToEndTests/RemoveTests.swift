import CLinux
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// `rpmemd --remove` as `rpmem_remove` runs it: nothing on standard output, and an errno for an exit status.
@Suite struct RemoveTests {
    /// Runs it to its end.
    private func remove(
        _ set: String, _ options: String..., on target: Target
    ) throws -> (status: ChildProcess.Ending?, session: Session) {
        let session = try target.session(
            with: [Binaries.rpmemd, "--config", target.configuration, "--remove", set] + options)
        let (output, ending) = try session.end()
        #expect(output == [])
        return (ending, session)
    }

    private func madePool(_ lines: [String] = ["20M %/part0", "20M %/part1"]) throws -> Target {
        let target = try Target()
        try write(
            "PMEMPOOLSET\n" + lines.map { $0.replacing("%", with: target.parts) + "\n" }.joined(),
            to: "\(target.sets)/one.set")
        try target.makePool("one.set")
        return target
    }

    @Test func removesThePartsAndKeepsTheSet() throws {
        let target = try madePool()
        let (ending, session) = try remove("one.set", on: target)
        #expect(ending == .exited(0))
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
        #expect(TemporaryDirectory.entries(of: target.sets) == ["one.set"])
        #expect(session.process.errorText == "")
        let notices = try session.messages("notice")
        #expect(notices.count == 2, "\(notices)")
        #expect(
            notices.first?.hasSuffix(", pool set one.set") == true
                && notices.first?.contains("REMOVE request: user ") == true)
        #expect(notices.last?.hasPrefix("pool one.set removed, after ") == true)
        // The remaining set can be used again.
        try target.makePool("one.set")
        try target.expectOpens("one.set")
    }

    @Test(arguments: ["--pool-set", "-s", "--pool-"]) func removesTheSetFileToo(_ option: String) throws {
        let target = try madePool()
        #expect(try remove("one.set", option, on: target).status == .exited(0))
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
        #expect(TemporaryDirectory.entries(of: target.sets) == [])
    }

    @Test func aPlainFileIsRemovedItself() throws {
        let target = try Target()
        try target.addPart("plain", megabytes: 40)
        rename("\(target.parts)/plain", "\(target.sets)/plain")
        try target.makePool("plain")
        #expect(try remove("plain", on: target).status == .exited(0))
        #expect(TemporaryDirectory.entries(of: target.sets) == [])
    }

    @Test(arguments: ["buy milk\n", "", "PMEMPOLSET\n20M /srv/part\n", String(repeating: "\0", count: 4096)])
    func aFileThatIsNoPoolIsKept(_ contents: String) throws {
        let target = try Target()
        mkdir("\(target.sets)/.ssh", 0o700)
        try write(contents, to: "\(target.sets)/.ssh/authorized_keys")
        let before = target.files()
        for options in [[], ["--force"], ["--force", "--pool-set"]] {
            let session = try target.session(
                with: [Binaries.rpmemd, "--config", target.configuration, "--remove", ".ssh/authorized_keys"] + options)
            #expect(try session.end().ending == .exited(EINVAL))
            try session.expectOneError(
                "\(target.sets)/.ssh/authorized_keys", "no pool header", "nothing is removed", "name a pool set file")
        }
        #expect(target.files() == before)
    }

    /// One file that is no part keeps the removal from all others.
    @Test func aPartThatIsNoneKeepsThePool() throws {
        let target = try madePool()
        unlink("\(target.parts)/part1")
        try write("notes", to: "\(target.parts)/part1")
        let before = target.files()
        let (ending, session) = try remove("one.set", "--force", on: target)
        #expect(ending == .exited(EINVAL))
        try session.expectOneError("one.set:3", "\(target.parts)/part1 has 5 bytes", "the set says 20971520")
        #expect(target.files() == before)
    }

    /// The header page is in the memory that an initiator may write to.
    @Test(arguments: ["PMEMPOOLSET\n20M /etc/passwd\n", "garbage"])
    func aHeaderThatItsInitiatorWroteOverKeepsNoPool(_ text: String) throws {
        let target = try Target()
        for isRemoved in [true, false] {
            try target.addPart("plain", megabytes: 40)
            rename("\(target.parts)/plain", "\(target.sets)/plain")
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.create("plain", .sample, size: 32 << 20, lanes: 1))
            let client = try LaneClient(.sockets, lanes)
            let bytes = Array(text.utf8)
            let answer = try client[0].persist(.inline, at: 0, size: UInt64(bytes.count), data: bytes)
            #expect(answer == PersistResponse(lane: 0))
            client.shutDown()
            try session.close(isRemoved ? .remove : [])
            #expect(TemporaryDirectory.entries(of: target.sets) == (isRemoved ? [] : ["plain"]))
        }
        let (ending, session) = try remove("plain", "--force", on: target)
        #expect(ending == .exited(EINVAL))
        try session.expectOneError("no valid pool header", "removed with `rm '\(target.sets)/plain'`")
        #expect(TemporaryDirectory.entries(of: target.sets) == ["plain"])
    }

    @Test func noSuchSet() throws {
        let target = try Target()
        let (ending, session) = try remove("no.set", on: target)
        #expect(ending == .exited(ENOENT))
        try session.expectOneError("removing no.set", "\(target.sets)/no.set", "no such pool set")
        #expect(try remove("no.set", "--force", on: target).status == .exited(0))
    }

    @Test(arguments: ["/etc/passwd", "../one.set", "a/../../one.set", ""]) func aBadDescriptor(_ set: String) throws {
        let target = try madePool()
        let before = target.files()
        for options in [[], ["--force"]] {
            let session = try target.session(
                with: [Binaries.rpmemd, "--config", target.configuration, "--remove", set] + options)
            let (output, ending) = try session.end()
            #expect(ending == .exited(EBADF))
            #expect(output == [])
            try session.expectOneError("--remove")
        }
        #expect(target.files() == before)
    }

    @Test func aLinkThatLeadsOut() throws {
        let target = try madePool()
        rename("\(target.sets)/one.set", "\(target.path)/one.set")
        symlink("\(target.path)/one.set", "\(target.sets)/one.set")
        let before = target.files()
        #expect(try remove("one.set", "--force", "--pool-set", on: target).status == .exited(EBADF))
        #expect(target.files() == before)
    }

    @Test func aPoolInUseIsLeftWhole() throws {
        let target = try madePool()
        let holder = try target.session().ready()
        _ = try holder.pool(.open("one.set"))
        let before = target.files()
        for options in [[], ["--force"], ["--force", "--pool-set"]] {
            let session = try target.session(
                with: [Binaries.rpmemd, "--config", target.configuration, "--remove", "one.set"] + options)
            #expect(try session.end().ending == .exited(EAGAIN))
            try session.expectOneError("in use", "\(holder.process.identifier)")
        }
        #expect(target.files() == before)
        try holder.close()
        #expect(try remove("one.set", on: target).status == .exited(0))
    }

    @Test func aMissingPartIsAnErrorButTheOthersGo() throws {
        let target = try madePool()
        unlink("\(target.parts)/part0")
        let (ending, session) = try remove("one.set", on: target)
        #expect(ending == .exited(ENOENT))
        try session.expectOneError("part0", "no such part")
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }

    @Test func aMissingPartIsPassedOverByForce() throws {
        let target = try madePool()
        unlink("\(target.parts)/part1")
        #expect(try remove("one.set", "--force", on: target).status == .exited(0))
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func whatCannotBeRemovedIsNamed() throws {
        let target = try Target()
        mkdir("\(target.parts)/locked", 0o755)
        try target.addSet("one.set", "20M %/locked/part0", "20M %/part1")
        try target.makePool("one.set")
        for path in ["\(target.parts)/locked/part0", "\(target.parts)/part1", "\(target.sets)/one.set"] {
            chown(path, 65534, 65534)
        }
        chmod(target.parts, 0o777)
        chmod(target.logFile, 0o666)
        let session = try target.sessionOfNobody("--remove", "one.set", "--pool-set")
        let (output, ending) = try session.end()
        #expect(output == [])
        #expect(ending == .exited(EACCES))
        try session.expectOneError("not removed", "\(target.parts)/locked/part0 (Permission denied)")
        #expect(TemporaryDirectory.entries(of: target.parts) == ["locked"])
        // The set stays: it names the parts that are left.
        #expect(TemporaryDirectory.entries(of: target.sets) == ["one.set"])
    }

    @Test func badConfiguration() throws {
        let target = try madePool()
        try target.configure(["no-such-key = 1"])
        let before = target.files()
        let (ending, session) = try remove("one.set", on: target)
        #expect(ending == .exited(EINVAL))
        #expect(session.process.errorText.contains("rpmemd.conf:4"))
        #expect(target.files() == before)
    }

    @Test func usageErrors() throws {
        let target = try madePool()
        let before = target.files()
        for arguments in [["--remove"], ["--remove", "one.set", "surplus"], ["--remove", "one.set", "--frce"]] {
            let session = try target.session(
                with: [Binaries.rpmemd, "--config", target.configuration] + arguments)
            let (output, ending) = try session.end()
            #expect(ending == .exited(255))
            // rpmem_remove reads no initial status.
            if arguments.count > 1 { #expect(output == []) }
            #expect(session.process.errorText.hasPrefix("rpmemd: "))
        }
        #expect(target.files() == before)
    }
}
