import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

extension PoolStore {
    /// Makes a pool on parts that are missing or empty, and opens it.
    ///
    /// A transaction: when it throws, the disk is as it was, or the error says what could not be taken back. Checked in this order: the descriptor, the pool set file,
    /// its options against the attributes, the parts that are there (lock, size), their header pages, the pool's size,
    /// room for the parts that are not.
    /// Only then anything is made. New parts get their name when they have their blocks, the first one first, so that
    /// of several creations one gets the pool. Then the headers are written, the first part's last, and all of it is
    /// durable when this returns. A target that dies meanwhile leaves either a whole pool or one that OPEN refuses and
    /// the next creation makes anew: parts whose header pages are zero, or a ``CreationRecord`` in the first and
    /// headers of that creation in others.
    ///
    /// - Parameters:
    ///   - descriptor: Path bytes below the pool set directory, without NUL.
    ///   - attributes: ``PoolAttributes/none`` for sets with `OPTION NOHDRS`.
    ///   - requestedSize: Bytes that the pool must have at least.
    ///   - isCancelled: Looked at while blocks are allocated, at least once every 256 MiB.
    package func create(
        descriptor: [UInt8], attributes: PoolAttributes, requestedSize: UInt64, isCancelled: () -> Bool = { false }
    ) throws(PoolError) -> Pool {
        var set = try resolve(descriptor)
        try checkOptions(of: set, attributes)
        if try removeIncompleteParts(of: set) { set = try resolve(descriptor) }
        try set.checkNumbers()

        let existing = try openParts(of: set) { index throws(PoolError) in try onStep?(.openPart(index)) }
        let partsWithEarlierErrors = try settleWriteBack(existing.compactMap { $0 })
        let stale = try checkEmpty(existing, of: set)
        if attributes.compatFeatures & Feature.checkBadBlocks != 0 { try checkBadBlocks(existing.compactMap { $0 }) }

        var sizes: [UInt64] = []
        for (part, spec) in zip(existing, set.parts) { sizes.append(try size(of: part, spec, of: set)) }
        let growth = try set.growth(
            to: requestedSize, present: sizes.reduce(0) { $0 &+ $1 & ~(PoolGeometry.pageSize - 1) })
        sizes += growth.map(\.size)
        let geometry = try geometry(
            of: set, sizes: sizes, requestedSize: requestedSize, onDevices: existing.contains { $0?.device != nil })
        try checkFreeSpace(for: newParts(existing, growth, sizes, of: set))

        let made = MadeParts()
        do throws(PoolError) {
            try makeParts(existing, growth, sizes, of: set, into: made, isCancelled: isCancelled)
            try onStep?(.map)
            let mapping = try map(made.parts, geometry)
            let attributes = try publish(made, attributes, geometry, stale: stale)
            return Pool(
                set: set, store: self, mapping: mapping, geometry: geometry, made: made, attributes: attributes,
                isCreated: true, partsWithEarlierErrors: partsWithEarlierErrors)
        } catch {
            let left = made.takeBack()
            throw left.isEmpty ? error : .leftBehind(cause: error, left: left)
        }
    }

    private func checkOptions(of set: ResolvedSet, _ attributes: PoolAttributes) throws(PoolError) {
        let place = set.isPlain ? set.path : "pool set \(set.path)"
        let hasHeaders = !set.options.contains(.noHeaders)
        if hasHeaders && attributes.isNone {
            throw .badConfiguration(
                place: place,
                reason: "the initiator gave no attributes: that needs `OPTION NOHDRS` in the pool set")
        }
        if !hasHeaders && !attributes.isNone {
            throw .badConfiguration(
                place: place, reason: "the set has NOHDRS, but the initiator gave attributes: remove the option")
        }
        try checkSingleHeader(of: set, incompatFeatures: attributes.incompatFeatures, origin: "request")
    }

    /// SINGLEHDR is in the incompat features exactly when the set has it.
    ///
    /// - Parameter origin: Where the features are from: `request`, `pool's header`.
    func checkSingleHeader(
        of set: ResolvedSet, incompatFeatures: UInt32, origin: String
    ) throws(PoolError) {
        let inSet = set.options.contains(.singleHeader)
        let inFeatures = incompatFeatures & Feature.singleHeader != 0
        guard inSet != inFeatures, !set.options.contains(.noHeaders) else { return }
        let features = "incompat features 0x\(String(incompatFeatures, radix: 16))"
        throw .badConfiguration(
            place: set.isPlain ? set.path : "pool set \(set.path)",
            reason: inSet
                ? "the set has SINGLEHDR, the \(origin) has not (\(features)): remove the option, "
                    + "or give the initiator's pool set the same one"
                : "the \(origin) has SINGLEHDR (\(features)), the set has not: add `OPTION SINGLEHDR`")
    }

