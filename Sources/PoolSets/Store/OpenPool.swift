import PersistentMemory
import RpmemProtocol

extension PoolStore {
    /// Opens a pool (`docs/media.md`, section 7.2 (OPEN)). With the shutdown state feature, the pool has its dirty
    /// mark, durably, when this returns. A SET_ATTR that did not finish is undone, durably: see ``InterruptedAttributes``.
    ///
    /// - Parameters:
    ///   - requestedSize: Bytes that the pool must have at least.
    ///   - isReadOnly: Whether nothing is written: neither the mark, now or at the end, nor what a SET_ATTR has left. The caller
    ///     writes nothing to the pool.
    package func open(
        descriptor: PoolDescriptor, requestedSize: UInt64, isReadOnly: Bool = false
    ) throws(PoolError) -> Pool {
        try lock(descriptor: descriptor).open(requestedSize: requestedSize, isReadOnly: isReadOnly)
    }

    /// Locks a pool and checks its headers, as the first half of OPEN. Nothing is written.
    ///
    /// - Parameters:
    ///   - side: The machine whose pool set file it is.
    ///   - writable: False to lock a pool that is only read. It cannot be opened or mapped then.
    ///   - isRaw: Whether it is a plain file that has data in the place of headers. A file with a pool header is refused then.
    package func lock(
        descriptor: PoolDescriptor, of side: PoolSetFile.Side = .target, writable: Bool = true, isRaw: Bool = false
    ) throws(PoolError) -> LockedPool {
        var set = try ResolvedSet(descriptor, in: directory, of: side)
        if isRaw { try set.takeAsRaw() }
        try set.checkNumbers()
        var parts: [PartFile] = []
        for (part, spec) in zip(try openParts(of: set, writable: writable), set.parts) {
            guard let part else { throw .notFound(what: .part, path: spec.path, set: set.path) }
            parts.append(part)
        }
        if parts.isEmpty {
            throw .notFound(what: .part, path: GrowthDirectory.fileName(0), set: set.path)
        }
        // The requested size is compared after the headers, whose errors say more.
        let geometry = try set.geometry(
            sizes: parts.map(\.size), requestedSize: 0, onDevices: parts[0].device != nil)
        if isRaw, let objection = try parts[0].readHeader().objectionToPlainData {
            throw .badConfiguration(place: parts[0].path, reason: objection)
        }
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
        return LockedPool(
            set: set, parts: parts, headers: headers, geometry: geometry, interrupted: interrupted,
            partsWithEarlierErrors: partsWithEarlierErrors, health: health, writerDirectory: writerDirectory)
    }

    private func readHeaders(of parts: ArraySlice<PartFile>) throws(PoolError) -> [PoolHeader] {
        var headers: [PoolHeader] = []
        for part in parts { headers.append(try part.readHeader()) }
        return headers
    }
}

extension LockedPool {
    /// The second half of OPEN: marks the pool as open, and maps it. The locks go over to the pool.
    ///
    /// - Parameter isReadOnly: Whether nothing is written.
    package func open(requestedSize: UInt64, isReadOnly: Bool = false) throws(PoolError) -> Pool {
        try check(requestedSize: requestedSize)
        let mapping = try Pool.map(parts, geometry)
        if let first = headers.first, first.incompatFeatures & Feature.shutdownState != 0 {
            let counts = try checkedCounts(first.shutdownState)
            if !isReadOnly { try parts[0].writeShutdownState(ShutdownState(counts, isDirty: true)) }
        }
        let changed = isReadOnly ? [] : interrupted?.parts ?? []
        for index in changed { try parts[index].writeHeader(headers[index].bytes) }
        return Pool(
            set: set, mapping: mapping, geometry: geometry, parts: PoolParts(parts),
            attributes: headers.first?.attributes ?? .none, isCreated: false, isReadOnly: isReadOnly,
            writerDirectory: writerDirectory,
            tokenMayBeBack: headers.first?.isMarkedClean != true, partsWithEarlierErrors: partsWithEarlierErrors,
            partsWithInterruptedAttributes: changed.map { parts[$0].path })
    }

    /// The devices' counts now, unless those of the last opening say that the pool may be corrupt.
    func checkedCounts(_ before: ShutdownState) throws(PoolError) -> ShutdownState.Counts {
        let counts = try health.shutdownCounts(of: parts)
        if before.mayBeCorrupt(now: counts) {
            throw .badConfiguration(
                place: parts[0].path,
                reason: "the pool was open when its platform failed to flush its caches "
                    + "(unsafe shutdowns then \(before.counts.unsafeShutdowns), now \(counts.unsafeShutdowns)): "
                    + "it may be corrupt; restore it from another replica with `pmempool sync`")
        }
        return counts
    }
}

extension PoolHeader {
    /// Whether the last session closed the pool and found no failed write-back. Pools without the shutdown state feature
    /// have no mark.
    fileprivate var isMarkedClean: Bool {
        incompatFeatures & Feature.shutdownState != 0 && shutdownState.isChecksumValid && !shutdownState.isDirty
    }
}
