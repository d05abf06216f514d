import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// What the file of a session says: who has it, and its counts. ``SessionPage`` writes it, `rpmemd --status` reads it.
///
/// The layout is this build's own, in the machine's byte order: writer and reader are on one machine. A page of 4096 bytes has
/// all but the workers' ``PersistCounts``, which follow it, each in cache lines of its own.
struct SessionRecord: Equatable, Sendable {
    /// The process of the daemon.
    var process: Int32
    var session: UInt32
    /// Seconds since the epoch.
    var since: UInt64
    var poolSetUUID: UUIDBytes
    var lanesGranted: UInt32
    var user: String
    /// The initiator's address.
    var peer: String
    var provider: String
    var method: String
    /// The daemon's version.
    var daemon: String
    var poolSet: String
    /// Written by the session's thread.
    var lanes = SessionCounts.Values()
    /// The sum over the workers.
    var persists = PersistTotals()
    /// The sum over the workers.
    var times = PersistTimeTotals()
    /// The time of the workers' last answer on the monotonic clock, in nanoseconds; 0 while there is none.
    var lastAnswer: UInt64 = 0

    /// Why a file is no record.
    enum Fault: Error, CustomStringConvertible {
        case magic
        case version(UInt32)
        case size(expected: Int, found: Int)
        case workers(UInt32)
        case text(offset: Int)

        var description: String {
            switch self {
            case .magic: "it does not begin as the file of a session does"
            case .version(let version):
                "it has the layout \(version), and this rpmemd knows \(Layout.version): another version of rpmemd wrote it"
            case .size(let expected, let found): "it has \(found) bytes instead of \(expected)"
            case .workers(let count): "it counts \(count) workers"
            case .text(let offset): "the text at byte \(offset) is longer than its place"
            }
        }
    }

    /// Places in the file.
    enum Layout {
        static let magic = UInt64(littleEndian: 0x5345_444d_454d_5052)
        static let version: UInt32 = 3
        static let headerSize = 4096
        /// Of each worker's counts: four cache lines.
        static let stride = 256
        /// The most workers that are counted.
        static let workerLimit = 1024
        static let sizeLimit = size(workers: workerLimit)
        static let sessionCounts = 64
        /// Of ``PersistTimes`` in a worker's counts.
        static let times = 48
        /// Of ``PersistCounts/batches`` in a worker's counts: zero in files of an rpmemd that did not count them.
        static let batches = times + PersistTimes.numberCount * 8
        /// Of ``PersistCounts/lastAnswer``: zero in files of an rpmemd that did not note it.
        static let lastAnswer = batches + 8
        /// Places of texts: two bytes with the length, then the text in UTF-8.
        static let user = 128..<192
        static let peer = 192..<256
        static let provider = 256..<288
        static let method = 288..<320
        static let daemon = 320..<384
        static let poolSet = 1024..<4096

        static func size(workers: Int) -> Int { headerSize + workers * stride }
        static func counts(ofWorker number: Int) -> Int { headerSize + number * stride }
    }

    // MARK: Writing

    /// Writes all but the counts.
    ///
    /// - Parameter memory: ``Layout/size(workers:)`` bytes.
    func store(in memory: UnsafeMutableRawBufferPointer) {
        let workers = (memory.count - Layout.headerSize) / Layout.stride
        memory.storeBytes(of: Layout.version, toByteOffset: 8, as: UInt32.self)
        memory.storeBytes(of: UInt32(workers), toByteOffset: 12, as: UInt32.self)
        memory.storeBytes(of: process, toByteOffset: 16, as: Int32.self)
        memory.storeBytes(of: session, toByteOffset: 20, as: UInt32.self)
        memory.storeBytes(of: since, toByteOffset: 24, as: UInt64.self)
        memory.storeBytes(of: lanesGranted, toByteOffset: 32, as: UInt32.self)
        for index in 0..<16 { memory[40 + index] = poolSetUUID.bytes[index] }
        Self.store(user, in: memory, at: Layout.user)
        Self.store(peer, in: memory, at: Layout.peer)
        Self.store(provider, in: memory, at: Layout.provider)
        Self.store(method, in: memory, at: Layout.method)
        Self.store(daemon, in: memory, at: Layout.daemon)
        Self.store(poolSet, in: memory, at: Layout.poolSet)
        memory.storeBytes(of: Layout.magic, toByteOffset: 0, as: UInt64.self)
    }

    private static func store(_ text: String, in memory: UnsafeMutableRawBufferPointer, at place: Range<Int>) {
        let room = place.count - 2
        var kept = text
        while kept.utf8.count > room { kept.unicodeScalars.removeLast() }
        memory.storeBytes(of: UInt16(kept.utf8.count), toByteOffset: place.lowerBound, as: UInt16.self)
        for (index, byte) in kept.utf8.enumerated() { memory[place.lowerBound + 2 + index] = byte }
    }

    // MARK: Reading

