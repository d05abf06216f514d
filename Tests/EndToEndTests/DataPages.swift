import Glibc
import SystemSupport
import TestSupport

/// Zeroed pages of memory: an initiator's pool, or what a target's is expected to hold.
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
        var offset = range.lowerBound
        while offset + 8 <= range.upperBound {
            bytes.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
            offset += 8
        }
        while offset < range.upperBound {
            bytes[offset] = UInt8(truncatingIfNeeded: random.next())
            offset += 1
        }
    }

    /// Takes over a range of another's bytes.
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
