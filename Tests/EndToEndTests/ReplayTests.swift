import RpmemProtocol
import TestSupport
import Testing

/// Replays captured sessions between PMDK 1.12.1's initiator and target, with the daemon as the target. Its answers must be
/// the same bytes. `Tests/Vectors/README.md` describes the set-up of each session.
@Suite struct ReplayTests {
    /// The three sessions on one pool, in the order in which they were captured.
    @Test func createOpenAndSetAttributes() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one.part")
        try replay("create", on: target, exitStatus: 0)
        try expectHeader("one-part", onPart: "one.part", of: target)
        try replay("open", on: target, exitStatus: 0)
        try expectHeader("one-part", onPart: "one.part", of: target)
        try replay("openattr", on: target, exitStatus: 0)
        try expectHeader("one-part-after-set-attr", onPart: "one.part", of: target)
    }

    @Test func aPoolThatExistsIsNotCreatedAgain() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one.part")
        try replay("create", on: target, exitStatus: 0)
        let before = target.files()
        try replay("createagain", on: target, exitStatus: 1)
        #expect(target.files() == before)
    }

    @Test func aPoolInUseIsBusy() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one.part")
        try replay("create", on: target, exitStatus: 0)
        let holder = try target.session().ready()
        _ = try holder.pool(.open("one.set"))
        let before = target.files()
        try replay("busy", on: target, exitStatus: 1)
        #expect(target.files() == before)
        try holder.close()
    }

    @Test func setsWithoutHeaders() throws {
        let target = try Target()
        try target.addSet("nohdrs.set", "OPTION NOHDRS", "40M %/nohdrs.part")
        try replay("nohdrs", on: target, exitStatus: 0)
        try replay("nohdrsopen", on: target, exitStatus: 0)
    }

    @Test(arguments: ["abs", "missing", "rel", "toosmall", "mismatch"])
    func refusals(_ name: String) throws {
        let target = try Target()
        try target.addSet("rel.set", "40M relative/rel.part")
        try target.addSet("tiny.set", "4M %/tiny.part")
        try target.addSet("three.set", "20M %/part0", "21M %/part1", "22M %/part2")
        let before = target.files()
        try replay(name, on: target, exitStatus: 1)
        #expect(target.files() == before)
    }

    /// Without lanes only the first answer can be compared, and the header page while the pool is open.
    @Test(arguments: ["create", "nohdrs"]) func withoutLanes(_ name: String) throws {
        let target = try Target()
        let isPlain = name == "create"
        try target.addSet("one.set", "40M %/one.part")
        try target.addSet("nohdrs.set", "OPTION NOHDRS", "40M %/nohdrs.part")
        let requests = try messages("control/\(name).c2s")
        let session = try target.session().ready()
        try session.send(requests[0])
        _ = try session.answer(to: .create)
        let expected = try vector("control/\(name).s2c")
        #expect(masked(session.received) == masked(Array(expected[..<session.received.count])))
        if isPlain { try expectHeader("one-part", onPart: "one.part", of: target, isOpen: true) }
        try session.send(requests[1])
        #expect(try session.answer(to: .close) == .close)
        try session.expectEnd(0)
    }

    @Test func threePartsAreLinkedAsCaptured() throws {
        let target = try Target()
        try target.addSet("three.set", "20M %/part0", "21M %/part1", "22M %/part2")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("three.set"))
        let client = try LaneClient(.sockets, lanes)
        // The random uuids are read from the pages themselves; all else is as captured.
        try expectHeader("three-parts.part0.open-dirty", onPart: "part0", of: target, isRing: true)
        client.shutDown()
        try session.close()
        for part in 0..<3 {
            try expectHeader("three-parts.part\(part)", onPart: "part\(part)", of: target, isRing: true)
        }
        let uuids = try (0..<3).map { Array(try target.bytes(of: "part\($0)")[40..<56]) }
        #expect(uuids[0] == Array(0x20..<0x30))
        for part in 0..<3 {
            let page = try target.bytes(of: "part\(part)")
            #expect(Array(page[56..<72]) == uuids[(part + 2) % 3])
            #expect(Array(page[72..<88]) == uuids[(part + 1) % 3])
        }
    }

    @Test func aSingleHeaderIsAsCaptured() throws {
        let target = try Target()
        try target.addSet("single.set", "OPTION SINGLEHDR", "20M %/part0", "20M %/part1")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("single.set", .sampleSingleHeader))
        let client = try LaneClient(.sockets, lanes)
        client.shutDown()
        try session.close()
        try expectHeader("singlehdr.part0", onPart: "part0", of: target)
        #expect(try target.bytes(of: "part1") == [UInt8](repeating: 0, count: 4096))
    }
}

