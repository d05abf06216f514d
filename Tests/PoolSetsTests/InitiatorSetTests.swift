import PoolSets
import SystemPackage
import Testing

/// Pool set files of initiators, which have lines REPLICA.
@Suite struct InitiatorSetTests {
    private func parse(_ text: String, of side: PoolSetFile.Side = .initiator) throws -> PoolSetDescription {
        try PoolSetFile.parse(Array("PMEMPOOLSET\n\(text)\n".utf8), of: side)
    }

    @Test func theFirstReplicaIsTaken() throws {
        let set = try parse(
            "8M /a/0\n9M /a/1\nREPLICA user@host r.set\nREPLICA\n8M /b/0\nAUTO /dev/dax0.0\nREPLICA h s")
        #expect(set.parts.map(\.path) == ["/a/0", "/a/1"])
        #expect(
            set.otherReplicas == [
                .remote(line: 4), .local(line: 5, sizes: [.bytes(8 << 20), .auto]), .remote(line: 8),
            ])
    }

    @Test func optionsAreOfAllReplicas() throws {
        let set = try parse("OPTION SINGLEHDR\n8M /a/0\nREPLICA host r.set")
        #expect(set.options == .singleHeader && set.otherReplicas == [.remote(line: 4)])
    }

    @Test(arguments: ["REPLICA host", "REPLICA a b c"]) func replicasWithOtherFields(_ line: String) {
        #expect(throws: PoolSetFile.SyntaxError.self) { try parse("8M /a/0\n\(line)") }
    }

    @Test func aPartBehindAReplicaOnAnotherMachine() {
        #expect(throws: PoolSetFile.SyntaxError.self) { try parse("8M /a/0\nREPLICA host r.set\n8M /b/0") }
        #expect(throws: PoolSetFile.SyntaxError.self) { try parse("REPLICA host r.set") }
    }

    @Test func aTargetsSetHasNone() {
        #expect(throws: PoolSetFile.SyntaxError.self) { try parse("8M /a/0\nREPLICA host r.set", of: .target) }
    }
}
