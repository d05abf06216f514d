import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A control request.
enum ForgettingStep: CaseIterable {
    case create, open, setAttributes, close

    /// The events by which the step makes durable what it promises. CLOSE also flushes the first page of each part, which holds
    /// nothing that is not durable already: that is how it reaches the part's msync.
    var promisedEvents: [ForgettingEvent] { [.write, .msync] }
}

/// One pool on a ``ForgettingMemory``, its initiator, and what must survive.
final class ForgettingRun {
    let memory: ForgettingMemory
    let original: Original
    private let options: InitiatorOptions
    private(set) var pool: InitiatorPool!
    private var major = PoolAttributes.sample.major
    private(set) var rangesChecked = 0

    init(
        _ memory: ForgettingMemory, _ kind: PoolKind, _ provider: Provider, arguments: [String] = []
    ) throws {
        self.memory = memory
        original = try Original(kind.prepare(on: memory.reach.target))
        var options = memory.reach.options(provider, environment: memory.environment, arguments: arguments)
        options.exitTimeout = .milliseconds(300)
        self.options = options
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

    // MARK: Requests

    func create(lanes: Int) throws {
        pool = try original.create(memory.reach, lanes: lanes, options)
        major = original.plan.attributes.major
        expectHeaders(isOpen: true)
    }

    func open(lanes: Int) throws {
        pool = try original.open(memory.reach, lanes: lanes, options)
        expectHeaders(isOpen: true)
    }

    func setAttributes() throws {
        try changeAttributes()
        expectHeaders(isOpen: true)
    }

    private func changeAttributes() throws {
        var attributes = original.plan.attributes
        attributes.major = major &+ 1
        try pool.setAttributes(attributes)
        major = attributes.major
    }

    func close() throws {
        try pool.close()
        expectHeaders(isOpen: false)
    }

    private func expectHeaders(isOpen: Bool, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(throws: Never.self, sourceLocation: sourceLocation) {
            let losses = try memory.headerLosses(original.plan, major: major, isOpen: isOpen)
            #expect(losses == [], sourceLocation: sourceLocation)
        }
    }

    /// Gives a range new bytes, each different from the one before, and replicates it.
    ///
    /// - Returns: The first byte of it that would be lost; nil when none would.
    func loss(after call: ReplicationCall, of range: Range<Int>, lane: Int) throws -> Int? {
        for index in range { original.memory.bytes[index] &+= 1 }
        try pool.replicate(range, by: call, lane: lane)
        original.expected.copy(range, of: original.memory)
        return try loss(of: range, after: call)
    }

    /// The first byte of an answered range that would be lost.
    func loss(of range: Range<Int>, after call: ReplicationCall) throws -> Int? {
        rangesChecked += 1
        let level = call == .deepPersist ? ForgettingMemory.Level.medium : .domain
        return try memory.firstLoss(of: range, original, in: level)
    }

    // MARK: Steps

    /// Ranges that were answered before the step, one on each part, and not with a deep persist.
    private var earlyRanges: [Range<Int>] {
        original.plan.pieces.map { $0.poolOffset + 65_536..<$0.poolOffset + 65_700 }
    }

    /// Does what comes before a step.
    func goTo(_ step: ForgettingStep) throws {
        if step == .create { return }
        try create(lanes: 1)
        if step == .open {
            try close()
            return
        }
        for range in earlyRanges { _ = try loss(after: .persist, of: range, lane: 0) }
    }

    func carryOut(_ step: ForgettingStep) throws {
        switch step {
        case .create: pool = try original.create(memory.reach, lanes: 1, options)
        case .open: pool = try original.open(memory.reach, lanes: 1, options)
        case .setAttributes: try changeAttributes()
        case .close: try pool.close()
        }
    }

    /// What a step that was answered promises, and a loss of power would lose.
    func losses(after step: ForgettingStep) throws -> [String] {
        var losses = try memory.headerLosses(original.plan, major: major, isOpen: step != .close)
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

    /// Closes the pool, whatever that finds.
    func end() throws {
        try? pool?.close()
        memory.reach.expectNothingRuns()
    }
}
