import CPmem
import Glibc

/// The pool on this machine: a mapped file or Device DAX.
final class MappedPool {
    /// All of it, of the size asked for.
    let bytes: UnsafeMutableRawBufferPointer
    private let mapped: Int
    private let isPersistentMemory: Bool

    /// Maps `path`, which is made when it is a file that does not exist.
    init(_ path: String, byteCount: Int) throws(FibonacciError) {
        var status = stat()
        let isNew = stat(path, &status) != 0 && errno == ENOENT
        var mapped = 0
        var isPersistentMemory: Int32 = 0
        let address =
            isNew
            ? pmem_map_file(path, byteCount, PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0o600, &mapped, &isPersistentMemory)
            : pmem_map_file(path, 0, 0, 0, &mapped, &isPersistentMemory)
        guard let address else { throw FibonacciError("\(path): \(String(cString: pmem_errormsg()))") }
        guard mapped >= byteCount else {
            pmem_unmap(address, mapped)
            throw FibonacciError("\(path) has \(mapped) bytes, and \(byteCount) are needed")
        }
        bytes = UnsafeMutableRawBufferPointer(start: address, count: byteCount)
        self.mapped = mapped
        self.isPersistentMemory = isPersistentMemory != 0
    }

    deinit { pmem_unmap(bytes.baseAddress, mapped) }

    /// Where the numbers are.
    var numbers: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: bytes[Numbers.offset..<Numbers.offset + Numbers.byteCount])
    }

    /// Makes a part of the pool durable on this machine.
    func persist(_ part: UnsafeMutableRawBufferPointer) throws(FibonacciError) {
        if isPersistentMemory {
            pmem_persist(part.baseAddress, part.count)
        } else if pmem_msync(part.baseAddress, part.count) != 0 {
            throw FibonacciError("msync: \(String(cString: strerror(errno)))")
        }
    }
}

/// What went wrong, for people.
struct FibonacciError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
