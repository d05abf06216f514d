/// What a lane would have to send again in another session: exactly the ranges that were flushed and not drained. A request
/// covers the gaps between near ranges, too, but those may hold what other lanes have persisted, and are never sent.
struct RememberedRanges {
    let ranges: UnsafeMutablePointer<PendingRange>
    let capacity: Int
    var count: Int

    /// Adds a range. Ranges that overlap it or touch it become one with it.
    ///
    /// - Returns: False when there is no room; nothing is added then.
    mutating func add(_ range: PendingRange) -> Bool {
        var start = range.offset
        var end = range.offset &+ range.length
        // Two passes: without room the ranges stay as they are.
        var kept = 0
        var isGrowing = true
        while isGrowing {
            isGrowing = false
            kept = 0
            for index in 0..<count {
                let other = ranges[index]
                let otherEnd = other.offset &+ other.length
                if other.offset > end || otherEnd < start {
                    kept &+= 1
                } else if other.offset < start || otherEnd > end {
                    start = min(start, other.offset)
                    end = max(end, otherEnd)
                    isGrowing = true
                }
            }
        }
        if kept == capacity { return false }
        var next = 0
        for index in 0..<count {
            let other = ranges[index]
            if other.offset > end || other.offset &+ other.length < start {
                ranges[next] = other
                next &+= 1
            }
        }
        ranges[next] = PendingRange(offset: start, length: end &- start)
        count = next &+ 1
        return true
    }
}

extension InitiatorLane {
    /// Remembers a flushed range until the next drain. Without room for it, the lane drains here: nothing is left to send again
    /// then.
    mutating func remember(_ range: PendingRange) throws(LaneError) {
        var remembered = RememberedRanges(
            ranges: memory.remembered, capacity: LaneMemory.rememberedCapacity, count: rememberedCount)
        if remembered.add(range) {
            rememberedCount = remembered.count
        } else {
            try drain()
        }
    }
}
