import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport

/// Digests of consecutive blocks.
package struct DigestBatch: Sendable {
    /// Their numbers, or positions in the list of those that are digested.
    package let blocks: Range<Int>
    /// ``BlockDigest/size`` bytes for each block.
    package let digests: [UInt8]

    package init(blocks: Range<Int>, digests: [UInt8]) {
        self.blocks = blocks
        self.digests = digests
    }
}

/// Digests all blocks of a pool, on several threads. The batches come in order, and few are made ahead of the one that is taken next.
///
/// One thread takes them. The deinit ends the threads, and waits for the reads that are under way.
package final class BlockDigester {
    private let work: Work
    private var threads: [NamedThread] = []
    private let blockCount: Int
    private var next = 0

    /// Blocks of a batch, 8 MiB with blocks of the usual size. Each thread digests every so-many-th batch.
    package static let batchBlocks = 128
    /// Milliseconds for which a thread may keep digests to itself. From slow storage a batch comes in pieces: a peer waits for it.
    private static let longestPiece: UInt64 = 500
    /// Blocks in batches of each thread that nobody has taken yet.
    private static let ahead = 2 * batchBlocks

    /// - Parameters:
    ///   - threads: nil for one on each processor.
    ///   - read: Fills a buffer with the pool's bytes from an offset on. Called from several threads.
    package init(
        _ bytes: ComparedBytes, _ library: DigestLibrary, _ key: DigestKey, threads wanted: Int? = nil,
        read: @escaping PoolRead
    ) throws(SystemCallError) {
        blockCount = bytes.blockCount
        let batches = (blockCount + Self.batchBlocks - 1) / Self.batchBlocks
        let count = digestThreads(wanted, for: batches)
        work = try Work(threads: count, ahead: Self.ahead)
        for number in 0..<count {
            threads.append(
                try NamedThread(name: "digest-\(number)") { [work, blockCount] in
                    do throws(ComparisonError) {
                        let reader = try BlockReader(bytes, library, key, read: read)
                        for batch in stride(from: number, to: batches, by: count) {
                            let end = min(blockCount, (batch + 1) * Self.batchBlocks)
                            var start = batch * Self.batchBlocks
                            while start < end {
                                var digests: [UInt8] = []
                                digests.reserveCapacity((end - start) * BlockDigest.size)
                                let due = Deadline.after(milliseconds: Self.longestPiece)
                                var block = start
                                repeat {
                                    if work.isStopped { return }
                                    try reader.digest(block, to: &digests)
                                    block += 1
                                } while block < end && !due.hasPassed
                                let piece = DigestBatch(blocks: start..<block, digests: digests)
                                guard work.put(.success(piece), number) else { return }
                                start = block
                            }
                        }
                    } catch { _ = work.put(.failure(error), number) }
                })
        }
    }

    deinit {
        work.stop()
        for thread in threads { thread.join() }
    }

    /// For poll(2): readable when a batch may have come.
    package var descriptor: Int32 { work.arrival.descriptor.number }

    /// Whether all digests were taken.
    package var isFinished: Bool { next == blockCount }

    /// The next batch, or a piece of it; nil when it has not come yet, and when there is none.
    package func take() throws(ComparisonError) -> DigestBatch? {
        if isFinished { return nil }
        work.arrival.clear()
        guard let result = work.take(next / Self.batchBlocks % threads.count) else { return nil }
        let batch = try result.get()
        next = batch.blocks.upperBound
        return batch
    }

    /// What the threads share.
    ///
    /// Unchecked: the mutex guards all that changes.
    private final class Work: @unchecked Sendable {
        typealias Outcome = Result<DigestBatch, ComparisonError>

        let arrival: WakeUp
        private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private let room = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        /// By the threads that made them.
        private var made: [[Outcome]]
        /// Blocks in ``made``.
        private var waiting: [Int]
        private var hasStopped = false
        private let ahead: Int

        init(threads: Int, ahead: Int) throws(SystemCallError) {
            self.ahead = ahead
            arrival = try WakeUp()
            made = Array(repeating: [], count: threads)
            waiting = Array(repeating: 0, count: threads)
            mutex.initialize(to: pthread_mutex_t())
            room.initialize(to: pthread_cond_t())
            pthread_mutex_init(mutex, nil)
            pthread_cond_init(room, nil)
        }

        deinit {
            pthread_cond_destroy(room)
            pthread_mutex_destroy(mutex)
            room.deallocate()
            mutex.deallocate()
        }

        var isStopped: Bool {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return hasStopped
        }

        func stop() {
            pthread_mutex_lock(mutex)
            hasStopped = true
            pthread_cond_broadcast(room)
            pthread_mutex_unlock(mutex)
        }

        /// Waits for room. Returns false when the thread must end.
        func put(_ outcome: Outcome, _ number: Int) -> Bool {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            while waiting[number] >= ahead, !hasStopped { pthread_cond_wait(room, mutex) }
            if hasStopped { return false }
            made[number].append(outcome)
            waiting[number] += Self.blocks(of: outcome)
            arrival.signal()
            return true
        }

        func take(_ number: Int) -> Outcome? {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            if made[number].isEmpty { return nil }
            pthread_cond_broadcast(room)
            let outcome = made[number].removeFirst()
            waiting[number] -= Self.blocks(of: outcome)
            return outcome
        }

        private static func blocks(of outcome: Outcome) -> Int {
            if case .success(let batch) = outcome { batch.blocks.count } else { 0 }
        }
    }
}

/// Why a pool cannot be digested or compared.
package enum ComparisonError: Error, CustomStringConvertible {
    case pool(PoolError)
    case digests(DigestLibrary.Unavailable)
    case stream(DigestStreamError)
    case system(SystemCallError)
    /// A target was not told the key of its digests.
    case noKey

    package var description: String {
        switch self {
        case .pool(let error): "\(error)"
        case .digests(let error): "\(error)"
        case .stream(let error): "\(error)"
        case .system(let error): "\(error)"
        case .noKey: "standard input has no key of \(2 * DigestKey.byteCount) hexadecimal digits, which rpmemctl sends"
        }
    }
}