    /// Reads a file that anybody may have written.
    ///
    /// - Parameter bytes: All of the file.
    init(reading bytes: [UInt8]) throws(Fault) {
        guard bytes.count >= Layout.headerSize, Self.load(bytes, 0, UInt64.self) == Layout.magic else { throw .magic }
        let version = Self.load(bytes, 8, UInt32.self)
        guard version == Layout.version else { throw .version(version) }
        let workers = Self.load(bytes, 12, UInt32.self)
        guard (1...UInt32(Layout.workerLimit)).contains(workers) else { throw .workers(workers) }
        let size = Layout.size(workers: Int(workers))
        guard bytes.count == size else { throw .size(expected: size, found: bytes.count) }
        process = Self.load(bytes, 16, Int32.self)
        session = Self.load(bytes, 20, UInt32.self)
        since = Self.load(bytes, 24, UInt64.self)
        lanesGranted = Self.load(bytes, 32, UInt32.self)
        poolSetUUID = UUIDBytes(SIMD16(bytes[40..<56]))
        user = try Self.text(bytes, Layout.user)
        peer = try Self.text(bytes, Layout.peer)
        provider = try Self.text(bytes, Layout.provider)
        method = try Self.text(bytes, Layout.method)
        daemon = try Self.text(bytes, Layout.daemon)
        poolSet = try Self.text(bytes, Layout.poolSet)
        lanes = SessionCounts.Values { Self.load(bytes, Layout.sessionCounts + $0 * 8, UInt64.self) }
        for worker in 0..<Int(workers) {
            let worker = Layout.counts(ofWorker: worker)
            func count(_ index: Int) -> PersistTotals.Count {
                let offset = worker + index * 16
                return .init(
                    requests: Self.load(bytes, offset, UInt64.self), bytes: Self.load(bytes, offset + 8, UInt64.self))
            }
            let batches = Self.load(bytes, worker + Layout.batches, UInt64.self)
            persists =
                persists + PersistTotals(relaxed: count(0), inline: count(1), deep: count(2), batches: batches)
            times =
                times
                + PersistTimeTotals { Self.load(bytes, worker + Layout.times + $0 * 8, UInt64.self) }
            lastAnswer = max(lastAnswer, Self.load(bytes, worker + Layout.lastAnswer, UInt64.self))
        }
    }

    private static func load<Number: FixedWidthInteger & BitwiseCopyable>(
        _ bytes: [UInt8], _ offset: Int, _ type: Number.Type
    ) -> Number {
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
    }

    private static func text(_ bytes: [UInt8], _ place: Range<Int>) throws(Fault) -> String {
        let length = Int(load(bytes, place.lowerBound, UInt16.self))
        let start = place.lowerBound + 2
        guard length <= place.count - 2 else { throw .text(offset: place.lowerBound) }
        return escapingControls(String(decoding: bytes[start..<start + length], as: UTF8.self))
    }
}

extension SessionRecord {
    init(
        process: Int32, session: UInt32, since: UInt64, poolSetUUID: UUIDBytes, lanesGranted: UInt32, user: String,
        peer: String, provider: String, method: String, poolSet: String
    ) {
        self.process = process
        self.session = session
        self.since = since
        self.poolSetUUID = poolSetUUID
        self.lanesGranted = lanesGranted
        self.user = user
        self.peer = peer
        self.provider = provider
        self.method = method
        self.poolSet = poolSet
        daemon = projectVersion
    }
}

/// Counts that the session's thread keeps. Others read them at any time, each number for itself.
struct SessionCounts: ~Copyable {
    let lanesConnected = Atomic<UInt64>(0)
    let lanesEverConnected = Atomic<UInt64>(0)
    let lanesRefused = Atomic<UInt64>(0)
    let droppedPackets = Atomic<UInt64>(0)
    let violations = Atomic<UInt64>(0)
    let resumes = Atomic<UInt64>(0)

    struct Values: Equatable, Sendable {
        /// Now.
        var lanesConnected: UInt64 = 0
        var lanesEverConnected: UInt64 = 0
        var lanesRefused: UInt64 = 0
        var droppedPackets: UInt64 = 0
        /// Requests that break the protocol. Each ends its session.
        var violations: UInt64 = 0
        /// How often the initiator has resumed its session, this one included; 0 for a session that resumes none.
        var resumes: UInt64 = 0

        init() {}

        /// - Parameter number: The number at an index, in the order of the declaration.
        init(_ number: (Int) -> UInt64) {
            lanesConnected = number(0)
            lanesEverConnected = number(1)
            lanesRefused = number(2)
            droppedPackets = number(3)
            violations = number(4)
            resumes = number(5)
        }
    }

    func store(_ values: Values) {
        lanesConnected.store(values.lanesConnected, ordering: .relaxed)
        lanesEverConnected.store(values.lanesEverConnected, ordering: .relaxed)
        lanesRefused.store(values.lanesRefused, ordering: .relaxed)
        droppedPackets.store(values.droppedPackets, ordering: .relaxed)
        violations.store(values.violations, ordering: .relaxed)
        resumes.store(values.resumes, ordering: .relaxed)
    }
}
