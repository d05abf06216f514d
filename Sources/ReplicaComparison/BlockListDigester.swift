import RpmemProtocol
import Synchronization
import SystemSupport

/// Digests a list of a pool's blocks on several threads, for as long as it may take.
///
/// The threads take the blocks in order and finish each block that they have begun. So the digests that are there in the end are
/// those of the first blocks of the list, and nothing was read in vain.
///
/// The deinit ends the threads, and waits for the reads that are under way.
package final class BlockListDigester {
    private let work: Work
    private var threads: [NamedThread] = []

    /// - Parameters:
    ///   - blocks: Their numbers, in order.
    ///   - deadline: No thread begins another block afterwards, but each thread one; nil for all blocks.
    ///   - threads: nil for one on each processor.
    ///   - read: Fills a buffer with the pool's bytes from an offset on. Called from several threads.
    package init(
        _ bytes: ComparedBytes, _ library: DigestLibrary, _ key: DigestKey, of blocks: [Int],
        until deadline: Deadline? = nil, threads wanted: Int? = nil, read: @escaping PoolRead
    ) throws(SystemCallError) {
        work = Work(count: blocks.count)
        for number in 0..<digestThreads(wanted, for: blocks.count) {
            threads.append(
                try NamedThread(name: "digest-\(number)") { [work] in
                    do throws(ComparisonError) {
                        let reader = try BlockReader(bytes, library, key, read: read)
                        var digest: [UInt8] = []
                        digest.reserveCapacity(BlockDigest.size)
                        while let position = work.next() {
                            digest.removeAll(keepingCapacity: true)
                            try reader.digest(blocks[position], to: &digest)
                            work.put(digest, at: position)
                            if deadline?.hasPassed == true { return }
                        }
                    } catch { work.fail(error) }
                })
        }
    }

    deinit {
        work.stop()
        for thread in threads { thread.join() }
    }

    /// Waits for the digests: of all blocks, or of the first ones of the list, at least one where the list has any.
    package func takeAll() throws(ComparisonError) -> [UInt8] {
        for thread in threads { thread.join() }
        return try work.digests.get()
    }

    /// What the threads share.
    private final class Work: Sendable {
        private struct State {
            var next = 0
            var digests: [UInt8]
            var failure: ComparisonError?
            var hasStopped = false
        }

        private let count: Int
        private let state: Mutex<State>

        init(count: Int) {
            self.count = count
            state = Mutex(State(digests: Array(repeating: 0, count: count * BlockDigest.size)))
        }

        /// A position in the list that no thread has taken yet; nil when the thread must end.
        func next() -> Int? {
            state.withLock { state in
                if state.hasStopped || state.failure != nil || state.next == count { return nil }
                defer { state.next += 1 }
                return state.next
            }
        }

        func put(_ digest: [UInt8], at position: Int) {
            state.withLock {
                let start = position * BlockDigest.size
                $0.digests.replaceSubrange(start..<start + BlockDigest.size, with: digest)
            }
        }

        func fail(_ error: ComparisonError) { state.withLock { $0.failure = $0.failure ?? error } }

        func stop() { state.withLock { $0.hasStopped = true } }

        /// Those of the positions that were taken. No thread runs any more.
        var digests: Result<[UInt8], ComparisonError> {
            state.withLock { state in
                if let failure = state.failure { return .failure(failure) }
                return .success(Array(state.digests.prefix(state.next * BlockDigest.size)))
            }
        }
    }
}
