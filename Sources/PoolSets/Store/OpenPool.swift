import PersistentMemory
import RpmemProtocol

extension PoolStore {
    /// Opens a pool (`docs/media.md`, section 7.2 (OPEN)). With the shutdown state feature, the pool has its dirty
    /// mark, durably, when this returns. A SET_ATTR that did not finish is undone, durably: see ``InterruptedAttributes``.
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
        var headers = try readHeaders(of: parts.prefix(geometry.headers))
        if headers.first?.isMarkedClean != true {
            // The last session may have ended because a write-back failed. Later reads come from the medium.
            for part in parts { part.dropCleanPages() }
            headers = try readHeaders(of: parts.prefix(geometry.headers))
        }
        let interrupted = InterruptedAttributes(headers)
        if let interrupted { headers = interrupted.headers }
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
        let changed = interrupted?.parts ?? []
        for index in changed { try parts[index].writeHeader(headers[index].bytes) }
        return Pool(
            set: set, mapping: mapping, geometry: geometry, parts: PoolParts(parts),
            attributes: headers.first?.attributes ?? .none, isCreated: false, writerDirectory: writerDirectory,
            partsWithEarlierErrors: partsWithEarlierErrors,
            partsWithInterruptedAttributes: changed.map { parts[$0].path })
    }

    private func readHeaders(of parts: ArraySlice<PartFile>) throws(PoolError) -> [PoolHeader] {
        var headers: [PoolHeader] = []
        for part in parts { headers.append(try part.readHeader()) }
        return headers
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

extension PoolHeader {
    /// Whether the last session closed the pool and found no failed write-back. Pools without the shutdown state feature
    /// have no mark.
    fileprivate var isMarkedClean: Bool {
        incompatFeatures & Feature.shutdownState != 0 && shutdownState.isChecksumValid && !shutdownState.isDirty
    }
}