    /// Removes parts that a killed creation left half-made. Parts in use are left to their session.
    ///
    /// - Returns: Whether there were any.
    private func removeIncompleteParts(of set: ResolvedSet) throws(PoolError) -> Bool {
        var found = false
        for spec in set.parts {
            guard case .absolute(let path) = spec.location else { continue }
            var status = stat()
            // A part that is opened is locked, which others would take for a session: so only what looks like one.
            guard path.withPlatformString({ stat($0, &status) }) == 0, status.st_mode & S_ISVTX != 0,
                status.st_mode & S_IFMT == S_IFREG
            else { continue }
            do throws(PoolError) {
                guard let part = try PartFile.open(spec.location, path: spec.path, in: directory.number),
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

    /// Refuses parts with something where a header goes, unless it is from a creation that did not finish.
    ///
    /// - Returns: Numbers of the parts with headers of that creation.
    private func checkEmpty(_ parts: [PartFile?], of set: ResolvedSet) throws(PoolError) -> [Int] {
        let headers = set.options.contains(.noHeaders) ? 0 : set.options.contains(.singleHeader) ? 1 : parts.count
        var record: CreationRecord?
        var isFirstEmpty = true
        var stale: [Int] = []
        for (index, part) in parts.prefix(headers).enumerated() {
            guard let part else { continue }
            try onStep?(.readHeader(index))
            let header = try part.readHeader()
            if header.isZero { continue }
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

    private func size(
        of part: PartFile?, _ spec: ResolvedSet.Spec, of set: ResolvedSet
    ) throws(PoolError) -> UInt64 {
        if let part { return part.size }
        guard case .exactly(let size) = spec.size else {
            throw .notFound(what: .part, path: spec.path, set: set.path)
        }
        return size
    }

    /// Places and sizes of the parts that are not there.
    private func newParts(
        _ existing: [PartFile?], _ growth: [(path: FilePath, size: UInt64)], _ sizes: [UInt64], of set: ResolvedSet
    ) -> [(path: FilePath, size: UInt64)] {
        var parts: [(path: FilePath, size: UInt64)] = []
        for (index, part) in existing.enumerated() where part == nil {
            if case .absolute(let path) = set.parts[index].location { parts.append((path, sizes[index])) }
        }
        return parts + growth
    }

    private func makeParts(
        _ existing: [PartFile?], _ growth: [(path: FilePath, size: UInt64)], _ sizes: [UInt64], of set: ResolvedSet,
        into made: MadeParts, isCancelled: () -> Bool
    ) throws(PoolError) {
        for (index, part) in existing.enumerated() {
            if let part {
                made.parts.append(part)
            } else if case .absolute(let path) = set.parts[index].location {
                try make(path, size: sizes[index], index, set, made, isCancelled)
            } else {
                throw .notFound(what: .part, path: set.parts[index].path, set: set.path)
            }
        }
        for (offset, file) in growth.enumerated() {
            try make(file.path, size: file.size, existing.count + offset, set, made, isCancelled)
        }
    }

    private func make(
        _ path: FilePath, size: UInt64, _ index: Int, _ set: ResolvedSet, _ made: MadeParts,
        _ isCancelled: () -> Bool
    ) throws(PoolError) {
        try onStep?(.createPart(index))
        made.parts.append(
            try PartFile.create(
                path, mode: partMode, anonymous: usesNamelessFiles, isCancelled: isCancelled, size: size,
                set: set.path, near: made.parts.last?.place.parent))
    }

    /// Gives the new parts their names, then writes the headers, the first part's last.
    ///
    /// - Parameter stale: Parts with headers of a creation that did not finish.
    /// - Returns: The attributes that the pool has now.
    private func publish(
        _ made: MadeParts, _ attributes: PoolAttributes, _ geometry: PoolGeometry, stale: [Int]
    ) throws(PoolError) -> PoolAttributes {
        var headers: [PoolHeader] = []
        if geometry.headers > 0 {
            headers = try makeHeaders(made.parts, attributes, count: geometry.headers)
        }
        for (index, part) in made.parts.enumerated() where !part.isExisting {
            try onStep?(.synchronizePart(index))
            try part.synchronize()
            try onStep?(.linkPart(index))
            try part.link()
            try onStep?(.synchronizeDirectory(index))
            try part.synchronizeDirectory()
            try part.checkWritable()
        }
        guard let first = headers.first else { return .none }
        // While the first part still has the record that they belong to.
        for index in stale.reversed() {
            made.headersWritten.insert(index)
            try made.parts[index].clearHeader()
        }
        if headers.count > 1 {
            try onStep?(.writeCreationRecord)
            made.headersWritten.insert(0)
            try made.parts[0].writeHeader(CreationRecord(poolsetUUID: first.poolsetUUID).bytes)
        }
        for index in headers.indices.reversed() {
            try onStep?(.writeHeader(index))
            // Before the write: one that fails half-way has to be taken back too.
            made.headersWritten.insert(index)
            try made.parts[index].writeHeader(headers[index].bytes)
        }
        return first.attributes
    }

    private func makeHeaders(
        _ parts: [PartFile], _ given: PoolAttributes, count: Int
    ) throws(PoolError) -> [PoolHeader] {
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
            headers[0].shutdownState = ShutdownState(try shutdownCounts(parts), isDirty: true)
            headers[0].seal()
        }
        return headers
    }
}

/// The parts of a pool, and what this process changed on them.
///
/// Unchecked: the call that makes or opens a pool has it to itself, then it is behind the pool's lock.
final class MadeParts: @unchecked Sendable {
    var parts: [PartFile] = []
    var headersWritten: Set<Int> = []

    /// Undoes what was done. The first part has a ``CreationRecord`` until the others are undone: a target that dies
    /// meanwhile leaves what the next creation knows.
    ///
    /// - Returns: What could not be undone.
    func takeBack() -> [PoolError.Leftover] {
        defer { headersWritten = [] }
        if headersWritten.count > 1, let header = try? parts[0].readHeader(), header.isChecksumValid, !header.isZero {
            // When this fails the page cannot be cleared either, which is told below.
            try? parts[0].writeHeader(CreationRecord(poolsetUUID: header.poolsetUUID).bytes)
        }
        return parts.indices.reversed().compactMap { index in
            parts[index].takeBack(headerWritten: headersWritten.contains(index))
        }
    }
}

extension PoolHeader {
    /// What is there in the place of zeros, in a few words.
    var summary: String {
        guard isChecksumValid else { return "its first 4096 bytes are not zero, and no valid pool header either" }
        return "signature '\(signatureText(signature))', major \(major), pool set uuid \(poolsetUUID.text), "
            + "created at \(creationTime) s since the epoch"
    }
}
