import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A control request.
enum ForgettingStep: CaseIterable {
    case create, open, setAttributes, close
}

/// One pool on a ``ForgettingMemory``, its initiator, and what must survive.
final class ForgettingRun {
    /// A range that was answered.
    struct Answered {
        var range: Range<Int>
        var call: ReplicationCall
    }

    let memory: ForgettingMemory
    let original: Original
    let hasOnePart: Bool
    private(set) var pool: InitiatorPool!
    /// The major version in the attributes that were answered last.
    private(set) var major: UInt32
    private(set) var rangesChecked = 0
    private let provider: Provider
    private var random = SeededGenerator(seed: 90)

    init(_ kind: ForgettingMemory.Kind, _ poolKind: PoolKind, _ provider: Provider) throws {
        memory = try ForgettingMemory(kind)
        original = try Original(poolKind.prepare(on: memory.reach.target))
        hasOnePart = original.plan.pieces.count == 1
        major = original.plan.attributes.major
        self.provider = provider
    }

    /// A pool on ``FakeDeviceDAX``, which has been installed with this size.
    init(onDeviceOf size: Int, _ provider: Provider) throws {
        memory = try ForgettingMemory(.persistent, device: "part0")
        let target = memory.reach.target
        let plan = try PoolPlan(on: target, "pool.set", partSizes: [size])
        try write("PMEMPOOLSET\nAUTO \(FakeDeviceDAX.devicePath)\n", to: "\(target.sets)/pool.set")
        let file = try Descriptor.open(plan.paths[0], O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.number, off_t(size)) == 0 else { throw SystemCallError.last("ftruncate") }
        original = try Original(plan)
        hasOnePart = true
        major = plan.attributes.major
        self.provider = provider
    }

    // MARK: Ranges

    /// Sizes around those of words, lines and pages, at all places in a line that differ.
    func smallRanges() -> [Range<Int>] {
        let start = original.plan.firstByte + 8192
        return [1, 2, 7, 8, 9, 63, 64, 65, 127, 129, 4095, 4097].flatMap { size in
            [0, 1, 7, 8, 31, 56, 63].map { start + $0..<start + $0 + size }
        }
    }

    /// Few lines each, inside a part and across the boundaries of parts.
    func rangesToDrop() -> [Range<Int>] {
        let start = original.plan.firstByte + 12_288
        var ranges = [start..<start + 1, start + 60..<start + 68, start + 9..<start + 300, start + 4090..<start + 4103]
        for boundary in original.plan.boundaries {
            ranges += [boundary - 1..<boundary + 1, boundary - 200..<boundary + 300]
        }
        return ranges
    }

    /// One on each part.
    var earlyRanges: [Range<Int>] {
        original.plan.pieces.map { $0.poolOffset + 65_536..<$0.poolOffset + 65_700 }
    }

    /// Gives a range other bytes than it has, and replicates it.
    func replicate(_ range: Range<Int>, by call: ReplicationCall, lane: Int = 0) throws(InitiatorError) {
        if range.count > 8192 {
            original.memory.fill(range, from: &random)
        } else {
            // Each byte differs from the one that it replaces, so that one byte of a lost line is enough to see it.
            for index in range { original.memory.bytes[index] &+= 1 }
        }
        try pool.replicate(range, by: call, lane: lane)
        original.expected.copy(range, of: original.memory)
    }

    /// The first byte of an answered range that would be lost.
    func loss(of range: Range<Int>, after call: ReplicationCall) throws -> Int? {
        rangesChecked += 1
        let level = call == .deepPersist ? ForgettingMemory.Level.medium : .domain
        return try memory.firstLoss(of: range, original, in: level)
    }

    /// Replicates a range.
    ///
    /// - Returns: The first byte of it that would be lost; nil when none would.
    func loss(after call: ReplicationCall, of range: Range<Int>, lane: Int = 0) throws -> Int? {
        try replicate(range, by: call, lane: lane)
        return try loss(of: range, after: call)
    }

    // MARK: Control requests

    private func options(_ arguments: [String], _ provider: Provider?) -> InitiatorOptions {
        var options = memory.reach.options(
            provider ?? self.provider, environment: memory.environment, arguments: arguments)
        options.exitTimeout = .milliseconds(300)
        return options
    }

    func create(lanes: Int = 1, arguments: [String] = []) throws(InitiatorError) {
        pool = nil
        major = original.plan.attributes.major
        original.expected.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        pool = try original.create(memory.reach, lanes: lanes, options(arguments, nil))
    }

