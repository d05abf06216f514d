import Glibc
import SystemSupport
import TestSupport
import Testing

/// Each exit status that rpmemctl(1) lists, by a command that ends with it.
@Suite(
    "exit statuses of rpmemctl",
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct ExitStatusTests {
    /// What makes the status; nil where another test does: `RpmemctlTests.anInterruptedBenchLeavesNothing` sends the signals.
    private static let commands: [Int32: [String]?] = [
        0: ["check", "@", "a.set"],
        1: ["info", "@", "none.set"],
        2: ["check", "@", "damaged.set"],
        3: ["remove", "@", "a.set"],
        64: ["list", "--no-such-option"],
        128 + SIGHUP: nil, 128 + SIGINT: nil, 128 + SIGTERM: nil,
    ]

    @Test("are those of the page") func pageListsThem() throws {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/rpmemctl.1", O_RDONLY)
        let page = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        let section = try #require(page.firstMatch(of: /(?s)\.SH EXIT STATUS\n(.*?)\n\.SH/)?.1)
        let listed = section.matches(of: /(?m)^\.TP\n\.BR? (.*)$/).flatMap {
            $0.1.matches(of: /\d+/).map { String($0.0) }
        }
        #expect(Set(listed) == Set(Self.commands.keys.map { "\($0)" }) && listed.count == Self.commands.count)
    }

    @Test("happen") func commandsEndSo() throws {
        let target = try OperatedTarget()
        try target.makePool()
        try target.makePool("damaged.set")
        unlink("\(target.parts)/damaged1")
        for (status, command) in Self.commands.sorted(by: { $0.key < $1.key }) {
            guard let command else { continue }
            let outcome = try target.run(command.map { $0 == "@" ? target.address : $0 })
            #expect(outcome.ending == .exited(status), "\(command): \(outcome)")
            // An error is described, and so is what keeps somebody from having agreed.
            #expect(outcome.errors.isEmpty == (status == 0 || status == 2), "\(command): \(outcome)")
        }
    }

    /// A script that writes to a full disk would take what is there for a whole document.
    @Test("tell of output that cannot be written") func aFullDisk() throws {
        let target = try OperatedTarget()
        try target.makePool()
        let commands = [
            "list", "list --json", "info a.set", "info a.set --json", "check a.set", "check a.set --json", "status",
            "status --json", "metrics", "remove a.set --dry-run", "remove a.set --dry-run --json",
            "--help", "help list", "list --help", "--version", "--generate-completion-script=bash",
        ]
        for command in commands {
            let outcome = try target.shell("rpmemctl \(command) >/dev/full")
            #expect(outcome.ending == .exited(1), "\(command): \(outcome)")
            #expect(
                outcome.errors.contains("standard output: write: No space left on device"), "\(command): \(outcome)")
        }
    }

    /// The dynamic linker ends with 127, as a shell that finds no command does.
    @Test("tell a library that cannot be used from a command that is not there") func aBrokenLibrary() throws {
        let target = try OperatedTarget()
        let libraries = target.directory.file("lib")
        mkdir(libraries, 0o755)
        try write("no library", to: "\(libraries)/libpmem2.so.1")
        let outcome = try target.run(
            ["list", target.address], environment: ["RPMEM_CMD": "LD_LIBRARY_PATH=\(libraries) \(Binaries.rpmemd)"])
        let remedy = "remove \(libraries)/libpmem2.so.1, or take its directory out of LD_LIBRARY_PATH there"
        #expect(
            outcome.ending == .exited(1) && outcome.errors.contains(remedy)
                && !outcome.errors.contains("no such command"), "\(outcome)")
    }
}
