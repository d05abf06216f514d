import Testing

@testable import RpmemTarget

@Suite struct ConnectedLanesTests {
    @Test func aLaneEndsOnce() {
        var lanes = ConnectedLanes()
        let hasEnded = lanes.noteConnection(of: 0)
        #expect(!hasEnded && lanes.now == [0] && lanes.ever == [0])
        let ends = [lanes.noteEnd(of: 0), lanes.noteEnd(of: 0)]
        #expect(ends == [true, false] && lanes.now == [] && lanes.ever == [0])
    }

    /// Such a lane would otherwise count as connected for ever, and the session would wait for its end.
    @Test func anEndThatIsReportedFirstIsRemembered() {
        var lanes = ConnectedLanes()
        let early = lanes.noteEnd(of: 2)
        #expect(!early && lanes.now == [] && lanes.ever == [])
        let hasEnded = lanes.noteConnection(of: 2)
        let end = lanes.noteEnd(of: 2)
        #expect(hasEnded && end && lanes.now == [] && lanes.ever == [2])
    }

    @Test func aBrokenLaneIsNotClosedAgain() {
        var lanes = ConnectedLanes()
        let hasEnded = lanes.noteConnection(of: 1)
        let isBroken = lanes.remove(1)
        let end = lanes.noteEnd(of: 1)
        #expect(!hasEnded && isBroken && !end)
    }
}