    func open(lanes: Int = 1, provider: Provider? = nil, arguments: [String] = []) throws(InitiatorError) {
        pool = nil
        pool = try original.open(memory.reach, lanes: lanes, options(arguments, provider))
        major = pool.attributes.major
    }

    func setAttributes() throws(InitiatorError) {
        var attributes = original.plan.attributes
        attributes.major = major &+ 1
        try pool.setAttributes(attributes)
        major = attributes.major
    }

    func carryOut(_ step: ForgettingStep) throws(InitiatorError) {
        switch step {
        case .create: try create()
        case .open: try open()
        case .setAttributes: try setAttributes()
        case .close: try pool.close()
        }
    }

    /// Does what comes before a step, the creation of the pool excepted.
    func goTo(_ step: ForgettingStep) throws(InitiatorError) {
        switch step {
        case .create, .open: break
        case .setAttributes, .close:
            try open()
            for range in earlyRanges { try replicate(range, by: .persist) }
        }
    }

    /// Comes back from a step: the pool is there and closed, or before CREATE is not there.
    func comeBack(from step: ForgettingStep) throws(InitiatorError) {
        switch step {
        case .create: try pool.close(removing: true)
        case .open: try pool.close()
        case .setAttributes:
            // CLOSE does not write again what a dropped write has lost.
            try setAttributes()
            try pool.close()
        case .close: break
        }
    }

    /// What a step that was answered has promised, and a loss of power would lose.
    func losses(after step: ForgettingStep) throws -> [String] {
        var losses = try memory.headerLosses(original.plan, major: major, isOpen: step != .close)
        if step == .create {
            // New parts have their blocks, which read as zeros. The stand-in lets what was not written read as other bytes.
            let data = original.plan.firstByte..<original.plan.size
            if let byte = try memory.firstLoss(of: data, original, in: .medium) {
                losses.append("byte \(byte) is not durable")
            }
        }
        if step == .close {
            // CLOSE leaves nothing in the queues of the memory controller.
            for range in earlyRanges {
                if let byte = try memory.firstLoss(of: range, original, in: .medium) {
                    losses.append("byte \(byte) is not on the medium")
                }
            }
        }
        return losses
    }

    func expectDurable(_ step: ForgettingStep, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let losses = try losses(after: step)
        #expect(losses == [], "\(step)", sourceLocation: sourceLocation)
    }

    // MARK: The end of a daemon

    /// Takes the power from a target whose daemon is gone, and opens the pool again: answered ranges are there.
    func recover(
        _ answered: [Answered], lanes: Int = 1, provider: Provider? = nil, arguments: [String] = [],
        losesPower: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        pool = nil
        memory.reach.expectNothingRuns()
        for answer in answered {
            let loss = try loss(of: answer.range, after: answer.call)
            #expect(loss == nil, "\(answer.call) of \(answer.range) was answered", sourceLocation: sourceLocation)
        }
        if losesPower { try memory.losePower(original.plan) }
        try open(lanes: lanes, provider: provider, arguments: arguments)
        let found = try Pages(1 << 20)
        for answer in answered where answer.range.count <= 1 << 20 {
            try pool.read(into: found[0..<answer.range.count], offset: answer.range.lowerBound, lane: 0)
            #expect(
                firstDifference(
                    UnsafeRawBufferPointer(found[0..<answer.range.count]),
                    UnsafeRawBufferPointer(original.expected[answer.range])) == nil,
                "\(answer.range) after the loss of power", sourceLocation: sourceLocation)
        }
        try expectDurable(.open, sourceLocation: sourceLocation)
    }

    /// Ends the session, whatever state it is in.
    func end(sourceLocation: SourceLocation = #_sourceLocation) {
        try? pool?.close()
        pool = nil
        memory.reach.expectNothingRuns(sourceLocation: sourceLocation)
    }

    /// Expects each answer to be durable when it comes: those to all calls of each range on four lanes, to SET_ATTR, to CLOSE,
    /// and to OPEN, which leaves the pool open.
    func expectDurableAnswers(over ranges: [Range<Int>]) throws {
        for range in ranges {
            for (lane, call) in ReplicationCall.allCases.enumerated() {
                try #require(loss(after: call, of: range, lane: lane % 4) == nil)
            }
        }
        for range in earlyRanges { try replicate(range, by: .persist) }
        try setAttributes()
        try expectDurable(.setAttributes)
        try carryOut(.close)
        try expectDurable(.close)
        try open()
        try expectDurable(.open)
    }
}
