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

/// Digests a pool, or a list of its blocks, on several threads. The batches come in order, and of a pool few are made ahead of the one
/// that is taken next.
///
/// One thread takes them. The deinit ends the threads, and waits for the reads that are under way.
package final class BlockDigester {
    private let work: Work
    private var threads: [NamedThread] = []
    private let batches: Int
    private var next = 0

    /// Blocks of a batch: 8 MiB of a pool with blocks of the usual size.
    package static let batchBlocks = 128
    private static let mostThreads = 16
    /// Batches of a list of blocks, at most: enough for each thread to have its share.
    private static let mostListedBatches = 32
    /// Batches of each thread that nobody has taken yet, where all blocks are digested. The digests of a list are few.
    private static let ahead = 2

    /// - Parameters:
    ///   - blocks: The numbers of the blocks; nil for all.
    ///   - threads: nil for one on each processor.
    ///   - read: Fills a buffer with the pool's bytes from an offset on. Called from several threads.
    package init(
        _ bytes: ComparedBytes, _ library: DigestLibrary, _ key: DigestKey, of blocks: [Int]? = nil,
        threads wanted: Int? = nil,
        read: @escaping @Sendable (UnsafeMutableRawBufferPointer, Int) throws(PoolError) -> Void
    ) throws(SystemCallError) {
        let blockCount = blocks?.count ?? bytes.blockCount
        let size =
            blocks == nil
            ? Self.batchBlocks : max(1, (blockCount + Self.mostListedBatches - 1) / Self.mostListedBatches)
        batches = (blockCount + size - 1) / size
        let count = max(1, min(wanted ?? onlineProcessors(), Self.mostThreads, batches))
        work = try Work(threads: count, ahead: blocks == nil ? Self.ahead : .max)
        for number in 0..<count {
            threads.append(
                try NamedThread(name: "digest-\(number)") { [work, batches] in
                    do throws(ComparisonError) {
                        let digester = try Self.make(library, key)
                        let buffer = UnsafeMutableRawBufferPointer.allocate(
                            byteCount: bytes.blockSize, alignment: 4096)
                        defer { buffer.deallocate() }
                        for batch in stride(from: number, to: batches, by: count) {
                            let positions = batch * size..<min(blockCount, (batch + 1) * size)
                            var digests: [UInt8] = []
                            digests.reserveCapacity(positions.count * BlockDigest.size)
                            for position in positions {
                                let block = blocks?[position] ?? position
                                if work.isStopped { return }
                                let range = bytes.range(of: block)
                                let page = UnsafeMutableRawBufferPointer(rebasing: buffer[..<range.count])
                                do throws(PoolError) { try read(page, range.lowerBound) } catch { throw .pool(error) }
                                bytes.clearIgnored(page, from: range.lowerBound)
                                do throws(DigestLibrary.Unavailable) {
                                    try digester.digest(
                                        UnsafeRawBufferPointer(page), number: block, to: &digests)
                                } catch { throw .digests(error) }
                            }
                            guard work.put(.success(DigestBatch(blocks: positions, digests: digests)), number) else {
                                return
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

    private static func make(
        _ library: DigestLibrary, _ key: DigestKey
    ) throws(ComparisonError) -> BlockDigest {
        do throws(DigestLibrary.Unavailable) { return try BlockDigest(library, key) } catch { throw .digests(error) }
    }

    /// For poll(2): readable when a batch may have come.
    package var descriptor: Int32 { work.arrival.descriptor.number }

    /// Whether all batches were taken.
    package var isFinished: Bool { next == batches }

    /// The next batch; nil when it has not come yet, and when there is none.
    package func take() throws(ComparisonError) -> DigestBatch? {
        if isFinished { return nil }
        work.arrival.clear()
        guard let result = work.take(next % threads.count) else { return nil }
        next += 1
        return try result.get()
    }

    /// Waits for all digests of a list of blocks.
    package func takeAll() throws(ComparisonError) -> [UInt8] {
        var digests: [UInt8] = []
        // Nobody has to wake up for each batch.
        for thread in threads { thread.join() }
        while let batch = try take() { digests += batch.digests }
        return digests
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
        private var hasStopped = false
        private let ahead: Int

        init(threads: Int, ahead: Int) throws(SystemCallError) {
            self.ahead = ahead
            arrival = try WakeUp()
            made = Array(repeating: [], count: threads)
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
            while made[number].count >= ahead, !hasStopped { pthread_cond_wait(room, mutex) }
            if hasStopped { return false }
            made[number].append(outcome)
            arrival.signal()
            return true
        }

        func take(_ number: Int) -> Outcome? {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            if made[number].isEmpty { return nil }
            pthread_cond_broadcast(room)
            return made[number].removeFirst()
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
