import RpmemProtocol
import TestSupport
import Testing

/// Requests that do not fit the session's state: the target refuses them, and the session ends as cleanly as after CLOSE.
@Suite struct StateTests {
    @Test(arguments: [RequestKind.setAttributes, .close]) func beforeAPoolIsOpen(_ kind: RequestKind) throws {
        let session = try Target().session().ready()
        let request = kind == .close ? Request.close(.remove) : .setAttributes(.sample)
        #expect(try session.ask(request) == .refused(kind, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("\(kind.name) request before CREATE or OPEN")
    }

    @Test(arguments: [RequestKind.create, .open]) func aSecondPool(_ kind: RequestKind) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("other.set", "40M %/other")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        #expect(try target.isDirty("part"))
        let second = try kind == .create ? Request.create("other.set") : .open("one.set")
        #expect(try session.ask(second) == .refused(kind, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("\(kind.name) request while a pool is open")
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
        #expect(TemporaryDirectory.entries(of: target.parts) == ["part"])
        try target.expectOpens("one.set")
    }

    @Test(arguments: [RequestKind.create, .open]) func aSecondPoolAfterCreateWithoutLanes(_ kind: RequestKind) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let before = target.files()
        let session = try target.session().ready()
        _ = try session.pool(.create("one.set"))
        #expect(
            try session.ask(kind == .create ? .create("one.set") : .open("one.set")) == .refused(kind, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("\(kind.name) request while a pool is open")
        #expect(target.files() == before)
    }

    @Test func aSecondPoolAfterCreateWithLanesKeepsTheFirst() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set"))
        let client = try LaneClient(.sockets, lanes)
        #expect(try session.ask(.open("one.set")) == .refused(.open, .badProtocol))
        client.shutDown()
        try session.expectEnd(1)
        try target.expectOpens("one.set")
    }

    /// Requests that follow the one that ends the session get no answer, even when they arrive together with it.
    @Test func requestsBehindTheLastOne() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let close = Request.close([]).encode()
        try session.send(Request.create("one.set").encode() + close + close + close)
        guard case .create = try session.answer(to: .create) else {
            Issue.record("CREATE is refused")
            return
        }
        #expect(try session.answer(to: .close) == .close)
        try session.expectEnd(0)
    }

    /// Requests that arrive byte by byte.
    @Test func aRequestInPieces() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        for byte in try Request.create("one.set").encode() { try session.send([byte]) }
        guard case .create = try session.answer(to: .create) else {
            Issue.record("CREATE is refused")
            return
        }
        for byte in Request.setAttributes(.sample).encode() + Request.close([]).encode() { try session.send([byte]) }
        #expect(try session.answer(to: .setAttributes) == .setAttributes)
        #expect(try session.answer(to: .close) == .close)
        try session.expectEnd(0)
    }

    // MARK: SET_ATTR that is refused

    @Test func attributesOnAPoolWithoutHeadersAreRefusedAndThePoolGoesOn() throws {
        let target = try Target()
        try target.addSet("one.set", "OPTION NOHDRS", "40M %/part")
        try target.makePool("one.set", .none)
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        #expect(try session.ask(.setAttributes(.sample)) == .refused(.setAttributes, .badPoolConfiguration))
        #expect(try session.messages("err").first?.contains("NOHDRS") == true)
        try session.close()
    }

    @Test(arguments: [PoolAttributes.none, .sampleSingleHeader])
    func attributesThatDoNotFitAreRefusedAndThePoolGoesOn(_ attributes: PoolAttributes) throws {
        let target = try Target()
        try target.addSet("one.set", "20M %/part0", "20M %/part1")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        let before = try [target.bytes(of: "part0"), target.bytes(of: "part1")]
        #expect(try session.ask(.setAttributes(attributes)) == .refused(.setAttributes, .badPoolConfiguration))
        #expect(try [target.bytes(of: "part0"), target.bytes(of: "part1")] == before)
        var other = PoolAttributes.sample
        other.major = 7
        #expect(try session.ask(.setAttributes(other)) == .setAttributes)
        try session.close()
        let reader = try target.session().ready()
        #expect(try reader.pool(.open("one.set")).attributes == other)
        try reader.close()
    }

    // MARK: CLOSE with the remove flag

    @Test func closeRemovesWhatThisSessionCreated() throws {
        let target = try Target()
        try target.addSet("one.set", "20M %/part0", "20M %/part1")
        let before = target.files()
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set"))
        let client = try LaneClient(.sockets, lanes)
        client.shutDown()
        try session.close(.remove)
        #expect(target.files() == before)
    }

    @Test func closeDoesNotRemoveWhatAnotherSessionCreated() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        try session.close(.remove)
        #expect(try session.messages("notice").contains { $0.contains("only the session that created the pool") })
        try target.expectOpens("one.set")
    }
}

extension Target {
    /// Whether the shutdown state of a pool's first part says that it is open, or was when its target died.
    func isDirty(_ part: String) throws -> Bool { try bytes(of: part, at: 4040, count: 1) != [0] }

    /// Expects that a pool can be opened, and closes it.
    func expectOpens(
        _ set: String, size: UInt64 = 32 << 20, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let session = try session().ready(sourceLocation: sourceLocation)
        guard case .open = try session.ask(.open(set, size: size)) else {
            Issue.record("\(set): \(session.process.errorText)", sourceLocation: sourceLocation)
            _ = try session.end()
            return
        }
        try session.close(sourceLocation: sourceLocation)
    }
}
