import CPmem
import Glibc

/// How a pool's stores are made durable; chosen once per pool, when it is mapped.
package enum PersistKind: UInt8, Sendable {
    /// Cache lines are flushed, then drained: persistent memory.
    case flushAndDrain
    /// Drained only: persistent memory on a platform whose caches are in the persistence domain (eADR).
    case drainOnly
    /// msync(2): ordinary files.
    case msync

    /// The word for the log's `persist flush:` line; scripts grep for it. `docs/media.md`, section 7.7 (Log lines of
    /// the persistency policy).
    package var policyName: String {
        switch self {
        case .flushAndDrain, .drainOnly: "pmem_persist"
        case .msync: "pmem_msync"
        }
    }
}

/// What is known about a mapping when its persist policy is chosen.
struct PersistEvidence {
    /// All parts are Device DAX (parts are never mixed).
    var deviceDAX: Bool
    /// All parts are mapped with MAP_SYNC.
    var mapSync: Bool
    /// `PMEM_IS_PMEM_FORCE` is in the environment, so that libpmem's answer is the user's.
    var forced: Bool
    /// What `pmem_is_pmem` answers for the whole range.
    var libpmemAnswer: Bool
    /// `pmem_has_auto_flush` answers 1.
    var autoFlush: Bool

    /// The rule of `docs/media.md`, section 3 (Mapping): Device DAX, or all MAP_SYNC, or as `pmem_is_pmem` says. With
    /// `PMEM_IS_PMEM_FORCE` set, libpmem's answer rules over MAP_SYNC; not over Device DAX, where msync(2) fails.
    var isPersistentMemory: Bool {
        if deviceDAX { return true }
        return forced ? libpmemAnswer : mapSync || libpmemAnswer
    }

    /// Persistent memory by ``forced`` alone, that is, in truth the page cache of an ordinary file.
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
