import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// `apt install ./*.deb` in a minimal Debian 12 without Swift and without network, upgrades, and `apt purge`.
@Suite(
    "installed Debian packages", .timeLimit(.minutes(30)),
    .enabled(if: unavailableReason == nil, Comment(rawValue: unavailableReason ?? "")),
    MinimalMachine.hasMinimalRoot)
struct InstallPackagesTests {
    private let machine: MinimalMachine

    init() throws {
        machine = try MinimalMachine("target")
        try machine.expect("mkdir /root/new")
    }

    private func copy(_ packages: String...) throws {
        for package in packages { try machine.copy(BuiltPackages.file(package), to: "/root/new/\(package).deb") }
    }

    private static let install =
        "cd /root/new; export DEBIAN_FRONTEND=noninteractive; apt-get -y --no-install-recommends install"

    @Test("bring all that the programs need to run, and the daemon reads the installed configuration")
    func programsRun() throws {
        try copy("rpmemd", "librpmem1", "librpmem-dev", "rpmemctl")
        try machine.expect("\(Self.install) ./*.deb")
        #expect(try machine.expect("rpmemd --version") == "rpmemd version \(projectVersion)\n")
        #expect(try machine.expect("rpmemctl --version") == "rpmemctl version \(projectVersion)\n")
        #expect(try machine.expect("rpmem-hello --help").contains("--provider"))
        #expect(try machine.expect("ldconfig -p").contains("librpmem.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/"))
        // libfabric is opened, not linked.
        #expect(try machine.expect("ldconfig -p").contains("libfabric.so.1"))
        #expect(try machine.expect("stat -c '%U:%G %a' /var/lib/rpmem") == "rpmem:rpmem 750\n")
        #expect(try machine.expect("stat -c '%U:%G %a' /var/lib/rpmemd") == "root:rpmem 2775\n")
        #expect(try machine.expect("getent passwd rpmem").contains(":/var/lib/rpmem:"))
        // The daemon reads the configuration file that is installed.
        #expect(try machine.expect("rpmemd --check-config").contains("# /etc/rpmemd/rpmemd.conf: read\n"))
        try machine.expect("echo 'max-lanes = 7' >>/etc/rpmemd/rpmemd.conf")
        let settings = try machine.expect("rpmemd --check-config").split(separator: "\n")
        #expect(settings.contains { $0.hasPrefix("max-lanes ") && $0.contains(" = 7 ") }, "\(settings)")
        // Not before the administrator says so.
        #expect(try machine.run("systemctl is-enabled rpmemd.socket").output == "disabled\n")
    }

    @Test("an upgrade keeps a configuration that was edited, and renews one that was not")
    func upgrade() throws {
        try copy("rpmemd")
        try machine.expect("\(Self.install) ./*.deb")
        try machine.expect("echo 'max-lanes = 7' >>/etc/rpmemd/rpmemd.conf")
        // The next version, whose configuration files are others.
        try machine.expect(
            """
            cd /root
            dpkg-deb --raw-extract new/rpmemd.deb next
            sed -i 's/^Version: .*/Version: 1:999-1/' next/DEBIAN/control
            echo '# from the next version' >>next/etc/rpmemd/rpmemd.conf
            echo '# from the next version' >>next/etc/logrotate.d/rpmemd
            dpkg-deb -Znone --root-owner-group --build next new/rpmemd.deb
            """)
        // dpkg asks which one to take; Return keeps the edited one.
        let output = try machine.expect("\(Self.install) ./rpmemd.deb < <(echo)")
        #expect(output.contains("rpmemd.conf (Y/I/N/O/D/Z) [default=N] ?"))
        #expect(try machine.expect("dpkg-query -W -f '${Version}' rpmemd") == "1:999-1")
        let configuration = try machine.expect("cat /etc/rpmemd/rpmemd.conf")
        #expect(configuration.hasSuffix("max-lanes = 7\n"))
        #expect(try machine.expect("cat /etc/rpmemd/rpmemd.conf.dpkg-dist").hasSuffix("# from the next version\n"))
        #expect(try machine.expect("cat /etc/logrotate.d/rpmemd").hasSuffix("# from the next version\n"))
    }

