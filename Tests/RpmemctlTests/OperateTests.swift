import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `list`, `info`, `check` and `remove` on a target behind a real sshd, with real daemons.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct OperateTests {
    let target: OperatedTarget

    init() throws { target = try OperatedTarget() }

    // MARK: States

    @Test func aCleanPool() throws {
        try target.makePool()
        let before = target.files()
        let (report, outcome) = try target.check()
        #expect(outcome.ending == .exited(0) && report.findings == [] && report.pool.state == .clean)
        let info = try target.run("info", target.address, "a.set", "--json").document(PoolInfoReport.self)
        #expect(info.parts.count == 3 && info.parts.allSatisfy { $0.header?.checksumValid == true })
        #expect(info.pool.signature == "OPERATED" && info.pool.usableSize == UInt64(24 << 20) - 8192)
        #expect(info.shutdownState?.dirty == false && info.mapping != nil)
        let text = try target.run("info", target.address, "a.set").output
        #expect(text.contains("a.set: clean") && text.contains("\((24 << 20) - 8192) bytes"), "\(text)")
        #expect(target.files() == before)
    }

    @Test func aPoolInUseAndThenDirty() throws {
        try target.makePool()
        let session = try target.hold()
        let list = try target.run("list", target.address, "--json").document(PoolListReport.self)
        #expect(list.pools.map(\.state) == [.inUse])
        let holder = try #require(list.pools[0].holder)
        #expect(holder.command == "rpmemd" && holder.user != nil)
        var (report, outcome) = try target.check("a.set", "--repair", "--yes")
        #expect(outcome.ending == .exited(0) && report.findings.map(\.code) == ["in-use"] && !report.repaired)
        let refused = try target.run("remove", target.address, "a.set", "--yes")
        #expect(refused.ending == .exited(1) && refused.errors.contains("in use by process \(holder.process)"))
        // Killed, so that it cannot close the pool.
        kill(holder.process, SIGKILL)
        session.signal(SIGKILL)
        _ = try session.wait()
        let deadline = Deadline.after(milliseconds: 60_000)
        repeat { (report, outcome) = try target.check() } while report.pool.state == .inUse && !deadline.hasPassed
        #expect(outcome.ending == .exited(0) && report.findings.map(\.code) == ["dirty"])
        #expect(report.pool.state == .dirty)
    }

    /// A local pool of libpmemobj, which no session made.
    @Test(.enabled(if: access("/usr/bin/pmempool", X_OK) == 0, "apt-get install pmdk-tools"))
    func aPoolOfAnotherProgram() throws {
        try makeObjectPool()
        let before = target.files()
        let (report, outcome) = try target.check("obj.set")
        #expect(outcome.ending == .exited(0) && report.pool.signature == "PMEMOBJ", "\(outcome)")
        #expect(report.pool.state == .clean && report.findings == [], "\(report.findings)")
        #expect(target.files() == before)
    }

    /// A pool of libpmemobj in the set obj.set.
    private func makeObjectPool() throws {
        try target.addSet("obj.set", "16M @/obj0", "16M @/obj1")
        _ = try pmempool("create", "obj", "--layout", "x", "\(target.sets)/obj.set")
    }

    private func pmempool(_ arguments: String...) throws -> String {
        let tool = try ChildProcess(["/usr/bin/pmempool"] + arguments, environment: ["PATH": "/usr/bin:/bin"])
        let output = try tool.finish(within: 60)
        #expect(try tool.wait() == .exited(0), "\(tool.errorText)")
        return output
    }

    /// Log, `rpmemctl info` and `pmempool info` write one pool's id alike.
    @Test(.enabled(if: access("/usr/bin/pmempool", X_OK) == 0, "apt-get install pmdk-tools"))
    func thePoolIdIsWrittenAlikeEverywhere() throws {
        try makeObjectPool()
        let session = try target.hold("obj.set")
        session.signal(SIGKILL)
        _ = try session.wait()
        let log = String(
            decoding: try readFile(Descriptor.open(target.log, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        let logged = try #require(log.firstMatch(of: /OPEN done: .*, pool id ([0-9a-f-]{36}),/)?.1, "\(log)")
        let info = try target.run("info", target.address, "obj.set")
        #expect(info.output.contains(" \(logged)\n"), "\(logged): \(info)")
        let document = try target.run("info", target.address, "obj.set", "--json").document(PoolInfoReport.self)
        #expect(document.pool.poolSetUUID == String(logged))
        let printed = try pmempool("info", "\(target.parts)/obj0")
        #expect(printed.contains("Pool set UUID            : \(logged)\n"), "\(logged): \(printed)")
    }

    // MARK: Repair

    @Test(arguments: [4090, 3, 75, 60], ["a0", "a1", "a2"])
    func damageWithOneRightAnswerIsRepaired(_ offset: Int, _ part: String) throws {
        try target.makePool()
        try target.damage(part, at: offset)
        var (report, outcome) = try target.check()
        #expect(outcome.ending == .exited(2) && report.pool.state == .damaged)
        #expect(report.findings.map(\.code) == ["header-checksum"] && report.findings[0].repair != nil)
        // Without --yes, and without a terminal.
        var before = target.files()
        let refused = try target.run("check", target.address, "a.set", "--repair")
        #expect(refused.ending == .exited(3) && refused.errors.contains("add --yes"))
        #expect(target.files() == before)
        (report, outcome) = try target.check("a.set", "--repair", "--yes")
        #expect(outcome.ending == .exited(0) && report.repaired && report.findings == [])
        #expect(report.repairs.count == 1 && report.repairs[0].hasPrefix("\(target.parts)/\(part): renew "))
        #expect(outcome.errors.contains("to repair: \(target.parts)/\(part): renew "))
        try target.expectOpens()
        before = target.files()
        #expect(try target.check("a.set", "--repair", "--yes").0.repaired == false)
        #expect(target.files() == before)
        let log = String(decoding: try readFile(Descriptor.open(target.log, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        #expect(log.contains("pool a.set repaired: \(target.parts)/\(part)"))
    }

    @Test(arguments: ["missing", "truncated", "larger", "cleared", "not a pool", "pool set uuid", "swapped", "invalid"])
    func damageWithoutOneRightAnswerIsLeft(_ damage: String) throws {
        try target.makePool()
        let part = "\(target.parts)/a1"
        var code: String
        switch damage {
        case "missing":
            unlink(part)
            code = "part-missing"
        case "truncated":
            truncate(part, 5 << 20)
            code = "part-size"
        case "larger":
            truncate(part, 9 << 20)
            code = "part-size"
        case "cleared":
            truncate(part, 0)
            truncate(part, 8 << 20)
            code = "header-zero"
        case "not a pool":
            try write(String(repeating: "a letter ", count: 1 << 20), to: part)
            truncate(part, 8 << 20)
            code = "header-checksum"
        case "pool set uuid":
            try target.damage("a1", at: 24)
            code = "header-checksum"
        case "swapped":
            rename(part, "\(target.parts)/a")
            rename("\(target.parts)/a2", part)
            rename("\(target.parts)/a", "\(target.parts)/a2")
            code = "ring-order"
        default:
            try target.addSet("a.set", "8M @/a0", "REPLICA")
            code = "set-invalid"
        }
        let before = target.files()
        let (report, outcome) = try target.check("a.set", "--repair", "--yes")
        #expect(outcome.ending == .exited(2))
        #expect(report.findings.map(\.code) == [code], "\(report.findings)")
        #expect(report.findings.allSatisfy { $0.repair == nil && $0.remedy != nil } && !report.repaired)
        #expect(target.files() == before)
        let text = try target.run("check", target.address, "a.set").output
        #expect(text.contains("[\(code)]") && text.contains("to do: "), "\(text)")
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func aPartThatMayNotBeRead() throws {
        try target.makePool()
        let copy = target.directory.file("rpmemd")
        let program = try readFile(try Descriptor.open(Binaries.rpmemd, O_RDONLY), limit: 1 << 30)
        do {
            // Closed before it is run.
            let file = try Descriptor.open(copy, O_WRONLY | O_CREAT, mode: 0o755)
            try writeAll(program, to: file.number)
        }
        let command =
            "setpriv --reuid=65534 --regid=65534 --clear-groups \(copy) --config \(target.directory.file("conf"))"
        let outcome = try target.run(
            ["check", target.address, "a.set", "--json"], environment: ["RPMEM_CMD": command])
        let report = try outcome.document(PoolCheckReport.self)
        #expect(outcome.ending == .exited(2) && report.pool.state == .unknown)
        #expect(report.findings.map(\.code) == ["part-unusable", "part-unusable", "part-unusable"])
        #expect(report.findings[0].message.contains("Permission denied"))
    }

    // MARK: List

    @Test func theListHasEachPoolWithItsState() throws {
        try target.makePool("a.set")
        try target.makePool("b.set")
        try target.damage("b1", at: 0)
        try target.addSet("c.set", "8M @/c0")
        try target.addSet("d.set", "8M @/d0", "REPLICA")
        try write("buy milk\n", to: "\(target.sets)/notes")
        let before = target.files()
        let report = try target.run("list", target.address, "--json").document(PoolListReport.self)
        #expect(report.version == 1 && report.directory == target.sets && !report.truncated)
        #expect(report.pools.map(\.name) == ["a.set", "b.set", "c.set", "d.set"])
        #expect(report.pools.map(\.state) == [.clean, .damaged, .empty, .invalid])
        #expect(report.pools[1].problem?.contains("\(target.parts)/b1") == true)
        let text = try target.run("list", target.address).output
        let lines = text.split(separator: "\n")
        #expect(lines[0].hasPrefix("NAME ") && lines[1].contains("24 MiB") && !text.contains("\u{1b}"))
        #expect(target.files() == before)
        // On the target itself.
        #expect(try target.run("list").output == text)
    }

    @Test func namesOfHostileFilesMakeNoTerminalSequences() throws {
        try target.addSet("evil\u{1b}[31m\n.set", "8M @/\u{1b}]0;x\u{7}", "REPLICA")
        for outcome in [try target.run("list", target.address), try target.run("list", target.address, "--json")] {
            #expect(outcome.ending == .exited(0))
            #expect(!outcome.output.contains("\u{1b}") && !outcome.output.contains("\u{7}"))
        }
    }

    // MARK: Remove

    @Test func removalIsShownAskedForAndDone() throws {
        try target.makePool()
        let before = target.files()
        let dry = try target.run("remove", target.address, "a.set", "--pool-set", "--dry-run", "--json")
        var report = try dry.document(PoolRemovalReport.self)
        #expect(dry.ending == .exited(0) && !report.removed)
        #expect(
            report.files.map(\.path)
                == ["a2", "a1", "a0"].map { "\(target.parts)/\($0)" } + ["\(target.sets)/a.set"])
        let unasked = try target.run("remove", target.address, "a.set")
        #expect(unasked.ending == .exited(3) && unasked.output.contains("remove \(target.parts)/a2 (8 MiB)"))
        #expect(target.files() == before)
        report = try target.run("remove", target.address, "a.set", "--pool-set", "--yes", "--json").document(
            PoolRemovalReport.self)
        #expect(report.removed && target.files() == [:])
    }

    @Test func aMissingPartIsShown() throws {
        try target.makePool()
        unlink("\(target.parts)/a1")
        let outcome = try target.run("remove", target.address, "a.set", "--dry-run")
        #expect(outcome.output.contains("missing already: \(target.parts)/a1"))
    }

    // MARK: Failures

    @Test func aSetThatIsMissing() throws {
        for command in ["info", "check", "remove"] {
            let outcome = try target.run(
                [command, target.address, "none.set"] + (command == "remove" ? ["--dry-run"] : []))
            #expect(outcome.ending == .exited(1) && outcome.output == "")
            #expect(outcome.errors.contains("\(target.sets)/none.set: no such pool set"), "\(outcome.errors)")
        }
    }

    @Test(arguments: ["../a.set", "/etc/passwd"]) func aSetOutside(_ name: String) throws {
        let outcome = try target.run("info", target.address, name)
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("poolset-dir"), "\(outcome.errors)")
    }

    /// PMDK's daemon and getopt(3) write this, and exit(-1).
    @Test(arguments: [["list"], ["info", "a.set"], ["check", "a.set"], ["remove", "a.set", "--yes"]])
    func aStockTargetSaysSo(_ words: [String]) throws {
        let stock = target.directory.file("stock")
        try write(
            """
            #!/bin/sh
            echo "rpmemd: unrecognized option '$1'" >&2
            echo "usage: rpmemd [--version] [--help] [<args>]" >&2
            exit 255

            """, to: stock, mode: 0o755)
        let outcome = try target.run(
            [words[0], target.address] + words.dropFirst(), environment: ["RPMEM_CMD": stock])
        #expect(outcome.ending == .exited(1) && outcome.output == "")
        #expect(outcome.errors.contains("it is PMDK's, or an older one of this project"), "\(outcome.errors)")
    }

    @Test func aTargetWithoutRpmemd() throws {
        let outcome = try target.run(["list", target.address], environment: ["RPMEM_CMD": "/nowhere/rpmemd"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("install rpmemd"), "\(outcome.errors)")
    }

    /// A forced command of authorized_keys may serve a session, or refuse the account.
    @Test(arguments: ["list", "remove --yes"]) func aForcedCommand(_ command: String) throws {
        let words = command.split(separator: " ").map(String.init)
        let arguments = words + [target.address] + (words[0] == "list" ? [] : ["a.set"])
        let served = try target.run(arguments, environment: ["RPMEM_CMD": "\(target.command); exit 1; true"])
        #expect(
            served.ending == .exited(1) && served.errors.contains("a session was served instead"), "\(served.errors)")
        #expect(served.errors.contains("run rpmemctl on the target"), "\(served.errors)")
        let refused = try target.run(arguments, environment: ["RPMEM_CMD": "echo No login here; exit 1; true"])
        #expect(
            refused.ending == .exited(1) && refused.errors.contains("it printed \"No login here"), "\(refused.errors)")
    }

    /// Programs that do nothing, successfully or not.
    @Test(arguments: ["/bin/true", "/bin/false"], [[], ["--dry-run"], ["--yes"]])
    func aCommandThatDoesNothingRemovesNothing(_ program: String, _ options: [String]) throws {
        try target.makePool()
        let before = target.files()
        for variable in ["RPMEM_SSH", "RPMEM_CMD"] {
            let outcome = try target.run(
                ["remove", target.address, "a.set"] + options, environment: [variable: program])
            #expect(outcome.ending == .exited(1) && !outcome.errors.isEmpty, "\(outcome)")
            #expect(!outcome.output.contains("Removed"), "\(outcome)")
        }
        #expect(target.files() == before)
    }

    @Test(arguments: ["echo noise", "echo '{\"version\":1}'", "head -c 4 /dev/zero"])
    func anAnswerThatIsNoDocument(_ command: String) throws {
        let outcome = try target.run(["list", target.address], environment: ["RPMEM_CMD": "\(command); true"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("document"), "\(outcome.errors)")
    }

    @Test func aNewerDocumentIsRefused() throws {
        let outcome = try target.run(
            ["list", target.address], environment: ["RPMEM_CMD": "echo '{\"version\":2,\"command\":\"list\"}'; true"])
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("version 2"), "\(outcome.errors)")
    }

    @Test func linesOfALoginShellBeforeTheDocumentArePassedOver() throws {
        try target.makePool()
        let outcome = try target.run(
            ["list", target.address], environment: ["RPMEM_CMD": "echo Welcome; \(target.command)"])
        #expect(outcome.ending == .exited(0) && outcome.output.contains("a.set"))
    }
}
