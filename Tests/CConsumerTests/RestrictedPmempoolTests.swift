import Glibc
import SystemSupport
import TestSupport
import Testing

/// Debian's own pmempool, unchanged, with keys whose forced command is `rpmemd --restrict`.
@Suite(
    "pmempool with restricted keys",
    .enabled(
        if: access("\(Tools.directory)/pmempool", X_OK) == 0 && LoopbackSSHD.unavailableReason == nil,
        "apt-get install pmdk-tools openssh-server"))
struct RestrictedPmempoolTests {
    @Test("each creates, restores and removes its own pool, and cannot do that with the other's") func twoKeys() throws
    {
        let place = try Workplace()
        let directory = TemporaryDirectory()
        func key(_ set: String) -> String {
            "command=\"\(Binaries.rpmemd) --restrict --config \(place.path)/rpmemd.conf --restrict-to \(set)\",restrict"
        }
        let server = try LoopbackSSHD(
            in: directory.path, keys: ["alice": key("alice.set"), "bob": key("bob.set")])
        // The port is in the client's command: pool sets have no place for it.
        func pmempool(_ key: String, _ arguments: String...) throws -> Outcome {
            let client = try server.client(key: key, options: ["-p\(server.port)"])
            return try Outcome(
                of: ["\(Tools.directory)/pmempool"] + arguments,
                environment: place.environment.merging(["RPMEM_SSH": client, "RPMEM_CMD": "rpmemd"]) { _, new in new })
        }
        for name in ["alice", "bob"] {
            try place.addTargetSet("\(name).set", "16M %/\(name).part")
            for user in ["alice", "bob"] {
                _ = try place.addSet("\(user)-\(name).set", "16M %/local-\(user)-\(name)", "REPLICA @ \(name).set")
            }
        }
        for (user, other) in [("alice", "bob"), ("bob", "alice")] {
            let own = "\(place.path)/\(user)-\(user).set"
            let foreign = "\(place.path)/\(user)-\(other).set"
            let part = "\(place.parts)/\(user).part"
            var outcome = try pmempool(user, "create", "obj", own)
            #expect(outcome.isSuccess && access(part, F_OK) == 0, "\(outcome)")
            unlink("\(place.parts)/local-\(user)-\(user)")
            outcome = try pmempool(user, "sync", own)
            #expect(outcome.isSuccess, "\(outcome)")
            outcome = try pmempool(user, "create", "obj", foreign)
            #expect(!outcome.isSuccess, "\(outcome)")
            // With -f the local part, which is missing, is no obstacle.
            outcome = try pmempool(other, "rm", "-f", "\(place.path)/\(other)-\(user).set")
            #expect(access(part, F_OK) == 0, "\(outcome)")
            let log = String(
                decoding: try readFile(Descriptor.open(place.logFile, O_RDONLY), limit: 1 << 24), as: UTF8.self)
            #expect(log.contains("removing \(user).set: restrict-to (command line, --restrict-to)"))
            outcome = try pmempool(user, "rm", own)
            #expect(outcome.isSuccess && access(part, F_OK) != 0, "\(outcome)")
        }
        #expect(place.awaitDaemons())
    }
}
