import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport

extension PoolStore {
    /// Opens a pool. Every header is checked; with the shutdown state feature the pool is marked as open, durably,
    /// before this returns.
    ///
    /// - Parameters:
    ///   - descriptor: Path bytes below the pool set directory, without NUL.
    ///   - requestedSize: Bytes that the pool must have at least.
    package func open(descriptor: [UInt8], requestedSize: UInt64) throws(PoolError) -> Pool {
        let set = try resolve(descriptor)
        try set.checkNumbers()
        var parts: [PartFile] = []
        for (part, spec) in zip(try openParts(of: set), set.parts) {
            guard let part else { throw .notFound(what: .part, path: spec.path, set: set.path) }
            parts.append(part)
        }
        if parts.isEmpty {
            throw .notFound(what: .part, path: GrowthDirectory.fileName(0), set: set.path)
        }
        // Sizes are not compared yet: what is wrong with the headers is the better thing to hear first.
        let onDevices = parts[0].device != nil
        let geometry = try geometry(of: set, sizes: parts.map(\.size), requestedSize: 0, onDevices: onDevices)
        let partsWithEarlierErrors = try settleWriteBack(parts)
        var headers: [PoolHeader] = []
        for part in parts.prefix(geometry.headers) { headers.append(try part.readHeader()) }
        try HeaderCheck(set: set, paths: parts.map(\.path)).check(headers)
        if let first = headers.first {
            try checkSingleHeader(of: set, incompatFeatures: first.incompatFeatures, origin: "pool's header")
            if first.compatFeatures & Feature.checkBadBlocks != 0 { try checkBadBlocks(parts) }
        }
        _ = try self.geometry(
            of: set, sizes: parts.map(\.size), requestedSize: requestedSize, onDevices: onDevices)
        let mapping = try map(parts, geometry)
        if let first = headers.first, first.incompatFeatures & Feature.shutdownState != 0 {
            try markOpen(parts, first)
        }
        let made = MadeParts()
        made.parts = parts
        return Pool(
            set: set, store: self, mapping: mapping, geometry: geometry, made: made,
            attributes: headers.first?.attributes ?? .none, isCreated: false,
            partsWithEarlierErrors: partsWithEarlierErrors)
    }

    /// - Returns: Paths of the parts with a failed write-back from before; see ``PartFile/settleWriteBack()``.
    func settleWriteBack(_ parts: [PartFile]) throws(PoolError) -> [String] {
        var paths: [String] = []
        for part in parts where try part.settleWriteBack() { paths.append(part.path) }
        return paths
    }

    private func markOpen(_ parts: [PartFile], _ header: PoolHeader) throws(PoolError) {
        let counts = try shutdownCounts(parts)
        let before = header.shutdownState
        if before.mayBeCorrupt(now: counts) {
            throw .badConfiguration(
                place: parts[0].path,
                reason: "the pool was open when its platform failed to flush its caches "
                    + "(unsafe shutdowns then \(before.counts.unsafeShutdowns), now \(counts.unsafeShutdowns)): "
                    + "it may be corrupt; restore it from another replica with `pmempool sync`")
        }
        try parts[0].writeShutdownState(ShutdownState(counts, isDirty: true))
    }
}

extension PartFile {
    /// Replaces the shutdown state in the part's header, durably.
    func writeShutdownState(_ state: ShutdownState) throws(PoolError) {
        var header = try readHeader()
        let wasValid = header.isChecksumValid
        header.shutdownState = state
        // Without CKSUM_2K the header's checksum covers the shutdown state. A header that was broken stays so: an
        // initiator that wrote over it must not get it sealed.
        if wasValid && !header.isChecksumValid {
            header.seal()
            try writeHeader(header.bytes)
        } else {
            try writeHeader(state.bytes, at: PoolHeader.shutdownStateOffset)
        }
    }

    /// Makes a new file's contents and size durable.
    func synchronize() throws(PoolError) {
        if device == nil, fsync(descriptor.number) != 0 { throw .system(.last("fsync", on: path)) }
    }
}
