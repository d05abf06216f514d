import PoolSets
import SystemSupport

/// Fills a buffer with the pool's bytes from an offset on. Called from several threads.
package typealias PoolRead = @Sendable (UnsafeMutableRawBufferPointer, Int) throws(PoolError) -> Void

/// Threads for work that can be divided by `parts`: one on each processor, unless the caller wants another number.
func digestThreads(_ wanted: Int?, for parts: Int) -> Int { max(1, min(wanted ?? onlineProcessors(), 16, parts)) }

/// Reads and digests blocks of a pool, on one thread.
struct BlockReader: ~Copyable {
    private let bytes: ComparedBytes
    private let digest: BlockDigest
    private let read: PoolRead
    private let buffer: UnsafeMutableRawBufferPointer

    init(
        _ bytes: ComparedBytes, _ library: DigestLibrary, _ key: DigestKey, read: @escaping PoolRead
    ) throws(ComparisonError) {
        do throws(DigestLibrary.Unavailable) { digest = try BlockDigest(library, key) } catch { throw .digests(error) }
        self.bytes = bytes
        self.read = read
        buffer = .allocate(byteCount: bytes.blockSize, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    /// Appends the digest of a block to `digests`.
    func digest(_ block: Int, to digests: inout [UInt8]) throws(ComparisonError) {
        let range = bytes.range(of: block)
        let contents = UnsafeMutableRawBufferPointer(rebasing: buffer[..<range.count])
        do throws(PoolError) { try read(contents, range.lowerBound) } catch { throw .pool(error) }
        bytes.clearIgnored(contents, from: range.lowerBound)
        do throws(DigestLibrary.Unavailable) {
            try digest.digest(UnsafeRawBufferPointer(contents), number: block, to: &digests)
        } catch { throw .digests(error) }
    }
}