/// Plays a captured initiator: sends each request after the answer to the previous one, with all lanes connected while a pool
/// is open.
private func replay(
    _ name: String, on target: Target, exitStatus: Int32, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let session = try target.session()
    #expect(try session.initialStatus() == .ready, sourceLocation: sourceLocation)
    var client: LaneClient?
    for message in try messages("control/\(name).c2s") {
        let kind = try kind(of: message)
        if kind == .close { client?.shutDown() }
        try session.send(message)
        switch try session.answer(to: kind) {
        case .create(let lanes), .open(let lanes, _): client = try LaneClient(.sockets, lanes)
        default: break
        }
    }
    try session.expectEnd(exitStatus, sourceLocation: sourceLocation)
    #expect(
        masked(session.received) == masked(try vector("control/\(name).s2c")), "\(name)",
        sourceLocation: sourceLocation)
}

/// A captured stream cut into its requests.
private func messages(_ name: String) throws -> [[UInt8]] {
    var rest = try vector(name)[...]
    var messages: [[UInt8]] = []
    while rest.count >= 12 {
        let size = rest.dropFirst(4).prefix(8).reduce(0) { $0 << 8 | Int($1) }
        messages.append(Array(rest.prefix(size)))
        rest = rest.dropFirst(size)
    }
    return messages
}

private func kind(of message: [UInt8]) throws -> RequestKind {
    guard let kind = RequestKind(rawValue: UInt32(message[3])) else { throw TestSupportError("not a request") }
    return kind
}

/// A target's stream without the values that differ from run to run: port, rkey and raddr of the first answer.
private func masked(_ stream: [UInt8]) -> [UInt8] {
    var stream = stream
    let body = InitialStatus.size + ControlProtocol.responseHeaderSize
    for field in [0..<4, 8..<24] {
        for index in field where body + index < stream.count { stream[body + index] = 0 }
    }
    return stream
}

/// Compares a part's header page with a captured one, except for the values that differ from run to run: its time of creation, the
/// device that the shutdown state is about, with `isRing` the parts' random uuids, and the checksums of these.
private func expectHeader(
    _ name: String, onPart part: String, of target: Target, isOpen: Bool = false, isRing: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var page = try target.bytes(of: part)
    var expected = try vector("headers/\(name)")
    #expect(page[4088...].elementsEqual(headerChecksum(page)), sourceLocation: sourceLocation)
    #expect(expected[4088...].elementsEqual(headerChecksum(expected)), sourceLocation: sourceLocation)
    var ranges = [120..<128, 4024..<4040, 4080..<4096]
    if isRing { ranges += [40..<88] }
    // The same, but marked as open.
    if isOpen { expected[4040] = 1 }
    for range in ranges {
        for index in range {
            page[index] = 0
            expected[index] = 0
        }
    }
    for index in page.indices where page[index] != expected[index] {
        Issue.record(
            "\(part) differs from \(name) at \(index): \(page[index]), not \(expected[index])",
            sourceLocation: sourceLocation)
        return
    }
}

/// The checksum of a page with the CKSUM_2K feature (`docs/media.md`, section 5 (Checksums)), little-endian.
private func headerChecksum(_ page: [UInt8]) -> [UInt8] {
    var (low, high): (UInt32, UInt32) = (0, 0)
    for offset in stride(from: 0, to: 4096, by: 4) {
        let word = page[offset..<offset + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        low &+= offset < 2048 ? word : 0
        high &+= low
    }
    let sum = UInt64(high) << 32 | UInt64(low)
    return (0..<8).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
}
