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
        #expect(try session.messages("notice") == ["pool one.set removed"])
        // What is left can be used again.
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
        // The set says where what is left lies.
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
