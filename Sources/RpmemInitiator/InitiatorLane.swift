import CFabric
import Fabric
import Glibc
import RpmemProtocol

/// One connected lane, from the call down to libfabric. Persist requests are those of `docs/protocol.md`, section 4 (In-band
/// messages).
///
/// One thread at a time uses a lane, see ``LaneSlot/isTaken``. Lanes share nothing but constants. At most one request is
/// unanswered at any time, because targets post one receive buffer per lane. Callers have checked ranges before.
///
/// Nothing here allocates, locks, logs or counts references while all goes well; `make hot-path` checks the machine code.
struct InitiatorLane: ~Copyable {
    let number: UInt32
    let constants: LaneConstants
    let endpoint: UnsafeMutablePointer<fid_ep>
    let queue: UnsafeMutablePointer<fid_cq>
    let memory: LaneMemory

    // Registered buffers: a request with its data, an answer, and 8 bytes for a READ whose data does not matter.
    let request: UnsafeMutableRawPointer
    let answer: UnsafeMutableRawPointer
    let readBack: UnsafeMutableRawPointer
    /// For reads that are longer than the request buffer; made for the first of them.
    private(set) var longReadBuffer: RegisteredBuffer?
    /// The memory of ``longReadBuffer`` and its descriptor, without counting references.
    private var longRead: UnsafeMutableRawBufferPointer?
    private var longReadDescriptor: UnsafeMutableRawPointer?

    // Operations.
    var receiveIsPosted = false
    /// Whether a request is unanswered.
    var awaitsAnswer = false
    var answerLength = 0
    /// WRITEs that are known to be over when the next answer arrives.
    var retiredByAnswer = 0
    /// Whether a SEND still uses the request buffer. False for a request that was injected.
    var sendIsUnderWay = false
    /// A bit for each READ that is under way.
    var readsUnderWay: UInt32 = 0
    /// WRITEs that are not known to be over.
    var writesUnderWay = 0
    /// Committing WRITEs that are not known to be durable.
    var commitsUnderWay = 0
    /// WRITEs since the last operation that reports its completion.
    var writesUnreported = 0
    var nextWrite = 0
    var polling: CompletionPolling

    // Work of the next drain.
    private var rangeCount = 0
    private var needsReadBack = false
    /// Ranges in ``LaneMemory/remembered``, see RememberedRanges.swift.
    var rememberedCount = 0

    /// Bytes that one request covers at most, so that the target answers well within its time.
    private static let maximumSpan = 256 << 20
    /// Bytes of one committing WRITE at most: the target flushes one piece while the next ones arrive.
    private static let maximumCommit = 1 << 20
    /// Ranges at most this many bytes apart are asked for together: flushing the gap in vain takes the target less time
    /// than another round trip.
    private static let worthwhileGap = 4096

    /// The longest read, in bytes, that goes through the request buffer.
    static let longestShortRead = 8192

    /// Bytes of buffer that a lane needs for requests with `inlineCapacity` bytes of data. The answer and the read-back
    /// have cache lines of their own, before the request: a short request then touches one page.
    static func bufferSize(inlineCapacity: Int) -> Int {
        128 + ((PersistRequestHeader.byteCount + inlineCapacity + 63) & ~63)
    }

    /// - Parameter buffer: Registered for messages and transfers; of ``bufferSize(inlineCapacity:)``.
    init(
        number: UInt32, constants: LaneConstants, endpoint: Endpoint, queue: CompletionQueue,
        buffer: UnsafeMutableRawPointer, memory: LaneMemory
    ) {
        self.number = number
        self.constants = constants
        self.endpoint = endpoint.pointer
        self.queue = queue.pointer
        self.memory = memory
        polling = CompletionPolling(nanoseconds: constants.pollNanoseconds)
        answer = buffer
        readBack = buffer + 64
        request = buffer + 128
    }

    // MARK: Calls

