import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

extension PoolStore {
    /// The steps of a creation, in order, for tests that make one fail.
    package enum CreateStep: Hashable, Sendable {
        case openPart(Int)
        case readHeader(Int)
        case createPart(Int)
        case map
        case readShutdownCounts
        case synchronizePart(Int)
        case linkPart(Int)
        case synchronizeDirectory(Int)
        /// Only when several parts have headers.
        case writeCreationRecord
        case writeHeader(Int)
    }

    /// Makes a pool on parts that are missing or empty, and opens it (`docs/media.md`, section 7.1 (CREATE)).
    ///
    /// A creation is a transaction. All checks come first. When a later step fails, the changes on disk are undone.
    /// When the target is killed, its rest is a whole pool, or parts that OPEN refuses and the next CREATE takes: with
    /// header pages of zeros, or with a ``CreationRecord`` in the first part and headers of that creation in the
    /// others.
    ///
    /// - Parameters:
    ///   - attributes: ``PoolAttributes/none`` for sets with `OPTION NOHDRS`, and only for those.
    ///   - requestedSize: Bytes that the pool must have at least.
    ///   - isCancelled: Called while blocks are allocated or looked at, at least once every 256 MiB. True ends the creation.
    /// - Returns: The open pool, durable.
    package func create(
        descriptor: PoolDescriptor, attributes: PoolAttributes, requestedSize: UInt64,
        isCancelled: () -> Bool = { false }
    ) throws(PoolError) -> Pool {
        var set = try ResolvedSet(descriptor, in: directory)
        try checkOptions(of: set, attributes)
        // A removal changes the parts in the set's directories.
        if try removeIncompleteParts(of: set) { set = try ResolvedSet(descriptor, in: directory) }
        try set.checkNumbers()
        let existing = try openParts(of: set) { index throws(PoolError) in try onStep?(.openPart(index)) }
        let partsWithEarlierErrors = try existing.compactMap { $0 }.settleWriteBack()
        let staleHeaders = try checkEmpty(existing, of: set, isCancelled: isCancelled)
        if attributes.compatFeatures & Feature.checkBadBlocks != 0 {
            try health.checkBadBlocks(of: existing.compactMap { $0 })
        }
        let plan = try planParts(existing, of: set, requestedSize: requestedSize)
        let geometry = try set.geometry(
            sizes: plan.map(\.size), requestedSize: requestedSize, onDevices: existing.contains { $0?.device != nil })
        let newFiles = plan.compactMap(\.newFile)
        let turn = try takeQuota(for: newFiles.map(\.size), of: set, descriptor, isCancelled: isCancelled)
        defer { withExtendedLifetime(turn) {} }
        try FreeSpace.check(for: newFiles)

        let parts = PoolParts()
        do throws(PoolError) {
            for (index, part) in plan.enumerated() {
                parts.files.append(
                    try makePart(part, index, near: parts.files.last?.place.parent, of: set, isCancelled))
            }
            try onStep?(.map)
            let mapping = try Pool.map(parts.files, geometry)
            let headers = try makeHeaders(for: parts.files, attributes, count: geometry.headers)
            try nameParts(parts.files)
            try forgetWriters(of: parts.files.filter(\.isExisting))
            try writeHeaders(headers, on: parts, staleHeaders: staleHeaders)
            return Pool(
                set: set, mapping: mapping, geometry: geometry, parts: parts,
                attributes: headers.first?.attributes ?? .none, isCreated: true, writerDirectory: writerDirectory,
                tokenMayBeBack: false, partsWithEarlierErrors: partsWithEarlierErrors)
        } catch {
            let left = parts.takeBack()
            throw left.isEmpty ? error : .leftBehind(cause: error, left: left)
        }
    }

    // MARK: Checks

