import PersistentMemory
import RpmemProtocol
import SystemSupport

/// A pool whose parts are locked, as programs and sessions lock them, and whose headers OPEN accepts. Nothing is written to it, and
/// its contents are read by a ``PoolReader``.
///
/// Unchecked: everything is constant. The last reference gives the locks back, unless ``open(requestedSize:)`` has passed them on.
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
    private let reader: PoolReader

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
        reader = PoolReader(parts, geometry.pieces)
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
        try reader.read(into: buffer, at: offset)
    }

    /// Maps the pool for a session that sends from it. The pool must stay, and the caller writes nothing to the mapping.
    package func map() throws(PoolError) -> Mapping { try Pool.map(parts, geometry) }
}
