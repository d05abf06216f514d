import Glibc
import RpmemInitiator
import SystemSupport
import TestSupport

/// The machine whose plug is pulled, as its initiator reaches it beside the pools.
struct Target: Sendable {
    /// Numeric.
    let address: String
    var target: TargetAddress { get throws { try TargetAddress("root@\(address)") } }

    /// Waits until sshd greets, for three minutes at most.
    func awaitStart() throws {
        let deadline = Deadline.after(milliseconds: 180_000)
        while !greets() {
            if deadline.hasPassed { throw TestSupportError("\(address): no sshd for three minutes") }
            usleep(100_000)
        }
    }

    private func greets() -> Bool {
        guard let place = NetworkAddress(address) else { return false }
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        if number < 0 { return false }
        let connection = Descriptor(owning: number)
        var destination = sockaddr_in()
        destination.sin_family = sa_family_t(AF_INET)
        destination.sin_port = UInt16(22).bigEndian
        guard inet_pton(AF_INET, "\(place)", &destination.sin_addr) == 1 else { return false }
        _ = withUnsafePointer(to: &destination) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(connection.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        var set = [pollfd(fd: connection.number, events: Int16(POLLIN), revents: 0)]
        // A machine that is off does not answer at all: its initiator's kernel would go on asking for minutes.
        guard (try? waitForEvents(&set, until: .after(milliseconds: 1000))) == 1 else { return false }
        var greeting = [UInt8](repeating: 0, count: 4)
        return read(connection.number, &greeting, 4) == 4 && greeting == Array("SSH-".utf8)
    }

    /// Leaves a report for the machine's own `Tests/VM/cases/power-loss.sh`, whose first word says what is to happen.
    func tell(_ report: String) throws {
        print(report)
        fflush(nil)
        let place = "/run/power-loss/report"
        try run(ssh + ["cat >\(place).new && mv \(place).new \(place)"], input: report + "\n")
    }

    /// Compares a file here with what the machine says that a pool holds, without rpmemd's help.
    func compare(_ medium: Medium, with path: String) throws {
        let length = Slot.poolSize - InitiatorPool.headerSize
        let command = (ssh + ["/vm/power-loss-contents \(medium.poolSet) \(length)"]).joined(separator: " ")
        try run(["/bin/bash", "-o", "pipefail", "-c", "\(command) | cmp - \(path)"], input: "")
    }

    private var ssh: [String] { ["/usr/bin/ssh", "-T", "-oBatchMode=yes", "root@\(address)"] }

    private func run(_ arguments: [String], input: String) throws {
        let process = try ChildProcess(arguments, environment: ["PATH": "/usr/bin:/bin", "HOME": "/root"])
        try process.send(Array(input.utf8))
        process.closeInput()
        let ending = try process.wait(within: 60_000)
        if ending != .exited(0) {
            let output = String(decoding: try process.receive(4096, within: 100), as: UTF8.self)
            let how = ending.map { "\($0)" } ?? "not over after a minute"
            throw TestSupportError("\(arguments.last ?? ""): \(how): \(output)\(process.errorText)")
        }
    }
}
