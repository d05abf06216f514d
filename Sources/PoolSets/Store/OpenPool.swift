import PersistentMemory
import RpmemProtocol

extension PoolStore {
    /// Opens a pool (`docs/media.md`, section 7.2 (OPEN)). With the shutdown state feature, the pool has its dirty
    /// mark, durably, when this returns.
    ///
    /// - Parameter requestedSize: Bytes that the pool must have at least.
    package func open(descriptor: PoolDescriptor, requestedSize: UInt64) throws(PoolError) -> Pool {
        let set = try ResolvedSet(descriptor, in: directory)
        try set.checkNumbers()
        var parts: [PartFile] = []
        for (part, spec) in zip(try openParts(of: set), set.parts) {
            guard let part else { throw .notFound(what: .part, path: spec.path, set: set.path) }
            parts.append(part)
        }
        if parts.isEmpty {
            throw .notFound(what: .part, path: GrowthDirectory.fileName(0), set: set.path)
        }
        let sizes = parts.map(\.size)
        let onDevices = parts[0].device != nil
        // The requested size is compared after the headers, whose errors say more.
        let geometry = try set.geometry(sizes: sizes, requestedSize: 0, onDevices: onDevices)
        let partsWithEarlierErrors = try parts.settleWriteBack()
        if try !isMarkedClean(parts[0], headers: geometry.headers) {
            // The last session may have ended because a write-back failed. Later reads come from the medium.
            for part in parts { part.dropCleanPages() }
        }
        var headers: [PoolHeader] = []
        for part in parts.prefix(geometry.headers) { headers.append(try part.readHeader()) }
        try HeaderCheck(set: set, paths: parts.map(\.path)).check(headers)
        if let first = headers.first {
            try set.checkSingleHeader(incompatFeatures: first.incompatFeatures, origin: "pool's header")
            if first.compatFeatures & Feature.checkBadBlocks != 0 { try health.checkBadBlocks(of: parts) }
        }
        _ = try set.geometry(sizes: sizes, requestedSize: requestedSize, onDevices: onDevices, exists: true)
        let mapping = try Pool.map(parts, geometry)
        if let first = headers.first, first.incompatFeatures & Feature.shutdownState != 0 {
            try setDirtyMark(parts, first.shutdownState)
        }
        return Pool(
            set: set, mapping: mapping, geometry: geometry, parts: PoolParts(parts),
            attributes: headers.first?.attributes ?? .none, isCreated: false,
            partsWithEarlierErrors: partsWithEarlierErrors)
    }

    /// Whether the last session closed the pool and found no failed write-back. Pools without the shutdown state feature
    /// have no mark.
    private func isMarkedClean(_ first: PartFile, headers: Int) throws(PoolError) -> Bool {
        if headers == 0 { return false }
        let header = try first.readHeader()
        let state = header.shutdownState
        return header.incompatFeatures & Feature.shutdownState != 0 && state.isChecksumValid && !state.isDirty
    }

    /// Writes a shutdown state with the dirty mark, unless the last one says that the pool may be corrupt.
    private func setDirtyMark(_ parts: [PartFile], _ before: ShutdownState) throws(PoolError) {
        let counts = try health.shutdownCounts(of: parts)
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
