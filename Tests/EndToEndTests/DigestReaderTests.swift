import Glibc
import TestSupport
import Testing

/// `rpmemd --digest`, which keeps its pool locked, and whose reader may be slow.
@Suite struct DigestReaderTests {
    private let target: Target

    init() throws {
        target = try Target()
        try target.addSet("big.set", "OPTION NOHDRS", "256M %/big")
        try target.addPart("big", megabytes: 256)
    }

    /// The reader takes pieces of a frame now and then.
    @Test func aReaderThatTricklesIsNotWaitedForWithoutLimit() throws {
        let process = try ChildProcess([
            Binaries.rpmemd, "--config", target.configuration, "--peer-timeout", "2", "--digest", "big.set",
        ])
        try process.send(Array((String(repeating: "5a", count: 32) + "\n").utf8))
        while try process.receive(1) != [UInt8(ascii: "\n")] {}
        var ending: ChildProcess.Ending?
        for piece in 0..<200 where ending == nil {
            // The pipe is empty once all was sent.
            if try process.receive(piece % 2 == 0 ? 4096 : 12).isEmpty { break }
            ending = try process.wait(within: 1200)
        }
        #expect(try (ending ?? process.wait()) == .exited(ETIMEDOUT), "\(process.errorText)")
        #expect(try target.log().contains { $0.level == "err" && $0.message.contains("standard output") })
    }
}
