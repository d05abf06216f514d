import Testing

extension ForgettingRun {
    /// Drops each event of each call in turn, and expects the loss to be seen.
    ///
    /// - Returns: The number of drops.
    func dropEachEventOfPersists() throws -> Int {
        var drops = 0
        for range in rangesToDrop() {
            for call in ReplicationCall.allCases {
                let before = memory.counts
                #expect(try loss(after: call, of: range) == nil)
                let events = memory.events(since: before)
                #expect(!events.isEmpty)
                for (event, number) in events {
                    let hits = memory.hits
                    memory.arm(.drop, event, next: number)
                    let loss = try loss(after: call, of: range)
                    memory.disarm()
                    #expect(memory.hits == hits + 1)
                    #expect(loss != nil, "\(call) of \(range): nobody misses \(event) \(number)")
                    drops += 1
                }
                // What a dropped drain left over goes with this.
                #expect(try loss(after: call, of: range) == nil)
            }
        }
        return drops
    }

    /// Carries out a step once, and then again and again, each time without one of the events that it needs.
    ///
    /// - Parameter isNeeded: Of an event, and its number from 1 on.
    /// - Returns: The number of drops.
    @discardableResult
    func dropEachEvent(
        of step: ForgettingStep, where isNeeded: (ForgettingEvent, UInt64) -> Bool
    ) throws -> Int {
        try goTo(step)
        let before = memory.counts
        try carryOut(step)
        let events = memory.events(since: before).filter(isNeeded)
        #expect(!events.isEmpty)
        try expectDurable(step)
        try comeBack(from: step)
        for (event, number) in events {
            try goTo(step)
            let hits = memory.hits
            memory.arm(.drop, event, next: number)
            try carryOut(step)
            memory.disarm()
            #expect(memory.hits == hits + 1)
            #expect(try losses(after: step) != [], "\(step): nobody misses \(event) \(number)")
            try comeBack(from: step)
        }
        return events.count
    }
}
