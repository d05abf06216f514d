import CPmem
import Glibc

/// How a pool's stores are made durable. Chosen when the pool is mapped.
package enum PersistKind: UInt8, Sendable {
    /// Cache flush and drain: persistent memory.
    case flushAndDrain
    /// Drain alone: persistent memory on a platform whose caches are in the persistence domain (eADR).
    case drainOnly
    /// msync(2): ordinary files.
    case msync
}

/// The facts that decide the ``PersistKind`` of a mapping.
struct PersistEvidence {
    /// All parts are Device DAX. Otherwise none is.
    var deviceDAX: Bool
    /// All parts are mapped with MAP_SYNC.
    var mapSync: Bool
    /// `PMEM_IS_PMEM_FORCE` is in the environment. libpmem then answers what the user wants.
    var forced: Bool
    /// The answer of `pmem_is_pmem` for the whole range.
    var libpmemAnswer: Bool
    /// The answer of `pmem_has_auto_flush` is 1.
    var autoFlush: Bool

    /// Whether the mapping is persistent memory (`docs/media.md`, section 3 (Mapping)). With `PMEM_IS_PMEM_FORCE`
    /// libpmem's answer overrides MAP_SYNC. It does not override Device DAX, where msync(2) fails.
    var isPersistentMemory: Bool {
        if deviceDAX { return true }
        return forced ? libpmemAnswer : mapSync || libpmemAnswer
    }

    /// Whether ``forced`` alone makes the mapping persistent memory. It is then in fact the page cache of ordinary
    /// files.
    var isByWord: Bool { isPersistentMemory && !deviceDAX && !mapSync }

    var kind: PersistKind {
        guard isPersistentMemory else { return .msync }
        return autoFlush ? .drainOnly : .flushAndDrain
    }

    /// Asks libpmem about `[base, base + size)`.
    static func gather(
        base: UnsafeRawPointer, size: Int, deviceDAX: Bool, mapSync: Bool
    ) -> PersistEvidence {
        PersistEvidence(
            deviceDAX: deviceDAX, mapSync: mapSync, forced: getenv("PMEM_IS_PMEM_FORCE") != nil,
            libpmemAnswer: pmem_is_pmem(base, size) == 1, autoFlush: pmem_has_auto_flush() == 1)
    }
}
