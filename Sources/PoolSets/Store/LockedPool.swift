import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport

/// A pool whose parts are locked, as programs and sessions lock them, and whose headers OPEN accepts. Nothing is written to it, and
/// its contents are read without a mapping, so that an unreadable page is an error and no SIGBUS.
///
/// Unchecked: everything is constant, or behind the mutex. The last reference gives the locks back, unless ``open(requestedSize:)``
/// has passed them on.
package final class LockedPool: @unchecked Sendable {
    let set: ResolvedSet
    let parts: [PartFile]
    /// Of the first parts, with the attributes that OPEN would give them.
    let headers: [PoolHeader]
    let geometry: PoolGeometry
    let interrupted: InterruptedAttributes?
    /// See ``Pool/partsWithEarlierErrors``. The kernel tells nobody else of these errors afterwards.
    package let partsWithEarlierErrors: [String]
    let health: DeviceHealth
    /// See ``PoolStore``.
    let writerDirectory: String
    /// Addresses at which parts that are Device DAX are mapped, by their paths. The first read maps them, the deinit unmaps them.
    private let mappings = Mutex<[String: UInt]>([:])

    init(
        set: ResolvedSet, parts: [PartFile], headers: [PoolHeader], geometry: PoolGeometry,
        interrupted: InterruptedAttributes?, partsWithEarlierErrors: [String], health: DeviceHealth,
        writerDirectory: String
    ) {
        self.set = set
        self.parts = parts
        self.headers = headers
        self.geometry = geometry
        self.interrupted = interrupted
        self.partsWithEarlierErrors = partsWithEarlierErrors
        self.health = health
        self.writerDirectory = writerDirectory
    }

    /// The pool set file, or the plain file or device; for messages.
    package var path: String { self.set.path }
    /// Bytes of the pool, the first part's header page among them.
    package var size: Int { Int(geometry.usableSize) }
    /// Of the first part; ``PoolAttributes/none`` without headers.
    package var attributes: PoolAttributes { headers.first?.attributes ?? .none }
    /// Replicas behind the first one of an initiator's pool set.
    package var otherReplicas: [PoolSetDescription.Replica] { self.set.otherReplicas }
    /// `SINGLEHDR` and `NOHDRS`.
    package var options: PoolSetDescription.Options { self.set.options }

    /// Refuses a pool that is smaller than this, as OPEN does.
    package func check(requestedSize: UInt64) throws(PoolError) {
        _ = try set.geometry(
            sizes: parts.map(\.size), requestedSize: requestedSize, onDevices: parts[0].device != nil, exists: true)
    }

    /// Refuses a pool that OPEN would refuse by its shutdown state, and one with bad blocks.
    package func checkReadable() throws(PoolError) {
        if let first = headers.first, first.incompatFeatures & Feature.shutdownState != 0 {
            _ = try checkedCounts(first.shutdownState)
        }
        do throws(PoolError) { try health.checkBadBlocks(of: parts) } catch {
            // Where nobody may ask for bad blocks, the reads find them.
            guard case .badBlocks = error else { return }
            throw error
        }
    }

    /// Copies a range of the pool into all of `buffer`. Callable from any thread.
    ///
    /// - Parameter offset: Bytes from the pool's start; the range ends inside the pool.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(PoolError) {
        var done = 0
        var start = 0
        for (part, piece) in zip(parts, geometry.pieces) {
            let end = start + Int(piece.length)
            while done < buffer.count, offset + done >= start, offset + done < end {
                let position = offset + done
                let rest = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[done..<min(buffer.count, done + end - position)])
                done += try read(part, Int(piece.offset) + position - start, into: rest)
            }
            start = end
        }
        precondition(done == buffer.count, "the range is inside the pool")
    }

    /// - Returns: Bytes read, at least 1.
    private func read(
        _ part: PartFile, _ offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(PoolError) -> Int {
        if part.device != nil { return try readDevice(part, offset, into: buffer) }
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
    private func readDevice(
        _ part: PartFile, _ offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(PoolError) -> Int {
        let start = try deviceMapping(part) + offset
        do throws(SystemCallError) {
            let pipe = try Pipe()
            // A user with many pipes gets small ones.
            try retryingInterrupts("fcntl(F_SETFL)") { fcntl(pipe.write.number, F_SETFL, O_NONBLOCK) }
            let written = try retryingInterrupts("read at offset \(offset)", on: part.path) {
                write(pipe.write.number, start, min(buffer.count, 1 << 16))
            }
            return try retryingInterrupts("read", on: part.path) {
                Glibc.read(pipe.read.number, buffer.baseAddress, written)
            }
        } catch {
            throw .system(error)
        }
    }

    /// The whole of a Device DAX, for reading.
    private func deviceMapping(_ part: PartFile) throws(PoolError) -> UnsafeRawPointer {
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

    /// Maps the pool for a session that sends from it. The pool must stay, and the caller writes nothing to the mapping.
    package func map() throws(PoolError) -> Mapping { try Pool.map(parts, geometry) }
}
