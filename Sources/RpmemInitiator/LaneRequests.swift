import CFabric
import Fabric
import Glibc
import RpmemProtocol

// What a pool's calls are on a lane: `rpmem-protocol.md`, section 4. Ranges were checked by the caller.

extension UnsafeMutablePointer where Pointee == Lane {
    /// Makes a range persistent on the target; returns when it is.
    func persist(offset: Int, length: Int, by recipe: PersistRecipes.Recipe, deep: Bool) throws(LaneFault) {
        var offset = offset
        var rest = length
        while rest > 0 {
            let step: Int
            switch recipe {
            case .inline:
                step = min(rest, pointee.plane.pointee.inlineCapacity)
                try ask(.inline, offset: offset, length: step)
            case .writeAndAsk:
                step = min(rest, DataPlane.maximumSpan)
                try write(offset: offset, length: step)
                try ask(deep ? .deep : .write, offset: offset, length: step)
            case .writeAndReadBack:
                step = min(rest, DataPlane.maximumSpan)
                try write(offset: offset, length: step)
                try pushByReading()
            }
            offset &+= step
            rest &-= step
        }
    }

    /// Starts to make a range persistent; ``drain()`` finishes it. An inline recipe is finished here.
    func flush(offset: Int, length: Int, by recipe: PersistRecipes.Recipe) throws(LaneFault) {
        if length == 0 { return }
        switch recipe {
        case .inline: try persist(offset: offset, length: length, by: recipe, deep: false)
        case .writeAndAsk:
            try write(offset: offset, length: length)
            try remember(PendingRange(offset: offset, length: length))
        case .writeAndReadBack:
            try write(offset: offset, length: length)
            pointee.needsReadBack = true
        }
    }

    /// Makes all persistent that was flushed since the last time; returns when it is.
    func drain() throws(LaneFault) {
        if pointee.needsReadBack {
            try pushByReading()
            pointee.needsReadBack = false
        }
        while pointee.rangeCount > 0 { try persistOldestRange() }
    }

    /// Copies a range of the pool there into `destination`.
    func read(into destination: UnsafeMutableRawPointer, offset: Int, length: Int) throws(LaneFault) {
        let plane = pointee.plane
        // Never straight into the caller's memory: a READ that was given up may still arrive.
        let buffer: UnsafeMutableRawBufferPointer
        let descriptor: UnsafeMutableRawPointer?
        if let large = pointee.readBuffer, length > plane.pointee.inlineCapacity {
            buffer = large
            descriptor = pointee.readBufferDescriptor
        } else {
            try wait(for: .sendBuffer)
            buffer = UnsafeMutableRawBufferPointer(start: pointee.request, count: plane.pointee.inlineCapacity)
            descriptor = plane.pointee.bufferDescriptor
        }
        guard let base = buffer.baseAddress else { return }
        var done = 0
        while done < length {
            let step = min(length &- done, min(buffer.count, plane.pointee.maximumTransfer))
            try postRead(into: base, descriptor: descriptor, offset: offset &+ done, length: step)
            try wait(for: .read)
            memcpy(destination + done, base, step)
            done &+= step
        }
    }

    // MARK: Steps

    private func write(offset: Int, length: Int) throws(LaneFault) {
        var offset = offset
        var rest = length
        while rest > 0 {
            let step = min(rest, pointee.plane.pointee.maximumTransfer)
            try postWrite(offset: offset, length: step)
            offset &+= step
            rest &-= step
        }
    }

    /// Sends a persist request and waits for its answer.
    private func ask(_ mode: PersistMode, offset: Int, length: Int) throws(LaneFault) {
        let plane = pointee.plane
        try wait(for: .sendBuffer)
        try postReceive()
        let header = PersistRequestHeader(
            flags: mode.rawValue, lane: pointee.number,
            address: plane.pointee.remoteBase &+ UInt64(truncatingIfNeeded: offset),
            size: UInt64(truncatingIfNeeded: length))
        pointee.request.storeBytes(of: header, as: PersistRequestHeader.self)
        var size = PersistRequestHeader.byteCount
        if mode == .inline {
            memcpy(pointee.request + size, plane.pointee.localBase + offset, length)
            size &+= length
        }
        // An answer that is here before its request belongs to none, and must not count for this one.
        try noteCompletions()
        pointee.hasAnswer = false
        pointee.awaitsAnswer = true
        try postSend(size)
        try wait(for: .answer)
        if pointee.answerLength != PersistResponse.byteCount { throw .answerOfWrongLength }
        if pointee.answer.load(as: PersistResponse.self).lane != pointee.number { throw .answerForAnotherLane }
        // For the next answer, before anything could ask for it.
        try postReceive()
    }

    /// An 8-byte READ behind the WRITEs: it cannot overtake them, so when it is back they are out of the target's I/O
    /// path.
    private func pushByReading() throws(LaneFault) {
        try postRead(
            into: pointee.readBack, descriptor: pointee.plane.pointee.bufferDescriptor, offset: 0, length: 8)
        try wait(for: .read)
    }

    // MARK: Flushed ranges

    /// Adds a range to those that the next drain asks for. They are few, and no request for them covers much that was
    /// not flushed: far apart, they are asked for one by one.
    private func remember(_ range: PendingRange) throws(LaneFault) {
        let ranges = pointee.ranges
        var index = pointee.rangeCount
        while index > 0 {
            index &-= 1
            let start = min(ranges[index].offset, range.offset)
            let end = max(ranges[index].offset &+ ranges[index].length, range.offset &+ range.length)
            let sum = ranges[index].length &+ range.length
            if end &- start <= sum &+ Lane.worthwhileGap, end &- start <= DataPlane.maximumSpan {
                ranges[index] = PendingRange(offset: start, length: end &- start)
                return
            }
        }
        if pointee.rangeCount == Lane.rangeCapacity { try persistOldestRange() }
        ranges[pointee.rangeCount] = range
        pointee.rangeCount &+= 1
    }

    private func persistOldestRange() throws(LaneFault) {
        let ranges = pointee.ranges
        while ranges[0].length > 0 {
            let step = min(ranges[0].length, DataPlane.maximumSpan)
            try ask(.write, offset: ranges[0].offset, length: step)
            ranges[0].offset &+= step
            ranges[0].length &-= step
        }
        pointee.rangeCount &-= 1
        // The newest stays the last: it is the likeliest to grow.
        memmove(ranges, ranges + 1, pointee.rangeCount &* MemoryLayout<PendingRange>.stride)
    }
}
