import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// What is in the packages of `make deb`, and what they say about themselves.
@Suite(
    "Debian packages",
    .enabled(
        if: BuiltPackages.unavailableReason == nil, Comment(rawValue: BuiltPackages.unavailableReason ?? "")))
struct PackageContentsTests {
    private func field(_ name: String, of package: String) throws -> String {
        let outcome = try Command(["/usr/bin/dpkg-deb", "--field", BuiltPackages.file(package), name])
        #expect(outcome.isSuccess, "\(outcome)")
        return outcome.output.trimming("\n")
    }

    private func dependencies(of package: String) throws -> [String] {
        try field("Depends", of: package).split(separator: ", ").map(String.init)
    }

    /// Paths of files, without the leading dot.
    private func files(of package: String) throws -> Set<String> {
        let outcome = try Command(["/usr/bin/dpkg-deb", "--contents", BuiltPackages.file(package)])
        #expect(outcome.isSuccess, "\(outcome)")
        // Mode, owner, size, date, time, path, and where a link leads.
        let paths = outcome.output.split(separator: "\n").compactMap { line in
            line.split(separator: " ", omittingEmptySubsequences: true).dropFirst(5).first.map {
                String($0.dropFirst())
            }
        }
        return Set(paths.filter { !$0.hasSuffix("/") })
    }

    @Test("lintian finds neither errors nor warnings", .enabled(if: hasLintian, "apt-get install lintian"))
    func lintian() throws {
        // The one that only an upload to Debian could satisfy.
        let outcome = try Command(
            [
                "/usr/bin/lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags",
                "initial-upload-closes-no-bugs",
            ] + BuiltPackages.names.map(BuiltPackages.file))
        #expect(outcome.isSuccess, "\(outcome)")
    }

    @Test("have the project's version, behind an epoch", arguments: BuiltPackages.names)
    func version(package: String) throws {
        #expect(try field("Version", of: package) == "1:\(projectVersion)-1")
    }

    /// Debian 11 had librpmem1 1.10-2+deb11u1; PMDK 1.12.1 is the last release that had the library.
    @Test("are newer than PMDK's packages of the same names", arguments: ["1.10-2+deb11u1", "1.12.1-2"])
    func ordering(older: String) throws {
        let version = try field("Version", of: "librpmem1")
        #expect(try Command(["/usr/bin/dpkg", "--compare-versions", version, "gt", older]).isSuccess)
    }

    @Test("name libfabric1, which no tool finds in the programs", arguments: ["rpmemd", "librpmem1", "rpmemctl"])
    func needLibfabric(package: String) throws {
        #expect(try dependencies(of: package).contains { $0 == "libfabric1" })
    }

    @Test("name libssl3, which is opened for digests alone", arguments: ["rpmemd", "rpmemctl"])
    func needLibcrypto(package: String) throws {
        #expect(try dependencies(of: package).contains { $0.prefix { $0 != " " } == "libssl3" })
    }

    @Test("name the libraries that the daemon is linked with, and ssh on each side")
    func otherDependencies() throws {
        let daemon = try dependencies(of: "rpmemd").map { $0.prefix { $0 != " " } }
        for library in ["libpmem1", "libpmem2", "libndctl6", "libdaxctl1", "libsystemd0", "libc6", "libstdc++6"] {
            #expect(daemon.contains { $0 == library }, "\(library)")
        }
        #expect(try field("Recommends", of: "rpmemd") == "openssh-server")
        for package in ["librpmem1", "rpmemctl"] {
            #expect(try dependencies(of: package).contains("openssh-client | ssh-client"))
        }
        #expect(try dependencies(of: "librpmem-dev") == ["librpmem1 (= 1:\(projectVersion)-1)"])
    }

