import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport

/// An open pool: mapped, its parts locked.
///
/// End it with ``close()``, ``leaveDirty()``, ``abandonCreated()`` or ``remove()``. Without, `deinit` unmaps and unlocks and claims
/// nothing: the shutdown state stays dirty, as after a crash, since nobody looked whether all stores reached the medium.
/// A pool that was created stays.
package final class Pool: Sendable {
    /// The pool set file, or the plain file or device; for messages.
    package let path: String
    /// First byte: the first part's header page where the pool has headers. Valid until the pool is ended.
    package nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// Bytes mapped: what the pool can be asked for at most.
    package let size: Int
    /// Makes ranges of `[base, base + size)` durable. Not to be used after the pool is ended.
    package let persister: Persister
    /// False for pools of sets with `OPTION NOHDRS`, which have no attributes.
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
        /// Made by the session that has the pool open.
        package var isNew: Bool

        package var description: String {
            "\(path) (\(isDeviceDAX ? "Device DAX" : "file"), \(size) bytes\(isNew ? ", new" : ""))"
        }
    }

    private let mapping: Mapping
    private let store: PoolStore
    private let set: ResolvedSet
    private let headers: Int
    private let isCreated: Bool
    private let state: Mutex<State>

    private struct State: ~Copyable {
        /// nil when the pool is ended.
        var made: MadeParts?
        var attributes: PoolAttributes
        /// Set once a part could not be read or written. Nobody knows then what the medium has.
        var failure: PoolError?
    }

    init(
        set: ResolvedSet, store: PoolStore, mapping: Mapping, geometry: PoolGeometry, made: MadeParts,
        attributes: PoolAttributes, isCreated: Bool, partsWithEarlierErrors: [String]
    ) {
        path = set.path
        base = mapping.base
        size = mapping.size
        persister = mapping.persister
        hasHeaders = geometry.headers > 0
        isMapSync = mapping.isMapSync
        parts = made.parts.map {
            PartInfo(path: $0.path, size: $0.size, isDeviceDAX: $0.device != nil, isNew: !$0.isExisting)
        }
        self.mapping = mapping
        self.store = store
        self.set = set
        headers = geometry.headers
        self.isCreated = isCreated
        self.partsWithEarlierErrors = partsWithEarlierErrors
        state = Mutex(State(made: made, attributes: attributes))
    }

    /// Why deep persists of the pool will fail, and what to do; nil when they can be done.
    package var deepPersistObstacle: String? {
        mapping.deviceWithDeniedFlush.map { device in
            let attribute = "/sys/bus/nd/devices/\(device.regionName ?? "region")/deep_flush"
            return "\(device.path): this process may not write \(attribute), so deep persists will fail: "
                + "the udev rule 60-rpmem.rules lets group rpmem write it"
        }
    }

    /// Makes the persisters of up to `count` threads; see ``SyncAlias``. To be called before a lane can write.
    ///
    /// - Returns: At least one.
    package func makeSyncAliases(_ count: Int) throws(PoolError) -> [SyncAlias] {
        do throws(PersistentMemoryError) { return try mapping.makeSyncAliases(count) } catch {
            throw .persistentMemory(error)
        }
    }

    /// Whether flushes make stores durable; otherwise msync does.
    package var isPersistentMemory: Bool { persister.isPersistentMemory }

    /// Whether the pool lies on a DAX file system, whose pages the kernel does not pin for long.
    package var isOnDAXFileSystem: Bool { isMapSync && !parts.contains(where: \.isDeviceDAX) }

    /// Whether a part could not be read or written. Such a pool must not be used on, and ``close()`` leaves it dirty.
    package var hasFailed: Bool { state.withLock { $0.failure != nil } }

    /// Paths of parts with a write-back error from before the pool was opened; see ``PartFile/settleWriteBack()``.
    package let partsWithEarlierErrors: [String]

    /// As the headers have them; ``PoolAttributes/none`` without headers.
    package var attributes: PoolAttributes { state.withLock { $0.attributes } }

    /// Rewrites the attributes in every header, durably. The uuid is the first part's; its neighbours' links follow.
    ///
    /// Refused, and the pool usable as before, without headers, for zero attributes, and for attributes that don't
    /// fit the set's SINGLEHDR. When a header cannot be read or written, the headers that were written are put back as
    /// far as possible, and the pool has failed: see ``hasFailed``.
    package func setAttributes(_ attributes: PoolAttributes) throws(PoolError) {
        let failure: PoolError? = state.withLock { state in
            do throws(PoolError) {
                guard let made = state.made else { throw .closed(set: path) }
                if let failure = state.failure { throw failure }
                try checkNew(attributes)
                do throws(PoolError) { try rewriteHeaders(made.parts, attributes) } catch {
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
        try store.checkSingleHeader(
            of: set, incompatFeatures: attributes.incompatFeatures, origin: "request")
    }

    private func rewriteHeaders(_ parts: [PartFile], _ attributes: PoolAttributes) throws(PoolError) {
        var before: [PoolHeader] = []
        for part in parts.prefix(headers) { before.append(try part.readHeader()) }
        var written: [Int] = []
        do throws(PoolError) {
            // The first part last: OPEN reads the attributes there.
            for index in (0..<headers).reversed() {
                var header = before[index]
                header.setAttributes(attributes)
                if index == 0 { header.uuid = attributes.uuid }
                if index == headers - 1 { header.nextPartUUID = attributes.uuid }
                if index == 1 % headers { header.previousPartUUID = attributes.uuid }
                header.seal()
                written.append(index)
                try parts[index].writeHeader(header.bytes)
            }
        } catch {
            var left: [PoolError.Leftover] = []
            for index in written {
                do throws(PoolError) { try parts[index].writeHeader(before[index].bytes) } catch {
                    left.append(PoolError.Leftover(path: parts[index].path, errno: error.errno))
                }
            }
            throw left.isEmpty ? error : .halfChanged(set: path, cause: "\(error)", errno: error.errno, left: left)
        }
    }

    /// Unmaps, marks the pool as cleanly closed, durably, and unlocks. Later calls do nothing.
    ///
    /// Whatever was acknowledged is durable already; stores that nobody asked to persist are not waited for, see
    /// ``Mapping/close()``.
    ///
    /// - Throws: When a part could not be read or written since the pool was opened, be it by the kernel's write-back of
    ///   stores that nobody asked to persist. The shutdown state stays dirty then, and the pool is unmapped and unlocked
    ///   all the same.
    package func close() throws(PoolError) {
        let failure: PoolError? = state.withLock { state in
            guard let made = state.made else { return nil }
            state.made = nil
            do throws(PoolError) {
                do throws(PersistentMemoryError) { try mapping.close() } catch { throw .persistentMemory(error) }
                if let failure = state.failure { throw failure }
                for part in made.parts { try part.checkWriteBack() }
                if let first = made.parts.first, headers > 0 { try first.clearDirty() }
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    /// Unmaps and unlocks, and leaves the shutdown state dirty, as after a crash: for a pool of which something could not
    /// be made durable. Later calls do nothing.
    package func leaveDirty() {
        // Nothing is removed, so nothing can be left over.
        try? end { _ in [] }
    }

    /// Ends a pool that this session created as if it had never been: new parts are removed, empty parts that were
    /// there before get their zeros back. Only for pools no lane wrote to. Later calls do nothing.
    ///
    /// - Throws: `incompleteRemoval` with what could not be undone. A pool that was opened is closed instead.
    package func abandonCreated() throws(PoolError) {
        guard isCreated else { return try close() }
        try end { made in made.takeBack() }
    }

    /// Removes all parts, still locked, and ends the pool. For CLOSE with the remove flag. Later calls do nothing.
    ///
    /// - Throws: `incompleteRemoval` with what could not be removed.
    package func remove() throws(PoolError) {
        // The first part last: until it is gone, the rest is a pool's.
        try end { made in made.parts.reversed().compactMap { $0.remove() } }
    }

    private func end(_ body: (MadeParts) -> [PoolError.Leftover]) throws(PoolError) {
        let left: [PoolError.Leftover] = state.withLock { state in
            guard let made = state.made else { return [] }
            state.made = nil
            mapping.abandon()
            return body(made)
        }
        if !left.isEmpty { throw .incompleteRemoval(set: path, left: left) }
    }
}

extension PartFile {
    /// Marks the pool as closed, where its header keeps a shutdown state that this process made dirty.
    fileprivate func clearDirty() throws(PoolError) {
        let header = try readHeader()
        guard header.incompatFeatures & Feature.shutdownState != 0 else { return }
        let state = header.shutdownState
        // An initiator may have written over the page; what is not a state is not made one.
        guard state.isChecksumValid, state.isDirty else { return }
        do throws(PoolError) { try writeShutdownState(ShutdownState(state.counts, isDirty: false)) } catch {
            // The page cache may say clean while the medium says dirty. The next OPEN reads the page cache.
            try? writeShutdownState(state)
            throw error
        }
    }
}
