import Glibc
import RpmemProtocol
import Testing

@testable import PoolSets

/// SET_ATTR that was cut off between the headers of several parts: OPEN gives all of them the first part's attributes.
@Suite struct InterruptedAttributesTests {
    let fixture = PoolFixture()

    private static var changed: PoolAttributes {
        var attributes = PoolAttributes.captured()
        attributes.signature[0] = UInt8(ascii: "X")
        attributes.uuid = .counting(from: 0x60)
        attributes.poolsetUUID = .counting(from: 0x70)
        return attributes
    }

    /// The header pages of a pool of `count` parts before and after SET_ATTR, while it is open. The pool is left dirty.
    private func headers(
        _ count: Int, _ name: String = "a", attributes: PoolAttributes = .captured(), changed: PoolAttributes = changed
    ) throws -> (before: [[UInt8]], after: [[UInt8]]) {
        fixture.writeSet("\(name).set", (0..<count).map { "2M @/\(name)\($0)" }.joined(separator: "\n"))
        let pool = try fixture.store().create(
            descriptor: .named("\(name).set"), attributes: attributes, requestedSize: 0)
        func pages() -> [[UInt8]] { (0..<count).map { Array(fixture.read(fixture.part("\(name)\($0)"))[..<4096]) } }
        let before = pages()
        try pool.setAttributes(changed)
        let after = pages()
        pool.leaveDirty()
        return (before, after)
    }

    private func put(_ pages: [[UInt8]], _ name: String = "a") {
        for (number, page) in pages.enumerated() { fixture.write(fixture.part("\(name)\(number)"), page) }
    }

    private func open(_ name: String = "a") throws(PoolError) -> Pool {
        try fixture.store().open(descriptor: .named("\(name).set"), requestedSize: 0)
    }

    private func expectOpens(with attributes: PoolAttributes, changing parts: [Int], _ place: String) throws {
        let pool = try open()
        #expect(pool.attributes == attributes, "\(place)")
        #expect(pool.partsWithInterruptedAttributes == parts.map { fixture.part("a\($0)") }, "\(place)")
        try pool.close()
        let again = try open()
        #expect(again.partsWithInterruptedAttributes.isEmpty && again.attributes == attributes, "\(place)")
        try again.close()
    }

    /// Who may not write gets the first part's attributes, and leaves each header as it is.
    @Test func aReaderWritesNothing() throws {
        let (before, after) = try headers(3)
        put([before[0], after[1], after[2]])
        func files() -> [[UInt8]] { (0..<3).map { Array(fixture.read(fixture.part("a\($0)"))) } }
        let found = files()
        let pool = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0, isReadOnly: true)
        #expect(pool.attributes == .captured() && pool.partsWithInterruptedAttributes.isEmpty && files() == found)
        try pool.close()
        #expect(files() == found)
    }

    /// SET_ATTR writes the headers from the last to the first.
    @Test(arguments: 2...4) func afterEachHeader(_ count: Int) throws {
        let (before, after) = try headers(count)
        for written in 1..<count {
            put(Array(before[..<(count - written)] + after[(count - written)...]))
            try expectOpens(with: .captured(), changing: Array((count - written)..<count), "\(written) of \(count)")
        }
        put(after)
        try expectOpens(with: Self.changed, changing: [], "all of \(count)")
    }

    /// PMDK's target writes them from the first to the last.
    @Test(arguments: 2...4) func afterEachHeaderOfTheOriginal(_ count: Int) throws {
        let (before, after) = try headers(count)
        for written in 1..<count {
            put(Array(after[..<written] + before[written...]))
            try expectOpens(with: Self.changed, changing: Array(written..<count), "\(written) of \(count)")
        }
    }

    /// The first part's uuid is in the headers of its neighbours only.
    @Test(arguments: 2...4) func aChangeOfTheFirstUUIDAlone(_ count: Int) throws {
        var changed = PoolAttributes.captured()
        changed.uuid = .counting(from: 0x60)
        let (before, after) = try headers(count, changed: changed)
        put(Array(before[..<(count - 1)] + after[(count - 1)...]))
        try expectOpens(with: .captured(), changing: [count - 1], "\(count)")
    }

    private func expectRefusal(_ part: String, sourceLocation: SourceLocation = #_sourceLocation) {
        let error = poolError { () throws(PoolError) in try open().close() }
        #expect(error?.status == .badPoolConfiguration, sourceLocation: sourceLocation)
        #expect("\(error.map { "\($0)" } ?? "")".contains(part), sourceLocation: sourceLocation)
    }

    /// A part of another pool has other neighbours.
    @Test func partsOfDifferentPools() throws {
        let (before, _) = try headers(3)
        var attributes = PoolAttributes.captured()
        attributes.poolsetUUID = .counting(from: 0x90)
        let other = try headers(3, "b", attributes: attributes).before
        for number in 1..<3 {
            var pages = before
            pages[number] = other[number]
            put(pages)
            expectRefusal("a\(number)")
            #expect(Array(fixture.read(fixture.part("a\(number)"))[..<4096]) == other[number])
        }
    }

    /// SET_ATTR happens to open pools only.
    @Test func aPoolThatWasClosed() throws {
        let (before, after) = try headers(3)
        put(after)
        try open().close()
        var first = try #require(PoolHeader(bytes: before[0]))
        first.shutdownState = ShutdownState(first.shutdownState.counts, isDirty: false)
        put([first.bytes, before[1], after[2]])
        expectRefusal("a2")
    }

    /// Two changes at once are none that a target leaves.
    @Test func partsThatDifferFromEachOther() throws {
        let (before, after) = try headers(4)
        var third = try #require(PoolHeader(bytes: after[2]))
        third.major = 77
        third.seal()
        put([before[0], before[1], third.bytes, after[3]])
        expectRefusal("a2")
    }

    @Test func aTornHeader() throws {
        let (before, after) = try headers(2)
        put([before[0], Array(after[1][..<2048] + before[1][2048...])])
        expectRefusal("wrong checksum")
    }
}