    private func checkOptions(of set: ResolvedSet, _ attributes: PoolAttributes) throws(PoolError) {
        let hasHeaders = !set.options.contains(.noHeaders)
        if hasHeaders && attributes.isNone {
            throw .badConfiguration(
                place: set.place,
                reason: "the initiator gave no attributes: that needs `OPTION NOHDRS` in the pool set")
        }
        if !hasHeaders && !attributes.isNone {
            throw .badConfiguration(
                place: set.place, reason: "the set has NOHDRS, but the initiator gave attributes: remove the option")
        }
        try set.checkSingleHeader(incompatFeatures: attributes.incompatFeatures, origin: "request")
    }

    /// Removes parts that a killed creation left without all their blocks. Leaves parts that a session has open.
    ///
    /// - Returns: Whether there were any.
    private func removeIncompleteParts(of set: ResolvedSet) throws(PoolError) -> Bool {
        var found = false
        for spec in set.parts {
            guard case .absolute(let path) = spec.location else { continue }
            var status = stat()
            // The mode is looked at before the part is opened: an open part is locked, which another process would take
            // for a session.
            guard path.withPlatformString({ stat($0, &status) }) == 0, status.st_mode & S_ISVTX != 0,
                status.st_mode & S_IFMT == S_IFREG
            else { continue }
            do throws(PoolError) {
                guard let part = try PartFile.open(spec.location, path: spec.path, in: directory),
                    part.isIncomplete, try part.holdsNothing()
                else { continue }
                if let left = part.removeName() { throw .incompleteRemoval(set: set.path, left: [left]) }
                found = true
            } catch {
                guard case .busy = error else { throw error }
            }
        }
        return found
    }

    /// Refuses parts whose header page is not zero, unless a creation that did not finish wrote it. A plain file that the
    /// descriptor names must be zero as a whole: no pool set file says that it is a part, and disk images begin with zeros.
    ///
    /// - Returns: Numbers of the parts with a header of that creation. The first part's record is not among them.
    private func checkEmpty(
        _ parts: [PartFile?], of set: ResolvedSet, isCancelled: () -> Bool
    ) throws(PoolError) -> [Int] {
        var record: CreationRecord?
        var isFirstEmpty = true
        var stale: [Int] = []
        for (index, part) in parts.prefix(set.options.headerCount(parts: parts.count)).enumerated() {
            guard let part else { continue }
            try onStep?(.readHeader(index))
            let header = try part.readHeader()
            if header.isZero {
                guard set.isPlain, part.device == nil else { continue }
                if try part.holdsNothing(isCancelled: isCancelled) { continue }
                if isCancelled() { throw .cancelled(set: set.path) }
                throw .badConfiguration(
                    place: part.path,
                    reason:
                        "its first \(PoolHeader.size) bytes are zero, and later bytes are not: it is no pool, and not an "
                        + "empty file to make one in. Name an empty file, or list this one in a pool set file")
            }
            if index == 0 {
                record = CreationRecord(header)
                if record != nil { continue }
                isFirstEmpty = false
            } else if let record, header.isChecksumValid, header.poolsetUUID == record.poolsetUUID {
                stale.append(index)
                continue
            }
            throw .exists(
                path: part.path,
                found: header.summary
                    + (isFirstEmpty ? ", of which the first part \(set.parts[0].path) is missing or empty" : ""))
        }
        return stale
    }

    // MARK: Parts

    /// A part of the pool to be.
    private enum PlannedPart {
        case existing(PartFile)
        case new(FilePath, size: UInt64)

        var size: UInt64 {
            switch self {
            case .existing(let part): part.size
            case .new(_, let size): size
            }
        }

        var newFile: (path: FilePath, size: UInt64)? {
            if case .new(let path, let size) = self { (path, size) } else { nil }
        }
    }

    /// - Returns: The parts that the set lists, then the files that its directories need for `requestedSize`.
    private func planParts(
        _ existing: [PartFile?], of set: ResolvedSet, requestedSize: UInt64
    ) throws(PoolError) -> [PlannedPart] {
        var plan: [PlannedPart] = []
        for (part, spec) in zip(existing, set.parts) {
            if let part {
                plan.append(.existing(part))
            } else if case .absolute(let path) = spec.location, case .exactly(let size) = spec.size {
                plan.append(.new(path, size: size))
            } else {
                throw .notFound(what: .part, path: spec.path, set: set.path)
            }
        }
        let present = plan.reduce(UInt64(0)) { $0 &+ $1.size & ~(PoolGeometry.pageSize - 1) }
        for file in try set.missingFiles(for: requestedSize, present: present) {
            plan.append(.new(file.path, size: file.size))
        }
        return plan
    }

