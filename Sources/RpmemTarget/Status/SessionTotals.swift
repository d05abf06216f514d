import CLinux
import Glibc
import SystemPackage
import SystemSupport

/// Sums over the sessions of a user that have ended, in the file `totals` of the ``StatusDirectory``.
///
/// The file is as old as the directory: it goes with the user's last login, or with the next boot. Its lock also keeps readers from
/// seeing a session both there and in a file of its own.
struct SessionTotals: Equatable, Sendable {
    /// How a session ended.
    enum Result: Int, CaseIterable {
        /// CLOSE was answered.
        case closed
        /// In any other way, with a pool.
        case failed
        /// It never had a pool.
        case refused
        /// The daemon was killed.
        case unclean
    }

    /// By ``Result/rawValue``.
    var sessions = [UInt64](repeating: 0, count: Result.allCases.count)
    var lanesEverConnected: UInt64 = 0
    var lanesRefused: UInt64 = 0
    var droppedPackets: UInt64 = 0
    var violations: UInt64 = 0
    /// Sessions that resumed an earlier one.
    var resumed: UInt64 = 0
    var persists = PersistTotals()
    var times = PersistTimeTotals()

    static let name = "totals"
    private static let magic = UInt64(littleEndian: 0x5453_444d_454d_5052)
    private static let version: UInt64 = 3
    private static let firstTime = 18
    private static let numberCount = firstTime + PersistTimes.numberCount
    /// How long to wait for another process, in milliseconds. Each has the lock for less than a few.
    private static let patience: UInt64 = 1000

    mutating func add(_ record: SessionRecord, _ result: Result) {
        sessions[result.rawValue] &+= 1
        lanesEverConnected &+= record.lanes.lanesEverConnected
        lanesRefused &+= record.lanes.lanesRefused
        droppedPackets &+= record.lanes.droppedPackets
        violations &+= record.lanes.violations
        resumed &+= record.lanes.resumes > 0 ? 1 : 0
        persists = persists + record.persists
        times = times + record.times
    }

    // MARK: File

    /// nil when the bytes are no totals.
    init?(reading bytes: [UInt8]) {
        guard bytes.count == Self.numberCount * 8 else { return nil }
        let numbers = bytes.withUnsafeBytes { bytes in
            (0..<Self.numberCount).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        }
        guard numbers[0] == Self.magic, numbers[1] == Self.version else { return nil }
        sessions = Array(numbers[2..<6])
        lanesEverConnected = numbers[6]
        lanesRefused = numbers[7]
        droppedPackets = numbers[8]
        violations = numbers[9]
        func count(_ index: Int) -> PersistTotals.Count { .init(requests: numbers[index], bytes: numbers[index + 1]) }
        persists = PersistTotals(relaxed: count(10), inline: count(12), deep: count(14), batches: numbers[16])
        resumed = numbers[17]
        times = PersistTimeTotals { numbers[Self.firstTime + $0] }
    }

    init() {}

    private var bytes: [UInt8] {
        let modes = [persists.relaxed, persists.inline, persists.deep].flatMap { [$0.requests, $0.bytes] }
        let numbers =
            [Self.magic, Self.version] + sessions + [lanesEverConnected, lanesRefused, droppedPackets, violations]
            + modes + [persists.batches, resumed] + times.numbers
        return numbers.flatMap { number in withUnsafeBytes(of: number) { Array($0) } }
    }

    /// Changes the totals while nobody else reads or changes them. Totals that cannot be read begin anew.
    static func update(
        in directory: StatusDirectory, _ change: (inout SessionTotals) -> Void
    ) throws(SystemCallError) {
        let file = try directory.open(name, O_RDWR | O_CREAT)
        try lock(file, LOCK_EX)
        let old = (try? readFile(file, limit: 4096)) ?? []
        var totals = SessionTotals(reading: old) ?? SessionTotals()
        change(&totals)
        let bytes = totals.bytes
        // One write within a page: a reader without the lock, or a kill, sees all or nothing of it.
        try retryingInterrupts("ftruncate", on: name) { ftruncate(file.number, off_t(bytes.count)) }
        try retryingInterrupts("write", on: name) {
            bytes.withUnsafeBytes { pwrite(file.number, $0.baseAddress, $0.count, 0) }
        }
    }

    /// Reads the totals, and calls `body` while they stay as they are.
    ///
    /// - Returns: nil when there are none yet, or none that can be read.
    static func read<Answer>(
        in directory: StatusDirectory, _ body: (SessionTotals?, _ problem: String?) -> Answer
    ) -> Answer {
        do throws(SystemCallError) {
            let file = try directory.open(name, O_RDONLY)
            try lock(file, LOCK_SH)
            let bytes = try readFile(file, limit: 4096)
            guard let totals = SessionTotals(reading: bytes) else {
                // A session makes the file before it writes it.
                return body(
                    nil, bytes.isEmpty ? nil : "it does not have the form of totals: the next session begins them anew")
            }
            return body(totals, nil)
        } catch {
            return body(nil, error.errno == .noSuchFileOrDirectory ? nil : "\(error)")
        }
    }

    private static func lock(_ file: borrowing Descriptor, _ kind: Int32) throws(SystemCallError) {
        let deadline = Deadline.after(milliseconds: patience)
        while rpmem_flock(file.number, kind | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, !deadline.hasPassed else { throw .last("flock", on: name) }
            usleep(1000)
        }
    }
}
