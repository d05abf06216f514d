import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport

/// An open pool: its parts are mapped and locked.
///
/// ``close()``, ``leaveDirty()``, ``abandonCreated()`` or ``remove()`` ends it. Without one of them, `deinit` unmaps
/// and unlocks. The shutdown state then stays dirty, as after a crash, because nobody checked whether all stores
/// reached the medium. The parts stay, even if this session created them.
package final class Pool: Sendable {
    /// The pool set file, or the plain file or device; for messages.
    package let path: String
    /// First byte: the first part's header page where the pool has headers. Valid until the pool is ended.
    package nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// Bytes mapped: the most that an initiator can ask for.
    package let size: Int
    /// Makes ranges of `[base, base + size)` durable. Must not be used after the pool is ended.
    package let persister: Persister
    /// False with `OPTION NOHDRS`: the pool then has no attributes.
    package let hasHeaders: Bool
    /// Whether every part is mapped with MAP_SYNC.
    package let isMapSync: Bool
    /// In order.
    package let parts: [PartInfo]

    /// A part, for the log.
    package struct PartInfo: Equatable, Sendable, CustomStringConvertible {
        package var path: String
        /// Bytes of the file or device.
        package var size: UInt64
        package var isDeviceDAX: Bool
        /// The session that has the pool open made the part.
        package var isNew: Bool

        package var description: String {
            "\(path) (\(isDeviceDAX ? "Device DAX" : "file"), \(size) bytes\(isNew ? ", new" : ""))"
        }
    }

    private let mapping: Mapping
    private let set: ResolvedSet
    private let headers: Int
    private let pieces: [PoolGeometry.Piece]
    private let isCreated: Bool
    private let isReadOnly: Bool
    /// Of pools on Device DAX. Opened here: later the session may open nothing.
    private let writerRecords: Result<WriterRecords?, PoolError>
    private let state: Mutex<OpenState>

    private struct OpenState: ~Copyable {
        /// nil when the pool is ended.
        var parts: PoolParts?
        var attributes: PoolAttributes
        /// Set once a part could not be read or written. The contents of the medium are then unknown.
        var failure: PoolError?
        /// Whether a session that was killed may have removed a token, and not durably. One that closed the pool did not. Cleared
        /// once the parts keep this session's token, or none, durably.
        var tokenMayBeBack: Bool
    }

    /// Maps the pieces of a pool one behind the other.
    static func map(_ parts: [PartFile], _ geometry: PoolGeometry) throws(PoolError) -> Mapping {
        let segments = zip(parts, geometry.pieces).map { part, piece in
            Segment(
                descriptor: part.descriptor.number, offset: Int64(piece.offset), length: Int(piece.length),
                device: part.device, path: part.path)
        }
        do throws(PersistentMemoryError) { return try Mapping(segments) } catch {
            if case .misaligned = error { throw .badConfiguration(place: parts[0].path, reason: "\(error)") }
            throw .persistentMemory(error)
        }
    }

    /// - Parameters:
    ///   - mapping: From ``map(_:_:)``.
    ///   - isReadOnly: Whether the pool has no mark of this session.
    init(
        set: ResolvedSet, mapping: Mapping, geometry: PoolGeometry, parts: PoolParts,
        attributes: PoolAttributes, isCreated: Bool, isReadOnly: Bool = false, writerDirectory: String,
        tokenMayBeBack: Bool,
        partsWithEarlierErrors: [String], partsWithInterruptedAttributes: [String] = []
    ) {
        path = set.path
        base = mapping.base
        size = mapping.size
        persister = mapping.persister
        hasHeaders = geometry.headers > 0
        isMapSync = mapping.isMapSync
        self.parts = parts.files.map {
            PartInfo(path: $0.path, size: $0.size, isDeviceDAX: $0.device != nil, isNew: !$0.isExisting)
        }
        self.mapping = mapping
        self.set = set
        headers = geometry.headers
        pieces = geometry.pieces
        self.isCreated = isCreated
        self.isReadOnly = isReadOnly
        writerRecords = Result { () throws(PoolError) in
            try .ofDevices(among: parts.files, at: writerDirectory)
        }
        self.partsWithEarlierErrors = partsWithEarlierErrors
        self.partsWithInterruptedAttributes = partsWithInterruptedAttributes
        state = Mutex(OpenState(parts: parts, attributes: attributes, tokenMayBeBack: tokenMayBeBack))
    }

    /// Why deep persists of the pool will fail, and the remedy; nil when nothing is in their way.
    package var deepPersistObstacle: String? {
        mapping.deviceWithDeniedFlush.map { device in
            let attribute = "/sys/bus/nd/devices/\(device.regionName ?? "region")/deep_flush"
            return "\(device.path): this process may not write \(attribute), so deep persists will fail: "
                + "the udev rule 60-rpmem.rules lets group rpmem write it"
        }
    }

    /// Makes the persisters of up to `count` threads; see ``SyncAlias``. Must be called before a lane can write.
    ///
    /// - Returns: At least one.
    package func makeSyncAliases(_ count: Int) throws(PoolError) -> [SyncAlias] {
        do throws(PersistentMemoryError) { return try mapping.makeSyncAliases(count) } catch {
            throw .persistentMemory(error)
        }
    }

    /// Whether cache flushes make stores durable. Otherwise msync does.
    package var isPersistentMemory: Bool { persister.isPersistentMemory }

    /// Whether the parts are files on a DAX file system. The kernel refuses to pin such pages for longer than one call.
    package var isOnDAXFileSystem: Bool { isMapSync && !parts.contains(where: \.isDeviceDAX) }

    /// Whether a part could not be read or written. The session must end then, and ``close()`` leaves the pool dirty.
    package var hasFailed: Bool { state.withLock { $0.failure != nil } }

    /// Paths of parts with a write-back error from before the pool was opened; see ``PartFile/settleWriteBack()``.
    package let partsWithEarlierErrors: [String]

    /// Paths of parts to which OPEN gave the first part's attributes, because a SET_ATTR had not finished.
    package let partsWithInterruptedAttributes: [String]

    /// The attributes in the headers; ``PoolAttributes/none`` without headers.
    package var attributes: PoolAttributes { state.withLock { $0.attributes } }

    /// Calls `body` with the open parts' descriptors, and those of the directories that have their names. The descriptors are valid
    /// during the call. Both are empty once the pool is closed.
    package func withDescriptors<Failure: Error>(
        _ body: (_ parts: [Int32], _ directories: [Int32]) throws(Failure) -> Void
    ) throws(Failure) {
        let files = state.withLock { $0.parts?.files ?? [] }
        let directories = files.flatMap { [$0.place.parent, $0.place.link?.parent] }.compactMap {
            $0?.descriptor.number
        }
        try body(files.map { $0.descriptor.number }, directories)
        withExtendedLifetime(files) {}
    }

    /// A reader of the pool. It must be gone before the pool is ended.
    ///
    /// - Throws: When the pool is closed, or has failed: its page cache may have other bytes than the medium.
    package func makeReader() throws(PoolError) -> PoolReader {
        let reader: Result<PoolReader, PoolError> = state.withLock { state in
            guard let parts = state.parts else { return .failure(.closed(set: path)) }
            if let failure = state.failure { return .failure(failure) }
            return .success(PoolReader(parts.files, pieces, mappedAt: base))
        }
        return try reader.get()
    }

    /// Rewrites the attributes in every header, durably (`docs/media.md`, section 7.3 (SET_ATTR)).
    ///
    /// A pool without headers, attributes that are all zero, and attributes that do not fit the set's SINGLEHDR are
    /// refused; the pool stays usable. When a header cannot be read or written, the headers that were written get their
    /// old contents back as far as possible, and the pool has failed: see ``hasFailed``.
    package func setAttributes(_ attributes: PoolAttributes) throws(PoolError) {
        let failure: PoolError? = state.withLock { state in
            do throws(PoolError) {
                guard let parts = state.parts else { throw .closed(set: path) }
                if let failure = state.failure { throw failure }
                try checkNew(attributes)
                do throws(PoolError) { try rewriteHeaders(parts.files, attributes) } catch {
                    state.failure = error
                    throw error
                }
                state.attributes = attributes
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    private func checkNew(_ attributes: PoolAttributes) throws(PoolError) {
        guard hasHeaders else {
            throw .badConfiguration(place: "pool set \(path)", reason: "has NOHDRS: there is no place for attributes")
        }
        if attributes.isNone {
            throw .badConfiguration(
                place: "pool set \(path)", reason: "attributes that are all zero are for sets with NOHDRS only")
        }
        try set.checkSingleHeader(incompatFeatures: attributes.incompatFeatures, origin: "request")
    }

    private func rewriteHeaders(_ parts: [PartFile], _ attributes: PoolAttributes) throws(PoolError) {
        var before: [PoolHeader] = []
        for part in parts.prefix(headers) { before.append(try part.readHeader()) }
        var after: [Int: PoolHeader] = [:]
        for (index, header) in before.enumerated() {
            var header = header
            header.setAttributes(attributes)
            if index == 0 { header.uuid = attributes.uuid }
            header.linkToFirst(attributes.uuid, index, of: headers)
            header.seal()
            after[index] = header
        }
        // The first part's last: OPEN answers with its attributes.
        do throws(HeaderReplacementFailure) { try parts.replaceHeaders(before, with: after) } catch {
            throw error.left.isEmpty
                ? error.cause
                : .halfChanged(set: path, cause: "\(error.cause)", errno: error.cause.errno, left: error.left)
        }
    }

    // MARK: Writer

    /// Whether every part has room for a ``WriterToken``: files on a file system with extended attributes, Device DAX where the
    /// machine has ``WriterRecords``.
    package var keepsWriter: Bool {
        guard case .success(let records) = writerRecords else { return false }
        return state.withLock { $0.parts?.files.allSatisfy { $0.keepsWriter(records) } ?? false }
    }

    /// The directory with the ``WriterRecords``, in which ``claim(_:_:)`` and ``forgetWriter()`` make and remove files; nil where
    /// they do not. Valid as long as this.
    package var writerDirectory: Int32? { (try? writerRecords.get())?.descriptor.number }

    /// Keeps `token` in place of any other, durably, or compares it with the one that all parts keep.
    ///
    /// - Returns: The outcome; how often the initiator with this token has resumed its session, now included.
    /// - Throws: When a part cannot be made durable, or when another token can be neither replaced nor removed, or not be read.
    ///   The pool has failed then: see ``hasFailed``.
    package func claim(
        _ purpose: ClaimPurpose, _ token: WriterToken
    ) throws(PoolError) -> (outcome: ClaimOutcome, resumes: UInt64) {
        try withFiles { files, records, tokenMayBeBack throws(PoolError) in
            switch purpose {
            case .resume:
                var resumes: UInt64 = 1
                for (index, file) in files.enumerated() {
                    guard let record = try file.writer(records), record.token == token else {
                        return (.otherWriter, 0)
                    }
                    if index == 0 { resumes = record.resumes &+ 1 }
                }
                // Without room the count stays as it is.
                _ = try files.first?.keepWriter(WriterRecord(token, resumes: resumes), records)
                tokenMayBeBack = false
                return (.kept, resumes)
            case .new:
                for file in files where try !file.keepWriter(WriterRecord(token), records) {
                    for file in files { try file.forgetWriter(records, mayBeBack: tokenMayBeBack) }
                    tokenMayBeBack = false
                    return (.notKept, 0)
                }
                tokenMayBeBack = false
                return (.kept, 0)
            }
        }
    }

    /// Removes the token that the parts keep, durably. Also where none is left, unless that is known to be durable.
    ///
    /// - Throws: When a part cannot be changed, or not be made durable. The pool has failed then: see ``hasFailed``.
    package func forgetWriter() throws(PoolError) {
        try withFiles { files, records, tokenMayBeBack throws(PoolError) in
            for file in files { try file.forgetWriter(records, mayBeBack: tokenMayBeBack) }
            tokenMayBeBack = false
        }
    }

    /// An error of `body` makes the pool fail: fsync(2) reports a lost page once, and ``close()`` would find nothing.
    private func withFiles<Result: Sendable>(
        _ body: ([PartFile], WriterRecords?, _ tokenMayBeBack: inout Bool) throws(PoolError) -> Result
    ) throws(PoolError) -> Result {
        let result: Swift.Result<Result, PoolError> = state.withLock { state in
            guard let parts = state.parts else { return .failure(.closed(set: path)) }
            if let failure = state.failure { return .failure(failure) }
            do throws(PoolError) {
                return .success(try body(parts.files, try writerRecords.get(), &state.tokenMayBeBack))
            } catch {
                state.failure = error
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Unmaps, clears the dirty mark, durably, and unlocks. Later calls do nothing.
    ///
    /// Acknowledged ranges are durable already. Other stores are not waited for; see ``Mapping/close()``. A pool that had the mark
    /// keeps it when this session could not write (``claim(_:_:)``, ``forgetWriter()``): the next one that can has to know that a
    /// session was killed before, which may have removed a token and not durably.
    ///
    /// - Throws: When a part could not be read or written since the pool was opened, by this process or by the kernel's
    ///   write-back. The dirty mark then stays. The pool is unmapped and unlocked all the same.
    package func close() throws(PoolError) {
        let failure: PoolError? = state.withLock { state in
            guard let parts = state.parts else { return nil }
            state.parts = nil
            do throws(PoolError) {
                do throws(PersistentMemoryError) { try mapping.close() } catch { throw .persistentMemory(error) }
                if let failure = state.failure { throw failure }
                for part in parts.files { try part.checkWriteBack() }
                if let first = parts.files.first, headers > 0, !isReadOnly, !state.tokenMayBeBack {
                    try first.clearDirtyMark()
                }
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    /// Unmaps and unlocks, and leaves the dirty mark, as after a crash. For a pool of which a range could not be made
    /// durable. Later calls do nothing.
    package func leaveDirty() {
        // The body removes nothing, so there is no error.
        try? end { _ in [] }
    }

    /// Ends a pool that this session created, and undoes the creation: removes new parts, and writes zeros over the
    /// header pages of parts that were there before. What lanes wrote to the latter stays. Closes a pool that was opened.
    /// Later calls do nothing.
    ///
    /// - Throws: `incompleteRemoval` with the parts that could not be undone.
    package func abandonCreated() throws(PoolError) {
        guard isCreated else { return try close() }
        try end { parts in parts.takeBack() }
    }

    /// Ends the pool and removes its parts, durably, while they are locked. For CLOSE with the remove flag. Later calls do
    /// nothing.
    ///
    /// - Throws: `incompleteRemoval` with the parts that could not be removed.
    package func remove() throws(PoolError) {
        try end { parts in parts.files.removeDurably() }
    }

    private func end(_ body: (PoolParts) -> [PoolError.Leftover]) throws(PoolError) {
        let left: [PoolError.Leftover] = state.withLock { state in
            guard let parts = state.parts else { return [] }
            state.parts = nil
            mapping.abandon()
            return body(parts)
        }
        if !left.isEmpty { throw .incompleteRemoval(set: path, left: left) }
    }
}

/// The open parts of a pool, and the header pages that this process wrote on them.
///
/// Unchecked: one call makes or opens a pool and has the parts to itself. The pool then keeps them behind its mutex.
final class PoolParts: @unchecked Sendable {
    /// In order.
    var files: [PartFile] = []
    /// Numbers of the parts.
    var headersWritten: Set<Int> = []

    init(_ files: [PartFile] = []) { self.files = files }

    /// Undoes a creation, the first part last. Until the other parts are undone, the first part's header page has a
    /// ``CreationRecord``, so that after a kill the next CREATE can start again.
    ///
    /// - Returns: The parts that could not be undone.
    func takeBack() -> [PoolError.Leftover] {
        defer { headersWritten = [] }
        if headersWritten.count > 1, let header = try? files[0].readHeader(), header.isChecksumValid, !header.isZero {
            // A failure shows again below, where the page is cleared.
            try? files[0].writeHeader(CreationRecord(poolsetUUID: header.poolsetUUID).bytes)
        }
        // A part that was there before keeps its name, and a nameless file has none.
        return files.removeDurably(losesName: { if case .named = $0.origin { true } else { false } }) { number, part in
            part.takeBack(headerWritten: headersWritten.contains(number))
        }
    }
}
