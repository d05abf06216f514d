import Glibc
import TestSupport
import Testing

/// `make install` and `make uninstall`, below a DESTDIR.
@Suite(
    "make install", .enabled(if: unavailableReason == nil, Comment(rawValue: unavailableReason ?? "")))
struct MakeInstallTests {
    private let directory = TemporaryDirectory("rpmem-install")
    private var configuration: String { directory.file("etc/rpmemd/rpmemd.conf") }

    /// As root's sudo does it: no Swift in `PATH`.
    private func make(_ arguments: String...) throws -> Command {
        try Command(
            [
                "/usr/bin/make", "-C", Binaries.packageDirectory, "DESTDIR=\(directory.path)",
                "BUILD=\(releaseDirectory)",
            ] + arguments)
    }

    private func expectMake(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
        let outcome = try Command(
            [
                "/usr/bin/make", "-C", Binaries.packageDirectory, "DESTDIR=\(directory.path)",
                "BUILD=\(releaseDirectory)",
            ] + arguments)
        #expect(outcome.isSuccess, "\(outcome)", sourceLocation: sourceLocation)
    }

    /// All files, as paths below DESTDIR.
    private func installed() throws -> [String] {
        let outcome = try Command(["/usr/bin/find", directory.path, "-not", "-type", "d"])
        return outcome.output.split(separator: "\n").map { String($0.dropFirst(directory.path.count)) }.sorted()
    }

    @Test("installs what is built without a toolchain: the programs, the library, and what belongs to them")
    func installs() throws {
        try expectMake("install")
        let files = try installed()
        for file in [
            "bin/rpmemd", "bin/rpmemctl", "bin/rpmem-hello", "lib/librpmem.so.1", "lib/librpmem.so",
            "include/librpmem.h",
            "lib/pkgconfig/librpmem.pc", "lib/systemd/system/rpmemd@.service", "lib/udev/rules.d/60-rpmem.rules",
            "lib/sysusers.d/rpmem.conf", "lib/tmpfiles.d/rpmem.conf", "share/man/man1/rpmem-hello.1",
            "share/bash-completion/completions/rpmemctl",
        ] { #expect(files.contains("/usr/local/\(file)"), "\(file)") }
        #expect(files.contains("/etc/rpmemd/rpmemd.conf"))
        let outcome = try Command([directory.file("usr/local/bin/rpmemd"), "--version"])
        #expect(outcome.isSuccess, "\(outcome)")
        let unit = try Command([
            "/bin/grep", "ExecStart", directory.file("usr/local/lib/systemd/system/rpmemd@.service"),
        ])
        #expect(unit.output == "ExecStart=/usr/local/bin/rpmemd\n")
    }

    @Test("the daemon looks for its configuration where it is installed, whatever PREFIX is")
    func configurationPlace() throws {
        try expectMake("install", "PREFIX=/opt/rpmem")
        #expect(try installed().contains("/etc/rpmemd/rpmemd.conf"))
        #expect(try Command([Binaries.rpmemd, "--check-config"]).output.contains("# /etc/rpmemd/rpmemd.conf"))
    }

    @Test("keeps a configuration that was edited, puts the new one beside it, and says so")
    func keepsConfiguration() throws {
        try expectMake("install")
        try write("max-lanes = 7\n", to: configuration)
        let outcome = try make("install")
        #expect(outcome.isSuccess && outcome.output.contains("\(configuration) stays: it was edited"), "\(outcome)")
        #expect(try Command(["/bin/cat", configuration]).output == "max-lanes = 7\n")
        #expect(
            try Command([
                "/usr/bin/cmp", "\(configuration).new", "\(Binaries.packageDirectory)/config/rpmemd.conf",
            ]).isSuccess)
        // Nothing is left to say once somebody has taken the new one over.
        #expect(rename("\(configuration).new", configuration) == 0)
        #expect(try !make("install").output.contains("stays"))
        #expect(access("\(configuration).new", F_OK) != 0)
    }

    @Test("make uninstall removes every file", arguments: [[], ["PREFIX=/usr", "LIBDIR=/usr/lib/x86_64-linux-gnu"]])
    func uninstalls(variables: [String]) throws {
        for goal in ["install", "uninstall"] {
            let outcome = try Command(
                [
                    "/usr/bin/make", "-C", Binaries.packageDirectory, "DESTDIR=\(directory.path)",
                    "BUILD=\(releaseDirectory)", goal,
                ] + variables)
            #expect(outcome.isSuccess, "\(outcome)")
            let files = try installed()
            #expect(files.isEmpty == (goal == "uninstall"), "\(files)")
        }
    }

    @Test("make uninstall keeps a configuration that was edited")
    func uninstallKeepsConfiguration() throws {
        try expectMake("install")
        try write("max-lanes = 7\n", to: configuration)
        #expect(try make("uninstall").output.contains("\(configuration) stays: it was edited"))
        #expect(try installed() == ["/etc/rpmemd/rpmemd.conf"])
    }

    @Test("says what to do when nothing is built yet, and installs nothing")
    func nothingBuilt() throws {
        let outcome = try make("install", "BUILD=\(directory.path)/none")
        #expect(!outcome.isSuccess)
        #expect(outcome.errors.contains("is missing: build it first, as yourself: make"), "\(outcome)")
        #expect(try installed().isEmpty)
    }
}

/// Where `make` leaves the release.
private let releaseDirectory = "\(Binaries.packageDirectory)/.build/release"

private let unavailableReason: String? = {
    if Sanitizer.isOn { return "it is about the release build" }
    for name in ["rpmemd", "rpmemctl", "rpmem-hello", "librpmem.so"]
    where access("\(releaseDirectory)/\(name)", F_OK) != 0 { return "\(releaseDirectory) has no \(name): make" }
    for program in ["/usr/bin/make", "/usr/bin/strip"] where access(program, X_OK) != 0 {
        return "\(program) is missing: apt-get install make binutils"
    }
    return nil
}()
