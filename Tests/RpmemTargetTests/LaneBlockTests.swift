import Testing

@testable import RpmemTarget

/// How many lanes a session's buffers are for.
@Suite struct LaneBlockTests {
    /// Inline data of stock initiators, of one that wants none, of the most that is taken, and beyond.
    @Test(arguments: [(0, 524_288), (8192, 8065), (1 << 20, 63), (64 << 20, 1), (1 << 40, 1)])
    func buffersAreLimited(_ inlineCapacity: Int, _ lanes: Int) {
        #expect(LaneBlock.laneLimit(inlineCapacity: inlineCapacity) == lanes)
    }
}
