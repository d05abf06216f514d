"""Ways to break the promise that an answer means durable. Each names the tests that must fail with it."""
from dataclasses import dataclass, field

TARGET = "Sources/RpmemTarget"
MEMORY = "Sources/PersistentMemory"
POOLS = "Sources/PoolSets"

SURVIVE = "ForgettingTests.whateverIsAnsweredWouldSurvive"
KILLED = "ForgettingKillTests.killedAtEachEventOfASession"
KILLED_CREATING = "ForgettingKillTests.killedAtEachEventOfCreateAndOpen"
FAILED_MSYNC = "ForgettingFailureTests.aFailedMsyncIsNotAnswered"
FAILED_CLOSE = "ForgettingFailureTests.aFailedMsyncOfCloseIsToldOf"
FAILED_WORKER = "ForgettingFailureTests.theFailureOfAnyWorkerLeavesTheMark"
STORAGE = "StorageFailureTests.nothingLostIsAcknowledgedOnExt4"


@dataclass
class Mutation:
    name: str
    file: str
    # Must be in the file exactly once.
    before: str
    after: str
    # Each of them must fail, as SUITE.TEST.
    tests: list
    environment: dict = field(default_factory=dict)


MUTATIONS = [
    Mutation(
        "an answer goes out before its range is durable", f"{TARGET}/InBand/PersistLoop.swift",
        "guard carryOut(first: count), makeDurable() else { return }\n            let requests = batchCount\n"
        "            guard answerBatch() else { return }",
        "guard carryOut(first: count) else { return }\n            let requests = batchCount\n"
        "            guard answerBatch(), makeDurable() else { return }",
        ["PersistLoopEndTests.failedSyncIsNeverAnswered", KILLED]),
    Mutation(
        "the last range of a batch is not merged into its msync", f"{TARGET}/InBand/PersistLoop.swift",
        "if ranges[index].end > merged.end { merged.end = ranges[index].end }",
        "if index &+ 1 < rangeCount, ranges[index].end > merged.end { merged.end = ranges[index].end }",
        ["PersistLoopTests.allRangesOfABatchAreSynchronised"]),
    Mutation(
        "the length of an msync is rounded down", f"{TARGET}/InBand/PersistLoop.swift",
        "Int(merged.end &- merged.start))", "Int(merged.end &- merged.start) & ~4095)", [SURVIVE]),
    Mutation(
        "the length of a flush is rounded down", f"{MEMORY}/Persister.swift",
        "if kind == .flushAndDrain { pmem_flush(address, length) }",
        "if kind == .flushAndDrain { pmem_flush(address, length & ~63) }", [SURVIVE]),
    Mutation(
        "no drain after a flush", f"{MEMORY}/Persister.swift",
        "if kind != .msync { pmem_drain() }", "if kind == .drainOnly { pmem_drain() }", [SURVIVE]),
    Mutation(
        "no drain after inline data", f"{TARGET}/InBand/PersistLoop.swift",
        """            if mode != .inline { context.persister.flush(address, length) }
            mustDrain = true""",
        """            if mode != .inline {
                context.persister.flush(address, length)
                mustDrain = true
            }""", [SURVIVE]),
    Mutation(
        "the end of inline data is not flushed", f"{MEMORY}/Persister.swift",
        "            flush(destination + head + body, tail)\n", "", [SURVIVE]),
    Mutation(
        "a deep persist forgets the second part", f"{MEMORY}/Persister.swift",
        """        for index in 0..<partCount {
            let part = parts[index]
            guard let (from, to)""",
        """        for index in 0..<Swift.min(partCount, 1) {
            let part = parts[index]
            guard let (from, to)""", [SURVIVE]),
    Mutation(
        "a deep persist stops at the persistence domain", f"{MEMORY}/Persister.swift",
        "            return pmem_msync(start, Int(Swift.min(length, 4096))) == 0 ? rpmem_read_only(descriptor) : errno",
        "            return start == start ? rpmem_read_only(descriptor) : errno", [SURVIVE, FAILED_MSYNC]),
    Mutation(
        "the deep flush of a Device DAX is left out", f"{MEMORY}/Persister.swift",
        "return -ndctl_region_deep_flush(region)", "return region == region ? 0 : EIO",
        ["ForgettingDeviceTests.whateverIsAnsweredWouldSurvive"]),
    Mutation(
        "a header on Device DAX is flushed and not drained", f"{MEMORY}/DeviceDAX.swift",
        "pmem_persist(address, length)", "pmem_flush(address, length)",
        ["ForgettingDeviceTests.whateverIsAnsweredWouldSurvive"]),
    Mutation(
        "pages that a device wrote are not noted", f"{TARGET}/InBand/PersistLoop.swift",
        "        if context.writesByDevice, mode != .inline { context.persister.noteDeviceWrites(address, length) }\n",
        "", ["PersistLoopTests.pagesThatADeviceWroteAreToBeSynchronised"]),
    Mutation(
        "the appliance method serves writes that stay in CPU caches", f"{TARGET}/Session/PoolOpening.swift",
        "provider == .verbs || pool.persister.isByWord ? nil : provider.name", "provider == provider ? nil : provider.name",
        [SURVIVE]),
    Mutation(
        "a range is answered although its msync failed", f"{TARGET}/InBand/PersistLoop.swift",
        "            if errno != 0 { return endForSync(merged.start, merged.end, errno: errno) }\n", "            _ = errno\n",
        [FAILED_MSYNC, FAILED_WORKER, "PersistLoopEndTests.failedSyncIsNeverAnswered"]),
    Mutation(
        "a range is answered although its deep persist failed", f"{TARGET}/InBand/PersistLoop.swift",
        "return errno == 0 || endForDeepPersist(lane, errno: errno)",
        "return errno == 0 || endForDeepPersist(lane, errno: errno) || true",
        [FAILED_MSYNC, "PersistLoopEndTests.failedDeepPersistIsNeverAnswered"]),
    Mutation(
        "the error of a worker is ignored when the pool is closed", f"{TARGET}/InBand/LaneWorkers.swift",
        "                if case .persistFailed = end { hasFailedToPersist = true }\n", "", [FAILED_WORKER]),
    Mutation(
        "the workers share a SyncAlias", f"{TARGET}/InBand/LaneWorkers.swift",
        "context.persister = syncAliases[number].persister", "context.persister = syncAliases[number & 0].persister",
        [STORAGE], {"STORAGE_CASES": "twoWorkers/direct,twoWorkers/background"}),
    Mutation(
        "the mark is cleared before CLOSE has drained", f"{POOLS}/Store/Pool.swift",
        "                do throws(PersistentMemoryError) { try mapping.close() } catch { throw .persistentMemory(error) }\n",
        """                if let first = parts.files.first, headers > 0 { try first.clearDirtyMark() }
                do throws(PersistentMemoryError) { try mapping.close() } catch { throw .persistentMemory(error) }
""", [FAILED_CLOSE]),
    Mutation(
        "CLOSE does not ask for failed write-backs", f"{POOLS}/Store/Pool.swift",
        "                for part in parts.files { try part.checkWriteBack() }\n", "",
        [STORAGE], {"STORAGE_CASES": "close/background,closeOtherPart/background"}),
    Mutation(
        "CLOSE is answered with success although it failed", f"{TARGET}/Session/TargetSession.swift",
        "try connection.send(isClosed ? .close : .refused(.close, .fatal))", "try connection.send(.close)",
        [FAILED_CLOSE, "ForgettingFailureTests.aMarkThatCannotBeClearedIsToldOf"]),
    Mutation(
        "OPEN does not mark the pool", f"{POOLS}/Store/OpenPool.swift",
        "            if !isReadOnly { try parts[0].writeShutdownState(ShutdownState(counts, isDirty: true)) }\n",
        "            _ = counts\n", [SURVIVE, KILLED_CREATING]),
    Mutation(
        "a session that may not write marks the pool", f"{POOLS}/Store/OpenPool.swift",
        "            if !isReadOnly { try parts[0]", "            do { try parts[0]", ["RestrictedKeyTests.readOnly"]),
    Mutation(
        "headers and the mark are written, and not made durable", "Sources/CLinux/shim.h",
        "1L, (long)offset, 0L, RWF_DSYNC);", "1L, (long)offset, 0L, 0L);", [SURVIVE]),
    Mutation(
        "SET_ATTR forgets the second part's header", f"{POOLS}/Store/Pool.swift",
        "for (index, header) in before.enumerated() {", "for (index, header) in before.enumerated() where index != 1 {",
        [SURVIVE]),
    Mutation(
        "CREATE writes the first header first", f"{POOLS}/Store/CreatePool.swift",
        "for index in headers.indices.reversed() {", "for index in headers.indices {",
        [KILLED_CREATING, "InterruptedCreationTests.afterAKillAtAnyStepCreateOrOpenWorks"]),
    Mutation(
        "CREATE writes headers before its parts are durable and have names", f"{POOLS}/Store/CreatePool.swift",
        """            try nameParts(parts.files)
            try forgetWriters(of: parts.files.filter(\\.isExisting))
            try writeHeaders(headers, on: parts, staleHeaders: staleHeaders)
""",
        """            try writeHeaders(headers, on: parts, staleHeaders: staleHeaders)
            try nameParts(parts.files)
""", [KILLED_CREATING, "CreateSweepTests.whateverAKilledCreationLeavesIsNoHalfPool"]),
    Mutation(
        "OPEN does not make it durable that a token is gone", f"{POOLS}/Store/OpenPool.swift",
        "tokenMayBeBack: headers.first?.isMarkedClean != true,", "tokenMayBeBack: false,",
        ["PowerLossTokenTests.aRemovedTokenIsNotBack"]),
    Mutation(
        "a session that cannot write clears the mark of a killed one", f"{POOLS}/Store/Pool.swift",
        "headers > 0, !isReadOnly, !state.tokenMayBeBack", "headers > 0, !isReadOnly", ["WriterTokenFailureTests.killedBeforeARemovalIsDurable"]),
    Mutation(
        "CREATE leaves no record of itself", f"{POOLS}/Store/CreatePool.swift",
        "            try parts.files[0].writeHeader(CreationRecord(poolsetUUID: first.poolsetUUID).bytes)\n",
        "            _ = first\n",
        [KILLED_CREATING, "InterruptedCreationTests.afterAKillAtAnyStepCreateOrOpenWorks"]),
    Mutation(
        "CREATE does not synchronise new parts", f"{POOLS}/Store/CreatePool.swift",
        "            try part.synchronize()\n", "", [SURVIVE]),
    Mutation(
        "WRITEs to ordinary files complete without an msync", f"{TARGET}/Session/PoolOpening.swift",
        "method == .gpspm && pool.persister.isPersistentMemory\n", "method == .gpspm\n",
        ["ExtensionTests.writesCommitOnPersistentMemoryOnly"]),
    Mutation(
        "the initiator takes WRITEs for durable that do not commit", "Sources/RpmemInitiator/InitiatorLaneOperations.swift",
        "let flags = commits ? rpmem_fi_commit :", "let flags = commits ? rpmem_fi_completion :",
        ["ExtendTests.committingWritesCarryTheFlag"]),
    Mutation(
        "a lane without the secret is accepted", f"{TARGET}/InBand/InBandServer.swift",
        "if let objection = objection(toSecret: request.privateData) { return refuse(request, objection) }", "",
        ["ExtensionTests.aLaneHasToShowTheSecret"]),
    Mutation(
        "CREATE does not synchronise the directory of new parts", f"{POOLS}/Store/CreatePool.swift",
        "            try part.synchronizeDirectory()\n", "",
        ["DurableNameTests.aDirectoryThatCannotBeOpenedIsAFailure"]),
    Mutation(
        "a comparison of replicas finds no difference", "Sources/ReplicaComparison/DifferingBlocks.swift",
        "if !left.elementsEqual(right) { add", "if left.isEmpty, !left.elementsEqual(right) { add",
        ["ComparisonTests.everyByteCounts", "VerifyTests.everyDifferenceIsFound", "SyncTests.onlyBlocksThatDifferAreWritten"]),
    Mutation(
        "sync does not mark the target's replica", "Sources/rpmemctl/Sync/CatchingUp.swift",
        "pool.attributes.catchingUp(true)", "pool.attributes",
        ["SyncTests.aTargetThatIsKilledLeavesAMarkedReplica"]),
    Mutation(
        "sync takes the mark off although blocks differ", "Sources/rpmemctl/Sync/CatchingUp.swift",
        "if marks, left.isEmpty {", "if marks {", ["SyncTests.blocksThatDifferAfterwardsAreNoticed"]),
    Mutation(
        "sync overwrites what somebody wrote after the comparison", "Sources/rpmemctl/Sync/SessionComparison.swift",
        "guard differing.isSubset(of: before.differing) else {", "guard true else {",
        ["SyncTests.somebodyWhoWritesMeanwhileIsNoticed"]),
    Mutation(
        "DIGEST digests blocks behind the pool's end", "Sources/RpmemProtocol/DigestRequest.swift",
        "guard offset < limit - first else { return nil }", "",
        ["SessionDigestTests.aBlockBehindThePoolEndsTheSession"]),
    Mutation(
        "sync goes on in another session, without the lock in between", "Sources/rpmemctl/Sync/Sync.swift",
        "options.resumeTime = .zero", "", ["SyncLossTests.aLostSessionIsNotResumed"]),
]