    @Test("apt purge leaves nothing but pools, and the user that they belong to")
    func purge() throws {
        // What other packages and dpkg itself write is not this test's subject.
        let list = """
            find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /root \
            -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log/apt \\) -prune \
            -o -print | sort
            """
        try copy("rpmemd", "librpmem1", "librpmem-dev", "rpmemctl")
        // What they depend on stays, as it would on most machines.
        try machine.expect(
            "\(Self.install) ./*.deb; apt-mark manual '.*' >/dev/null; apt-get -y purge '?name(rpmem)'")
        let before = try machine.expect(list)
        try machine.expect("\(Self.install) ./*.deb")
        #expect(try machine.expect(list) != before)
        try machine.expect(
            """
            echo 'max-lanes = 7' >>/etc/rpmemd/rpmemd.conf
            touch /var/log/rpmemd.log /var/log/rpmemd.log.1
            systemctl enable rpmemd.socket
            """)
        try machine.expect("apt-get -y purge rpmemd librpmem1 librpmem-dev rpmemctl")
        #expect(try machine.expect(list) == before)
        #expect(try machine.run("ls /var/lib/rpmem /etc/rpmemd /var/log/rpmemd.log").output == "")
        #expect(try machine.expect("getent group rpmem").hasPrefix("rpmem:"))

        try machine.expect("\(Self.install) ./rpmemd.deb; echo pool >/var/lib/rpmem/part")
        #expect(try machine.expect("apt-get -y purge rpmemd").contains("the files in /var/lib/rpmem stay"))
        #expect(try machine.expect("cat /var/lib/rpmem/part") == "pool\n")
    }

    @Test("get along with Debian 12's pmempool, which has a manual page of rpmemd, in either order")
    func pmempool() throws {
        try copy("rpmemd", "librpmem1")
        for order in ["pmdk-tools ./*.deb", "./*.deb pmdk-tools"] {
            for package in order.split(separator: " ") { try machine.expect("\(Self.install) \(package)") }
            let owner = try machine.expect("dpkg-query --search /usr/share/man/man1/rpmemd.1.gz; dpkg --audit")
            #expect(owner.contains("rpmemd: /usr/share/man/man1/rpmemd.1.gz\n"), "\(owner)")
            try machine.expect("pmempool --version")
            #expect(try machine.expect("zcat /usr/share/man/man1/rpmemd.1.gz").contains("rpmemd \(projectVersion)"))
            try machine.expect("apt-get -y purge rpmemd librpmem1 pmdk-tools")
        }
    }

    /// A package of PMDK as Debian 11 had it, with these files, and nothing in them.
    private func installOld(_ package: String, _ files: String...) throws {
        let control =
            "Package: \(package)\\nVersion: 1.10-2+deb11u1\\nArchitecture: amd64\\nMulti-Arch: same\\n"
            + "Maintainer: nobody <nobody@localhost>\\nDescription: of Debian 11\\n"
        try machine.expect(
            """
            cd /root; mkdir -p old/DEBIAN
            printf '\(control)' >old/DEBIAN/control
            for file in \(files.joined(separator: " ")); do mkdir -p old/$(dirname $file); echo old >old/$file; done
            dpkg-deb --build old old.deb; rm -r old; dpkg --install old.deb
            """)
    }

    @Test("take the place of Debian 11's librpmem1, librpmem-dev and rpmemd")
    func debian11() throws {
        let libraries = "usr/lib/x86_64-linux-gnu"
        try installOld("librpmem1", "\(libraries)/librpmem.so.1.0.0")
        try machine.expect("ln -s librpmem.so.1.0.0 /\(libraries)/librpmem.so.1")
        try installOld("librpmem-dev", "usr/include/librpmem.h", "\(libraries)/librpmem.a")
        try installOld("pmdk-tools", "usr/bin/rpmemd", "usr/bin/pmempool", "usr/share/man/man1/rpmemd.1.gz")
        try copy("rpmemd", "librpmem1", "librpmem-dev")
        // No --allow-downgrades: apt takes them for upgrades.
        try machine.expect("\(Self.install) ./*.deb")
        #expect(try machine.expect("rpmemd --version") == "rpmemd version \(projectVersion)\n")
        #expect(try machine.expect("readlink -f /\(libraries)/librpmem.so") == "/\(libraries)/librpmem.so.1\n")
        #expect(try machine.run("ls /\(libraries)/librpmem.so.1.0.0 /\(libraries)/librpmem.a").output == "")
        // pmempool is of Debian 12 now, or not there.
        let tools = try machine.run("dpkg-query -W -f '${Version}' pmdk-tools").output
        #expect(!tools.contains("1.10"))
        #expect(try machine.expect("dpkg --audit") == "")
    }
}

private let unavailableReason = BuiltPackages.unavailableReason ?? MinimalMachine.unavailableReason