    /// Makes a range persistent on the target. It is persistent when this returns.
    mutating func persist(
        offset: Int, length: Int, by recipe: PersistRecipes.Recipe, deep: Bool = false
    ) throws(LaneError) {
        var offset = offset
        var rest = length
        while rest > 0 {
            let step: Int
            switch recipe {
            case .inline:
                step = min(rest, constants.inlineCapacity)
                try ask(.inline, offset: offset, length: step)
            case .writeAndAsk:
                step = min(rest, Self.maximumSpan)
                try write(offset: offset, length: step)
                try ask(deep ? .deep : .write, offset: offset, length: step)
            case .writeAndCommit:
                step = min(rest, Self.maximumSpan)
                try write(offset: offset, length: step, commits: true)
                try wait(for: .commits)
            case .writeAndReadBack:
                step = min(rest, Self.maximumSpan)
                try write(offset: offset, length: step)
                try readBackOnce()
            }
            offset &+= step
            rest &-= step
        }
    }

    /// Starts to make a range persistent; ``drain()`` finishes it. The inline recipe finishes it here.
    mutating func flush(offset: Int, length: Int, by recipe: PersistRecipes.Recipe) throws(LaneError) {
        if length == 0 { return }
        switch recipe {
        case .inline: try persist(offset: offset, length: length, by: recipe)
        case .writeAndAsk, .writeAndCommit:
            // One request for the ranges of many flushes costs less than a commit of each.
            try write(offset: offset, length: length)
            try add(PendingRange(offset: offset, length: length))
            if constants.remembers { try remember(PendingRange(offset: offset, length: length)) }
        case .writeAndReadBack:
            try write(offset: offset, length: length)
            needsReadBack = true
            if constants.remembers { try remember(PendingRange(offset: offset, length: length)) }
        }
    }

    /// Starts again what was flushed and not drained, on a lane of a new session. The remembered ranges stay as they are.
    mutating func flushRemembered(readsBack: Bool) throws(LaneError) {
        rangeCount = 0
        for index in 0..<rememberedCount {
            let range = memory.remembered[index]
            try write(offset: range.offset, length: range.length)
            if readsBack { needsReadBack = true } else { try add(range) }
        }
    }

    /// Makes all ranges persistent that were flushed since the last drain. They are persistent when this returns.
    mutating func drain() throws(LaneError) {
        if needsReadBack {
            try readBackOnce()
            needsReadBack = false
        }
        while rangeCount > 0 { try persistFirstRange() }
        rememberedCount = 0
    }

    /// Copies a range of the target's pool into `destination`.
    ///
    /// Several READs are under way at once, each into a piece of the buffer. The lane copies one piece while the others arrive.
    mutating func read(
        into destination: UnsafeMutableRawPointer, offset: Int, length: Int
    ) throws(LaneError) {
        // A READ never goes to the caller's memory: its data may still arrive after the call has given up.
        let buffer: UnsafeMutableRawPointer
        let capacity: Int
        let pieces: Int
        let descriptor: UnsafeMutableRawPointer?
        if length > Self.longestShortRead, let longRead, let base = longRead.baseAddress {
            (buffer, descriptor, pieces) = (base, longReadDescriptor, constants.readDepth)
            capacity = longRead.count / pieces
        } else {
            try wait(for: .sendBuffer)
            (buffer, descriptor, pieces) = (request, constants.readDescriptor, 1)
            capacity = constants.inlineCapacity
        }
        let maximum = min(capacity, constants.maximumTransfer)
        var posted = 0
        var nextToPost = 0
        var copied = 0
        var nextToCopy = 0
        var underWay = 0
        while copied < length {
            while underWay < pieces, posted < length {
                let step = min(length &- posted, maximum)
                try postRead(
                    nextToPost, into: buffer + nextToPost &* maximum, descriptor: descriptor,
                    offset: offset &+ posted, length: step)
                posted &+= step
                nextToPost = nextToPost &+ 1 == pieces ? 0 : nextToPost &+ 1
                underWay &+= 1
            }
            try wait(for: .read(nextToCopy))
            let step = min(length &- copied, maximum)
            memcpy(destination + copied, buffer + nextToCopy &* maximum, step)
            copied &+= step
            nextToCopy = nextToCopy &+ 1 == pieces ? 0 : nextToCopy &+ 1
            underWay &-= 1
        }
    }