    private func makePart(
        _ part: PlannedPart, _ index: Int, near: PartDirectory?, of set: ResolvedSet, _ isCancelled: () -> Bool
    ) throws(PoolError) -> PartFile {
        switch part {
        case .existing(let part): return part
        case .new(let path, let size):
            try onStep?(.createPart(index))
            return try PartFile.create(
                path, mode: partMode, anonymous: usesNamelessFiles, isCancelled: isCancelled, size: size,
                set: set.path, near: near)
        }
    }

    /// Makes the new parts and their names durable, the first part first: of several creations at once, the one that
    /// links the first part gets the pool.
    private func nameParts(_ parts: [PartFile]) throws(PoolError) {
        for (index, part) in parts.enumerated() where !part.isExisting {
            try onStep?(.synchronizePart(index))
            try part.synchronize()
            try onStep?(.linkPart(index))
            try part.link()
            try onStep?(.synchronizeDirectory(index))
            try part.synchronizeDirectory()
            try part.checkWritable()
        }
    }

    /// Removes the tokens of an earlier pool on these parts, durably, and before there is a pool that could be opened with one.
    private func forgetWriters(of parts: [PartFile]) throws(PoolError) {
        let records = try WriterRecords.ofDevices(among: parts, at: writerDirectory)
        for part in parts { try part.forgetWriter(records, mayBeBack: true) }
    }

    // MARK: Headers

    private func makeHeaders(
        for parts: [PartFile], _ given: PoolAttributes, count: Int
    ) throws(PoolError) -> [PoolHeader] {
        if count == 0 { return [] }
        var attributes = given
        if attributes.poolsetUUID.isZero { attributes.poolsetUUID = .random() }
        var uuids = (0..<count).map { _ in UUIDBytes.random() }
        if !attributes.uuid.isZero { uuids[0] = attributes.uuid }

        var headers: [PoolHeader] = []
        for (part, links) in zip(parts, PoolHeader.Links.ring(uuids)) {
            var status = stat()
            if fstat(part.descriptor.number, &status) != 0 { throw .system(.last("fstat", on: part.path)) }
            headers.append(
                PoolHeader(
                    attributes: attributes, links: links, firstPart: uuids[0],
                    creationTime: UInt64(clamping: status.st_ctim.tv_sec)))
        }
        if attributes.incompatFeatures & Feature.shutdownState != 0 {
            try onStep?(.readShutdownCounts)
            headers[0].shutdownState = ShutdownState(try health.shutdownCounts(of: parts), isDirty: true)
            headers[0].seal()
        }
        return headers
    }

    /// Writes the headers, the first part's last. While other parts get theirs, or lose the header of an earlier
    /// creation, the first part has a ``CreationRecord``.
    ///
    /// - Parameter staleHeaders: Numbers of the parts with headers of a creation that did not finish, whose record the
    ///   first part has.
    private func writeHeaders(
        _ headers: [PoolHeader], on parts: PoolParts, staleHeaders: [Int]
    ) throws(PoolError) {
        guard let first = headers.first else { return }
        // Each number is noted before the write: a write that fails may have changed the page.
        for index in staleHeaders.reversed() {
            parts.headersWritten.insert(index)
            try parts.files[index].clearHeader()
        }
        if headers.count > 1 {
            try onStep?(.writeCreationRecord)
            parts.headersWritten.insert(0)
            try parts.files[0].writeHeader(CreationRecord(poolsetUUID: first.poolsetUUID).bytes)
        }
        for index in headers.indices.reversed() {
            try onStep?(.writeHeader(index))
            parts.headersWritten.insert(index)
            try parts.files[index].writeHeader(headers[index].bytes)
        }
    }
}