    /// `DEBFULLNAME` and `DEBEMAIL`, as for Debian's own tools; or a placeholder that is no address of anybody.
    @Test(
        "name who built them",
        arguments: [
            (["DEBFULLNAME": "Ada O'Neil", "DEBEMAIL": "ada@example.org"], "Ada O'Neil <ada@example.org>"),
            (["DEBEMAIL": "Ada O'Neil <ada@example.org>"], "Ada O'Neil <ada@example.org>"),
            (["DEBEMAIL": "ada@example.org"], "ada@example.org <ada@example.org>"),
            (["DEBFULLNAME": "Ada"], ""), ([:], ""),
        ])
    func maintainer(environment: [String: String], expected: String) throws {
        let rules = "\(Binaries.packageDirectory)/debian/rules"
        let command = try Command(
            ["/usr/bin/make", "-s", "-f", rules, "--eval=show: ; @printenv MAINTAINER || true", "show"],
            environment: environment)
        #expect(command.output.trimming("\n") == expected, "\(command)")
        for package in BuiltPackages.names {
            let name = try field("Maintainer", of: package)
            // That of the environment in which `make deb` ran.
            if getenv("DEBEMAIL") == nil { #expect(name == "The rpmemd authors <maintainers@rpmemd.invalid>") }
        }
    }

    @Test("mark the configuration as the administrator's")
    func configurationFiles() throws {
        let outcome = try Command(["/usr/bin/dpkg-deb", "--info", BuiltPackages.file("rpmemd"), "conffiles"])
        #expect(outcome.output == "/etc/logrotate.d/rpmemd\n/etc/rpmemd/rpmemd.conf\n")
    }

    @Test("rpmemd has the program and all that belongs to it on a target")
    func daemonFiles() throws {
        let expected: Set<String> = [
            "/etc/logrotate.d/rpmemd", "/etc/rpmemd/rpmemd.conf", "/lib/systemd/system/rpmemd.socket",
            "/lib/systemd/system/rpmemd@.service", "/lib/udev/rules.d/60-rpmem.rules", "/usr/bin/rpmemd",
            "/usr/lib/sysusers.d/rpmem.conf", "/usr/lib/tmpfiles.d/rpmem.conf",
            "/usr/share/bash-completion/completions/rpmemd", "/usr/share/fish/vendor_completions.d/rpmemd.fish",
            "/usr/share/man/man1/rpmemd.1.gz", "/usr/share/man/man5/rpmemd.conf.5.gz",
            "/usr/share/zsh/vendor-completions/_rpmemd",
        ]
        #expect(try files(of: "rpmemd").filter { !$0.hasPrefix("/usr/share/doc/") } == expected)
    }

    @Test("rpmemctl has both programs of the initiator's side")
    func initiatorFiles() throws {
        var expected: Set<String> = []
        for program in ["rpmemctl", "rpmem-hello"] {
            expected.formUnion([
                "/usr/bin/\(program)", "/usr/share/bash-completion/completions/\(program)",
                "/usr/share/fish/vendor_completions.d/\(program).fish", "/usr/share/man/man1/\(program).1.gz",
                "/usr/share/zsh/vendor-completions/_\(program)",
            ])
        }
        #expect(try files(of: "rpmemctl").filter { !$0.hasPrefix("/usr/share/doc/") } == expected)
    }

    @Test("librpmem1 has the library alone, librpmem-dev what compilers need, and a page for each function")
    func libraryFiles() throws {
        let library = try files(of: "librpmem1").filter { !$0.hasPrefix("/usr/share/doc/") }
        #expect(library.count == 1 && library.first?.hasSuffix("/librpmem.so.1") == true, "\(library)")
        let development = try files(of: "librpmem-dev")
        #expect(development.contains("/usr/include/librpmem.h"))
        for suffix in ["/librpmem.so", "/pkgconfig/librpmem.pc"] {
            #expect(development.contains { $0.hasPrefix("/usr/lib/") && $0.hasSuffix(suffix) }, "\(suffix)")
        }
        let pages = development.filter { $0.hasPrefix("/usr/share/man/man3/") }
        #expect(pages.count == 12, "\(pages)")
    }

    @Test("have changelog, release notes and copyright", arguments: BuiltPackages.names)
    func documents(package: String) throws {
        let documents = try files(of: package).filter { $0.hasPrefix("/usr/share/doc/\(package)/") }
        for name in ["changelog.Debian.gz", "changelog.gz", "copyright"] {
            #expect(documents.contains("/usr/share/doc/\(package)/\(name)"), "\(name)")
        }
    }
}

private let hasLintian = TemporaryDirectory.entries(of: "/usr/bin").contains("lintian")

extension String {
    fileprivate func trimming(_ characters: String) -> String {
        String(drop { characters.contains($0) }.reversed().drop { characters.contains($0) }.reversed())
    }
}