    /// Gives the lane a buffer for long reads.
    mutating func setLongReadBuffer(_ buffer: RegisteredBuffer) {
        longReadBuffer = buffer
        longRead = buffer.bytes
        longReadDescriptor = buffer.descriptor(for: .localTransfers)
    }

    // MARK: Steps of a call

    private mutating func write(offset: Int, length: Int, commits: Bool = false) throws(LaneError) {
        let maximum = commits ? min(constants.maximumTransfer, Self.maximumCommit) : constants.maximumTransfer
        var offset = offset
        var rest = length
        while rest > 0 {
            let step = min(rest, maximum)
            try postWrite(offset: offset, length: step, commits: commits)
            offset &+= step
            rest &-= step
        }
    }

    /// Sends a persist request and waits for its answer.
    private mutating func ask(_ mode: PersistMode, offset: Int, length: Int) throws(LaneError) {
        try wait(for: .sendBuffer)
        try postReceive()
        let header = PersistRequestHeader(
            flags: mode.rawValue, lane: number,
            address: constants.remoteBase &+ UInt64(truncatingIfNeeded: offset),
            size: UInt64(truncatingIfNeeded: length))
        request.storeBytes(of: header, as: PersistRequestHeader.self)
        var size = PersistRequestHeader.byteCount
        if mode == .inline {
            memcpy(request + size, constants.localBase + offset, length)
            size &+= length
        }
        // An answer that is here before its request belongs to none, and must not count for this one.
        while try noteCompletions(fi_cq_read(queue, memory.completions, LaneMemory.completionCapacity)) {}
        awaitsAnswer = true
        try postSend(size)
        try wait(for: .answer)
        if answerLength != PersistResponse.byteCount { throw .answerOfWrongLength }
        if answeredLane != number { throw .answerForAnotherLane }
        // Posted now, the receive costs the next request no time.
        try postReceive()
    }

    /// The lane that the last answer names.
    var answeredLane: UInt32 { answer.load(as: PersistResponse.self).lane }

    /// READs 8 bytes behind the WRITEs. The READ cannot overtake them: when it completes, they are out of the target's I/O
    /// path.
    private mutating func readBackOnce() throws(LaneError) {
        try postRead(0, into: readBack, descriptor: constants.readDescriptor, offset: 0, length: 8)
        try wait(for: .read(0))
    }

    /// Adds a range to those of the next drain. Near ranges become one; far ones stay apart, so that no request covers
    /// much that was not flushed.
    private mutating func add(_ range: PendingRange) throws(LaneError) {
        let ranges = memory.ranges
        var index = rangeCount
        while index > 0 {
            index &-= 1
            let start = min(ranges[index].offset, range.offset)
            let end = max(ranges[index].offset &+ ranges[index].length, range.offset &+ range.length)
            let sum = ranges[index].length &+ range.length
            if end &- start <= sum &+ Self.worthwhileGap, end &- start <= Self.maximumSpan {
                ranges[index] = PendingRange(offset: start, length: end &- start)
                return
            }
        }
        if rangeCount == LaneMemory.rangeCapacity { try persistFirstRange() }
        ranges[rangeCount] = range
        rangeCount &+= 1
    }

    private mutating func persistFirstRange() throws(LaneError) {
        let ranges = memory.ranges
        while ranges[0].length > 0 {
            let step = min(ranges[0].length, Self.maximumSpan)
            try ask(.write, offset: ranges[0].offset, length: step)
            ranges[0].offset &+= step
            ranges[0].length &-= step
        }
        rangeCount &-= 1
        // The order stays: the newest range is the likeliest to grow.
        memmove(ranges, ranges + 1, rangeCount &* MemoryLayout<PendingRange>.stride)
    }
}
