import Glibc
import SystemSupport
import TestSupport

/// Zeroed pages of memory: an initiator's pool, or the expected contents of a target's pool.
///
/// Unchecked: threads that share one use ranges of their own.
final class Pages: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    /// - Parameter count: Bytes; only those that are touched take memory.
    init(_ count: Int) throws {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED else {
            throw SystemCallError.last("mmap of \(count) bytes")
        }
        bytes = UnsafeMutableRawBufferPointer(start: base, count: count)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    subscript(range: Range<Int>) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: bytes[range])
    }

    /// Replaces a range by random bytes.
    func fill(_ range: Range<Int>, from random: inout SeededGenerator) {
        var start = Int(random.next() % UInt64(Self.noise.count))
        var rest = range
        while !rest.isEmpty {
            let piece = rest.prefix(Self.noise.count - start)
            Self.noise.withUnsafeBytes {
                self[piece].copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + piece.count]))
            }
            rest = rest.dropFirst(piece.count)
            start = 0
        }
    }

    /// Made once, because making random bytes takes long in debug builds. The size is no power of two, so that a range's bytes
    /// fit at no other offset.
    private static let noise: [UInt8] = {
        var random = SeededGenerator(seed: 1)
        return (0..<131_101).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
    }()

    /// Copies a range from other pages.
    func copy(_ range: Range<Int>, of other: Pages) {
        self[range].copyMemory(from: UnsafeRawBufferPointer(other[range]))
    }
}

/// The first index at which two buffers of the same size differ.
func firstDifference(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int? {
    guard let first = left.baseAddress, let second = right.baseAddress, memcmp(first, second, left.count) != 0 else {
        return nil
    }
    return left.indices.first { left[$0] != right[$0] }
}
