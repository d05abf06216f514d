import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// Numbers of the kernel's interface that the source has, or takes for the same everywhere, against the headers of each architecture
/// that a session is confined on.
@Suite struct ArchitectureTests {
    /// Headers of an architecture, and what names it in them.
    private static let architectures = [
        ("/usr/include/x86_64-linux-gnu", "AUDIT_ARCH_X86_64"),
        ("/usr/aarch64-linux-gnu/include", "AUDIT_ARCH_AARCH64"),
    ]

    /// What the source says, and what the headers have to say.
    private static let equations: [(String, String)] = [
        ("444", "__NR_landlock_create_ruleset"), ("445", "__NR_landlock_add_rule"),
        ("446", "__NR_landlock_restrict_self"), ("450", "__NR_set_mempolicy_home_node"),
        ("1 << 1", "LANDLOCK_ACCESS_FS_WRITE_FILE"), ("1 << 2", "LANDLOCK_ACCESS_FS_READ_FILE"),
        ("1 << 3", "LANDLOCK_ACCESS_FS_READ_DIR"), ("1 << 5", "LANDLOCK_ACCESS_FS_REMOVE_FILE"),
        ("1 << 8", "LANDLOCK_ACCESS_FS_MAKE_REG"), ("20", "NETLINK_RDMA"),
        ("8", "F_SETOWN"), ("10", "F_SETSIG"), ("15", "F_SETOWN_EX"), ("1024", "F_SETLEASE"),
        ("0x8901", "FIOSETOWN"), ("0x8902", "SIOCSPGRP"), ("0x5412", "TIOCSTI"), ("0x541c", "TIOCLINUX"),
        (
            "0x7e020000",
            "(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)"
        ),
    ]

    /// The calls of ``ConfinedCalls``: those of every architecture, and those that only x86-64 has.
    private func calls() throws -> (common: Set<String>, older: Set<String>) {
        let path = "\(Binaries.packageDirectory)/Sources/RpmemTarget/Session/ConfinedCalls.swift"
        let text = String(decoding: try readFile(try Descriptor.open(path, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        func names(_ text: Substring) -> Set<String> { Set(text.matches(of: /SYS_(\w+)/).map { String($0.1) }) }
        let block = try #require(text.firstMatch(of: /(?s)#if arch\(x86_64\)(.*?)#else/))
        let older = names(block.1)
        return (names(text[..<block.range.lowerBound]).union(names(text[block.range.upperBound...])), older)
    }

    @Test(
        arguments: architectures.filter { access("\($0.0)/asm/unistd.h", R_OK) == 0 })
    func numbersAreThoseOfTheHeaders(_ headers: String, _ architecture: String) throws {
        let (common, older) = try calls()
        #expect(common.count > 100 && older.count > 10)
        let isX86 = architecture == "AUDIT_ARCH_X86_64"
        var lines = ["asm/unistd.h", "asm/sockios.h", "asm/ioctls.h", "asm/fcntl.h", "linux/fcntl.h", "linux/sched.h"]
            .map { "#include <\($0)>" }
        lines += ["linux/audit.h", "linux/landlock.h", "linux/netlink.h"].map { "#include <\($0)>" }
        lines += ["#ifndef \(architecture)", "#error no such architecture", "#endif"]
        for name in common.union(isX86 ? older : []).sorted() {
            lines += ["#ifndef __NR_\(name)", "#error no system call \(name)", "#endif"]
        }
        lines += Self.equations.map { "_Static_assert((\($0.0)) == (\($0.1)), \"\($0.1)\");" }
        let directory = TemporaryDirectory()
        let source = directory.file("numbers.c")
        try write(lines.map { $0 + "\n" }.joined(), to: source)
        // The headers of the kernel alone, which name no compiler.
        let compiler = try ChildProcess(
            ["\(Tools.directory)/gcc", "-fsyntax-only", "-nostdinc", "-isystem", headers]
                + (isX86 ? ["-isystem", "/usr/include"] : []) + [source], environment: ["PATH": Tools.searchPath])
        #expect(try compiler.wait() == .exited(0), "\(compiler.errorText)")
    }
}
