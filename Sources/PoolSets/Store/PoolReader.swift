import CLinux
import Glibc
import Synchronization
import SystemSupport

/// Reads the contents of a pool whose parts are open, not by loads from a mapping: an unreadable page is an error here, and no
/// SIGBUS.
///
/// Unchecked: everything is constant, or behind the mutex. The parts stay open and locked as long as this.
package final class PoolReader: @unchecked Sendable {
    private let parts: [PartFile]
    private let pieces: [PoolGeometry.Piece]
    /// First byte of a mapping of the whole pool, which outlives this; nil without one.
    private let base: UnsafeRawPointer?
    /// Without ``base``, addresses at which parts that are Device DAX are mapped, by their paths. The first read maps them, the deinit
    /// unmaps them.
    private let mappings = Mutex<[String: UInt]>([:])

    init(_ parts: [PartFile], _ pieces: [PoolGeometry.Piece], mappedAt base: UnsafeRawPointer? = nil) {
        self.parts = parts
        self.pieces = pieces
        self.base = base
    }

    /// Copies a range of the pool into all of `buffer`. Callable from any thread.
    ///
    /// - Parameter offset: Bytes from the pool's start; the range ends inside the pool.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(PoolError) {
        var done = 0
        var start = 0
        for (part, piece) in zip(parts, pieces) {
            let end = start + Int(piece.length)
            while done < buffer.count, offset + done >= start, offset + done < end {
                let position = offset + done
                let rest = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[done..<min(buffer.count, done + end - position)])
                let place = Int(piece.offset) + position - start
                if part.device == nil {
                    done += try readFile(part, place, into: rest)
                } else {
                    let source = if let base { base + position } else { try mapping(of: part) + place }
                    done += try readDevice(part, place, from: source, into: rest)
                }
            }
            start = end
        }
        precondition(done == buffer.count, "the range is inside the pool")
    }

    /// - Returns: Bytes read, at least 1.
    private func readFile(
        _ part: PartFile, _ offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(PoolError) -> Int {
        while true {
            let count = pread(part.descriptor.number, buffer.baseAddress, buffer.count, off_t(offset))
            if count > 0 { return count }
            if count == 0 {
                throw .badConfiguration(
                    place: part.path,
                    reason: "the file ends at or before offset \(offset): it was truncated while it was read")
            }
            if errno == EINTR { continue }
            throw .system(.last("read at offset \(offset)", on: part.path))
        }
    }

    /// Device DAX has no read(2). The kernel copies from a mapping through a pipe: a bad block is an error (EFAULT) then, where a
    /// load would deliver SIGBUS.
    ///
    /// - Parameters:
    ///   - offset: In the part; for messages.
    ///   - source: The mapping of the bytes there.
    private func readDevice(
        _ part: PartFile, _ offset: Int, from source: UnsafeRawPointer, into buffer: UnsafeMutableRawBufferPointer
    ) throws(PoolError) -> Int {
        do throws(SystemCallError) {
            let pipe = try Pipe()
            // A user with many pipes gets small ones.
            try retryingInterrupts("fcntl(F_SETFL)") { fcntl(pipe.write.number, F_SETFL, O_NONBLOCK) }
            let written = try retryingInterrupts("read at offset \(offset)", on: part.path) {
                write(pipe.write.number, source, min(buffer.count, 1 << 16))
            }
            return try retryingInterrupts("read", on: part.path) {
                Glibc.read(pipe.read.number, buffer.baseAddress, written)
            }
        } catch {
            throw .system(error)
        }
    }

    /// The whole of a Device DAX, for reading.
    private func mapping(of part: PartFile) throws(PoolError) -> UnsafeRawPointer {
        let result: Result<UInt, PoolError> = mappings.withLock { mappings in
            if let start = mappings[part.path] { return .success(start) }
            guard
                let start = mmap(nil, Int(part.size), PROT_READ, MAP_SHARED, part.descriptor.number, 0),
                start != MAP_FAILED
            else { return .failure(.system(.last("mmap", on: part.path))) }
            mappings[part.path] = UInt(bitPattern: start)
            return .success(UInt(bitPattern: start))
        }
        // mmap(2) has returned it, so it is not NULL.
        return UnsafeRawPointer(bitPattern: try result.get())!
    }

    deinit {
        let mappings = mappings.withLock(\.self)
        for part in parts {
            if let start = mappings[part.path] { munmap(UnsafeMutableRawPointer(bitPattern: start), Int(part.size)) }
        }
    }
}
