import Testing

@testable import PersistentMemory

@Suite struct PersistPolicyTests {
    private func kind(
        deviceDAX: Bool = false, mapSync: Bool = false, forced: Bool = false, libpmem: Bool = false, eADR: Bool = false
    ) -> PersistKind {
        PersistEvidence(
            deviceDAX: deviceDAX, mapSync: mapSync, forced: forced, libpmemAnswer: libpmem, autoFlush: eADR
        ).kind
    }

    @Test func ordinaryFilesAreSynchronised() {
        #expect(kind() == .msync)
        #expect(kind(eADR: true) == .msync)
    }

    @Test func deviceDAXAndMapSyncArePersistentMemory() {
        #expect(kind(deviceDAX: true) == .flushAndDrain)
        #expect(kind(mapSync: true) == .flushAndDrain)
        #expect(kind(libpmem: true) == .flushAndDrain)
    }

    @Test func withEADRCachesNeedNoFlush() {
        #expect(kind(deviceDAX: true, eADR: true) == .drainOnly)
        #expect(kind(mapSync: true, eADR: true) == .drainOnly)
    }

    @Test func theUsersWordRulesOverMapSync() {
        #expect(kind(forced: true, libpmem: true) == .flushAndDrain)
        #expect(kind(mapSync: true, forced: true, libpmem: false) == .msync)
    }

    @Test func deviceDAXCannotBeForcedToMsync() {
        #expect(kind(deviceDAX: true, forced: true, libpmem: false) == .flushAndDrain)
    }

    @Test func theUsersWordIsTold() {
        func isByWord(deviceDAX: Bool = false, mapSync: Bool = false, libpmem: Bool) -> Bool {
            PersistEvidence(
                deviceDAX: deviceDAX, mapSync: mapSync, forced: true, libpmemAnswer: libpmem, autoFlush: false
            ).isByWord
        }
        #expect(isByWord(libpmem: true))
        #expect(!isByWord(libpmem: false))
        #expect(!isByWord(deviceDAX: true, libpmem: true))
        #expect(!isByWord(mapSync: true, libpmem: true))
    }
}
