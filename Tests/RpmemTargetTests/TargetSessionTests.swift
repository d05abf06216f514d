import CFabric
import Fabric
import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// A session in the tests' own process, for states that a test cannot bring about in a daemon.
@Suite(.timeLimit(.minutes(2))) struct TargetSessionTests {
    /// A provider may refuse every wait. The session still polls the control connection.
    @Test func theControlConnectionIsSeenWhileFabricRefusesToWait() throws {
        let directory = TemporaryDirectory()
        let set = try Descriptor.open(directory.file("one.set"), O_WRONLY | O_CREAT, mode: 0o600)
        try writeAll(Array("PMEMPOOLSET\nOPTION NOHDRS\n40M \(directory.path)/part\n".utf8), to: set.number)
        var settings = Settings(home: directory.path)
        try settings.assign(.poolsetDirectory, directory.path, from: .commandLine(option: "--poolset-dir"), home: "/")
        let final = settings
        let store = try PoolStore(directory: directory.path)
        var ends: [Int32] = [-1, -1, -1, -1]
        try #require(pipe(&ends) == 0)
        try ends.withUnsafeMutableBufferPointer { try #require(pipe($0.baseAddress! + 2) == 0) }
        let (input, requests, answers, output) = (ends[0], ends[1], ends[2], ends[3])
        defer { for number in [input, answers, output] { close(number) } }
        let lines = LoggingTestLines()

        // All fabrics of the provider share the table.
        let domain = try FabricDomain(
            try FabricInfo.query(provider: "sockets", node: "127.0.0.1", service: nil, listening: true))
        let table = domain.fabric.pointee.ops!
        let original = table.pointee.trywait
        defer { table.pointee.trywait = original }

        let session = try Running("session") {
            TargetSession(
                settings: final, store: store, environment: SessionEnvironment(peer: nil, local: nil),
                log: SessionLog(handler: lines.handler), signals: try SignalQueue([SIGUSR2]), input: input,
                output: output
            ).run()
        }
        let request = Request.create(
            PoolRequest(
                poolSize: 32 << 20, laneCount: 1, provider: .sockets, inlineSize: 8192,
                descriptor: try PoolDescriptor(validating: "one.set")), .none)
        table.pointee.trywait = { _, _, _ in -FI_EAGAIN }
        try writeAll(request.encode(), to: requests)
        var received = 0
        while received < 4 + 12, try PollSet.wait(for: answers, until: .after(milliseconds: 20_000)) {
            var bytes = [UInt8](repeating: 0, count: 4096)
            received += max(0, read(answers, &bytes, bytes.count))
        }
        #expect(received > 16)
        // The initiator closes the control connection.
        close(requests)
        let ended = try waitForLine(lines, "control connection ended")
        #expect(ended, "\(lines.all)")
        table.pointee.trywait = original
        #expect(try session.value() == 1)
    }

    private func waitForLine(_ lines: LoggingTestLines, _ text: String) throws -> Bool {
        let deadline = Deadline.after(milliseconds: 20_000)
        while !lines.all.contains(where: { $0.contains(text) }) {
            if deadline.hasPassed { return false }
            usleep(2000)
        }
        return true
    }
}
