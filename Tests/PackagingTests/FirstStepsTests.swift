import Glibc
import SystemSupport
import TestSupport
import Testing

/// README's first steps between two machines, command for command as README has them: two minimal machines with a link
/// between them, an ordinary user on both, sshd on the target.
@Suite(
    "README's first steps", .timeLimit(.minutes(30)),
    .enabled(if: unavailableReason == nil, Comment(rawValue: unavailableReason ?? "")),
    MinimalMachine.hasMinimalRoot)
struct FirstStepsTests {
    private let network: NetworkNamespaces
    private let target: MinimalMachine
    private let initiator: MinimalMachine

    init() throws {
        network = try NetworkNamespaces()
        target = try MinimalMachine("target", prefix: network.prefix(.far))
        initiator = try MinimalMachine("initiator", prefix: network.prefix(.near))
        // What README says to copy.
        try target.copy(BuiltPackages.file("rpmemd"), to: "/home/user/rpmemd_0_amd64.deb")
        for package in ["librpmem1", "rpmemctl"] {
            try initiator.copy(BuiltPackages.file(package), to: "/home/user/\(package)_0_amd64.deb")
        }
        // What the person types: yes when apt asks, and the rest when ssh does. ssh has no terminal here, so it starts this
        // program instead.
        for machine in [target, initiator] {
            try machine.expect("echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90yes")
        }
        try initiator.expect(
            """
            cat >/usr/local/bin/person <<'END'
            #!/bin/sh
            echo "$1" >>/tmp/questions
            case $1 in
                *fingerprint*) echo yes ;;
                *password*) echo \(MinimalMachine.password) ;;
            esac
            END
            chmod +x /usr/local/bin/person
            """)
    }

    /// A block of commands, and the lines that README shows below it.
    private struct Step {
        let machine: String
        let commands: String
        var shows: [String] = []
    }

    /// The blocks with a mark `<!-- walk: ... -->` above them.
    private func steps() throws -> [Step] {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/README.md", O_RDONLY)
        let text = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        var steps: [Step] = []
        for block in text.matches(of: #/(?ms)^<!-- walk: (\w+) -->\n```(?:sh)?\n(.*?)^```$/#) {
            if block.1 == "shows" {
                steps[steps.count - 1].shows = block.2.split(separator: "\n").map(String.init)
            } else {
                steps.append(Step(machine: String(block.1), commands: String(block.2)))
            }
        }
        // A block without its mark would be left out.
        #expect(text.matches(of: #/(?m)^```sh$/#).count == steps.count)
        return steps
    }

    /// Runs the commands as one shell would, that is open from the first step to the last.
    private func run(_ step: Step) throws -> Command {
        let machine = step.machine == "target" ? target : initiator
        return try machine.runAsUser(
            """
            set -e
            export SSH_ASKPASS=/usr/local/bin/person SSH_ASKPASS_REQUIRE=force DEBIAN_FRONTEND=noninteractive
            if [ -e ~/.exported ]; then . ~/.exported; fi
            \(step.commands)
            export -p >~/.exported
            """)
    }

    /// Starts sshd once it is installed, as systemd does on a machine that has booted.
    private func startSSHD() throws {
        try target.expect(
            "if [ -x /usr/sbin/sshd ] && ! pgrep -x sshd >/dev/null; then mkdir -p /run/sshd; /usr/sbin/sshd; fi")
    }

    @Test("work as they are written, and show what README shows")
    func work() throws {
        let steps = try steps()
        #expect(Set(steps.map(\.machine)) == ["target", "initiator"])
        for step in steps {
            let outcome = try run(step)
            try #require(outcome.isSuccess, "on the \(step.machine):\n\(step.commands)\n\(outcome)")
            if !step.shows.isEmpty {
                #expect(outcome.output.split(separator: "\n").map(String.init) == step.shows)
            }
            if step.machine == "target" { try startSSHD() }
        }
        // The questions that README announces, and no others.
        let questions = try initiator.expect("cat /tmp/questions").split(separator: "\n")
        #expect(questions.count { $0.contains("(yes/no/[fingerprint])?") } == 1, "\(questions)")
        #expect(questions.count { $0.contains("password:") } == 1, "\(questions)")
        #expect(!questions.contains { $0.contains("passphrase") }, "\(questions)")
        // The last step removes both pools.
        #expect(try target.expect("ls /srv/parts; ls /srv/pools") == "hello.poolset\nreplica.poolset\n")
        #expect(try initiator.run("ls /home/user/local.part").output == "")
    }
}

private let unavailableReason =
    BuiltPackages.unavailableReason ?? MinimalMachine.unavailableReason ?? NetworkNamespaces.unavailableReason
