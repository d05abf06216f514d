import Glibc
import RpmemInitiator
import SystemSupport
import TestSupport

/// The machine that loses its power, apart from its pools.
///
/// Each time that it is up, it connects to this machine and waits for a report. This machine does not poll it, which would take
/// seconds on emulated CPUs.
final class Target {
    /// Numeric.
    let address: String
    var target: TargetAddress { get throws { try TargetAddress("root@\(address)") } }

    private let listener: Descriptor
    private var connection: Descriptor?

    /// The socket that `Tests/VM/cases/power-loss.sh` connects to.
    private static let port: UInt16 = 7000

    init(address: String) throws {
        self.address = address
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if number < 0 { throw SystemCallError.last("socket") }
        listener = Descriptor(owning: number)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = Self.port.bigEndian
        let result = withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result != 0 || listen(number, 4) != 0 { throw SystemCallError.last("bind or listen") }
    }

    /// Waits until the target has connected, for three minutes at most.
    func awaitStart() throws {
        guard try PollSet.wait(for: listener.number, until: .after(milliseconds: 180_000)) else {
            throw TestSupportError("\(address): not up for three minutes")
        }
        let number = accept(listener.number, nil, nil)
        if number < 0 { throw SystemCallError.last("accept") }
        connection = Descriptor(owning: number)
    }

    /// Sends the machine a report, one each time that it is up. The first word of the report names the next step.
    func tell(_ report: String) throws {
        print(report)
        fflush(nil)
        if connection == nil { try awaitStart() }
        guard let connection = connection.take() else { return }
        try writeAll(Array("\(report)\n".utf8), to: connection.number)
        shutdown(connection.number, Int32(SHUT_WR))
        // The target closes the connection when it has the whole report, unless it loses its power before. This machine may go off then.
        _ = try PollSet.wait(for: connection.number, until: .after(milliseconds: 3000))
    }

    /// Compares local files, one of each medium, with the target's parts, which the target reads without rpmemd. It compares
    /// checksums: ssh would take seconds to copy the bytes.
    func compare(_ files: [(medium: Medium, path: String)]) throws {
        let length = Slot.poolSize - InitiatorPool.headerSize
        let sets = files.map(\.medium.poolSet).joined(separator: " ")
        let theirs = try run(
            ["/usr/bin/ssh", "-T", "-oBatchMode=yes", "root@\(address)", "/vm/power-loss-contents \(length) \(sets)"])
        let ours = try run(["/usr/bin/b2sum"] + files.map(\.path))
        guard theirs.count == files.count, ours.count == files.count else {
            throw TestSupportError("\(theirs.count) and \(ours.count) checksums of \(files.count) pools")
        }
        for (file, (here, there)) in zip(files, zip(ours, theirs)) where here != there {
            throw TestSupportError("\(file.medium): the target itself reads other bytes than rpmemd gave")
        }
    }

    /// - Returns: The first word of each line that the command prints.
    private func run(_ arguments: [String]) throws -> [Substring] {
        let process = try ChildProcess(arguments, environment: ["PATH": "/usr/bin:/bin", "HOME": "/root"])
        process.closeInput()
        // Reads until the end of the output: waiting for the process would mean polling for it.
        let output = String(decoding: try process.receive(4096, within: 60_000), as: UTF8.self)
        let ending = try process.wait(within: 1000)
        if ending != .exited(0) {
            let how = ending.map { "\($0)" } ?? "not over after a minute"
            throw TestSupportError("\(arguments.last ?? ""): \(how): \(output)\(process.errorText)")
        }
        return output.split(separator: "\n").compactMap { $0.split(separator: " ").first }
    }
}
