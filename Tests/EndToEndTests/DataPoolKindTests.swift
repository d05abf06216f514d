import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// A pool's whole life: created, replicated to by every call, read back, its attributes changed, closed, opened again,
/// removed. After each session the contents of the part files are checked.
@Suite(.blocking, .timeLimit(.minutes(30))) struct DataPoolKindTests {
    @Test(arguments: loopbackProviders, PoolKind.allCases)
    func wholeLife(_ provider: Provider, _ kind: PoolKind) throws {
        try liveThrough(provider, kind, Reach(.script))
    }

    /// CLOSE with the remove flag removes the files that its session created, and no others.
    @Test(arguments: loopbackProviders, [PoolKind.threeParts, .plainFile])
    func removedByItsCreator(_ provider: Provider, _ kind: PoolKind) throws {
        let reach = try Reach()
        let original = try Original(kind.prepare(on: reach.target))
        let created = try original.create(reach, lanes: 1, reach.options(provider))
        try created.close()
        let opened = try original.open(reach, lanes: 1, reach.options(provider))
        try opened.close(removing: true)
        #expect(original.plan.partsPresent() == original.plan.pieces.count)
        try InitiatorPool.remove(
            target: reach.address, poolSet: original.plan.descriptor, options: reach.options(provider))
        #expect(original.plan.partsPresent() == 0)
        guard kind != .plainFile else { return }
        let second = try original.create(reach, lanes: 1, reach.options(provider))
        try second.close(removing: true)
        #expect(original.plan.partsPresent() == 0)
    }
}

/// One life of a pool of the given kind.
func liveThrough(_ provider: Provider, _ kind: PoolKind, _ reach: Reach) throws {
    var random = SeededGenerator(seed: 11)
    let plan = try kind.prepare(on: reach.target)
    let options = reach.options(provider)
    let original = try Original(plan)
    expectFailure(plan.descriptor.hasSuffix(".set") ? ENOENT : EINVAL) { () throws(InitiatorError) in
        try original.open(reach, lanes: 1, options)
    }

    let created = try original.create(reach, lanes: 2, options)
    #expect(created.lanes == 2)
    #expect(created.size == plan.size)
    #expect(created.provider == provider)
    #expect(created.persistMethod == .gpspm)
    let ranges = original.awkwardRanges(&random)
    for (index, call) in ReplicationCall.allCases.enumerated() {
        for range in ranges { try original.replicate(range, to: created, by: call, lane: index % 2, &random) }
    }
    try original.expectReadBack(from: created, lane: 0, &random)
    var attributes = plan.attributes
    if plan.attributes.isNone {
        expectFailure(EINVAL) { () throws(InitiatorError) in try created.setAttributes(.sample) }
        // The pool stays usable after the refusal.
        try original.replicate(ranges[0], to: created, by: .persist, lane: 0, &random)
    } else {
        attributes.signature = SIMD8("NEWATTR!".utf8)
        attributes.userFlags.bytes[0] = 0xee
        try created.setAttributes(attributes)
        expectFailure(EINVAL) { () throws(InitiatorError) in try created.persist(offset: 4095, length: 1, lane: 0) }
    }
    try created.close()
    expectFailure(EBADF) { () throws(InitiatorError) in try created.drain(lane: 0) }
    reach.expectNothingRuns()
    try original.expectOnParts()
    try plan.expectUnlocked()
    expectFailure(plan.attributes.isNone ? nil : EEXIST, created: plan) { () throws(InitiatorError) in
        try original.create(reach, lanes: 1, options).close()
    }

    let opened = try original.open(reach, lanes: 1, options)
    #expect(opened.attributes == attributes)
    try original.expectReadBack(from: opened, lane: 0, &random)
    try original.replicate(original.disjointRanges(&random), to: opened, lane: 0, &random)
    try original.expectReadBack(from: opened, lane: 0, &random)
    try opened.close()
    try original.expectOnParts()

    try InitiatorPool.remove(
        target: reach.address, poolSet: plan.descriptor, removePoolSet: kind != .plainFile, options: options)
    #expect(plan.partsPresent() == 0)
    #expect(TemporaryDirectory.entries(of: reach.target.sets) == [])
    expectFailure(ENOENT) { () throws(InitiatorError) in try original.open(reach, lanes: 1, options) }
}

/// A pool without headers leaves no mark on its parts, so CREATE makes it again on the same parts.
private func expectFailure(
    _ errno: Int32?, created plan: PoolPlan, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws(InitiatorError) -> Void
) {
    if let errno {
        expectFailure(errno, sourceLocation: sourceLocation, body)
    } else {
        #expect(throws: Never.self, sourceLocation: sourceLocation) { try body() }
    }
}
