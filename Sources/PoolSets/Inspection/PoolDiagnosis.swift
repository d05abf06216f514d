import PersistentMemory
import RpmemProtocol

/// The findings about a pool, by the rules of OPEN (`docs/media.md`, section 7.2 (OPEN)), and the repairs that follow from
/// them. All rules are looked at, where OPEN stops at the first.
struct PoolDiagnosis {
    private(set) var findings: [PoolFinding] = []
    private(set) var repairs: RepairPlan?

    private let set: ResolvedSet
    private let parts: [PartExamination]
    private let headerCount: Int

    init(set: ResolvedSet, parts: [PartExamination], headerCount: Int) {
        self.set = set
        self.parts = parts
        self.headerCount = headerCount
        if let missing = set.missingNumber { add(.error, .partMissing, "\(missing)", remedy: "restore the file") }
        if isEmpty {
            checkKinds()
            add(
                .note, .noPool, "the set has no pool yet",
                remedy: "the initiator creates it, for example with `pmempool create`")
            return
        }
        checkParts()
        checkKinds()
        checkHeaders()
        checkDevices()
        findings = findings.enumerated().sorted { ($0.element.severity, $0.offset) < ($1.element.severity, $1.offset) }
            .map(\.element)
    }

    private mutating func add(
        _ severity: PoolFinding.Severity, _ code: PoolFinding.Code, part: Int? = nil, _ message: String,
        remedy: String? = nil, repair: String? = nil
    ) {
        findings.append(
            PoolFinding(severity, code, part: part.map { parts[$0].path }, message, remedy: remedy, repair: repair))
    }

    /// CREATE would make a pool: no part is there, or those that are have header pages of zeros.
    private var isEmpty: Bool {
        if set.missingNumber != nil { return false }
        if parts.allSatisfy({ $0.opened == nil && $0.failure == nil }) { return true }
        if headerCount == 0 { return false }
        return parts.prefix(headerCount).allSatisfy { part in
            part.failure == nil && (part.opened == nil || part.opened?.header?.isZero == true)
        } && parts.allSatisfy { $0.failure == nil }
    }

    // MARK: Parts

    private mutating func checkParts() {
        for (index, part) in parts.enumerated() {
            guard let opened = part.opened else {
                if let failure = part.failure {
                    add(.error, .partUnusable, part: index, "\(failure)", remedy: Self.remedy(for: failure))
                } else {
                    add(
                        .error, .partMissing, part: index, "the file is missing",
                        remedy: "restore it, or restore this replica from another one with `pmempool sync`")
                }
                continue
            }
            if let failure = part.failure {
                add(
                    .error, .headerUnreadable, part: index, "its header cannot be read: \(failure)",
                    remedy: "mend the storage, then restore this replica with `pmempool sync`")
            }
            if let failure = opened.writeFailure {
                add(.error, .partUnusable, part: index, "\(failure)", remedy: Self.remedy(for: failure))
            }
            checkSize(index, part, opened)
            if opened.isIncomplete {
                add(
                    .error, .partIncomplete, part: index, "a creation that did not finish left it",
                    remedy: "create the pool again")
            }
        }
    }

    /// Files beside devices, and devices whose alignment keeps them from being mapped one behind the other.
    private mutating func checkKinds() {
        let devices = parts.filter { $0.opened?.isDevice == true }.count
        let files = parts.filter { $0.opened?.isDevice == false }.count
        if devices > 0, files > 0 {
            add(
                .error, .mixedParts, "\(devices) parts are Device DAX, \(files) are files",
                remedy: "correct the set: either all parts are devices or none is")
        }
        let geometry = PoolGeometry(partSizes: parts.map { $0.opened?.size ?? 0 }, options: set.options)
        var offset: UInt64 = 0
        for (index, part) in parts.enumerated() {
            guard devices == parts.count, let alignment = part.opened?.alignment else { return }
            if let objection = DeviceAlignment.objection(
                to: alignment, at: offset, partCount: parts.count, options: set.options)
            {
                add(
                    .error, .partAlignment, part: index, objection.reason,
                    remedy: "\(objection.remedy), here and in the initiator's pool set")
                return
            }
            offset &+= geometry?.pieces[index].length ?? 0
        }
    }

    private static func remedy(for failure: PoolError) -> String? {
        if case .noAccess(_, .readOnlyFileSystem, _) = failure { return "mount its file system for writing" }
        if case .noAccess = failure { return "let this user read and write it" }
        return "correct the set, or restore the part"
    }

    private mutating func checkSize(_ index: Int, _ part: PartExamination, _ opened: PartExamination.Opened) {
        if let wanted = part.configuredSize, opened.size != wanted {
            let isShort = opened.size < wanted
            add(
                .error, .partSize, part: index, "has \(opened.size) bytes, the set says \(wanted)",
                remedy: isShort
                    ? "its end is lost: restore it, or restore this replica from another one with `pmempool sync`"
                    : "write \(opened.size)B on line \(part.line ?? 0) of the set if the part has grown, or give it its size back"
            )
        } else if opened.size < PoolGeometry.minimumPart {
            add(
                .error, .partSize, part: index,
                "has \(opened.size) bytes, a part has at least \(PoolGeometry.minimumPart)",
                remedy: "restore it, or restore this replica from another one with `pmempool sync`")
        }
    }

    // MARK: Headers

    private mutating func checkHeaders() {
        if headerCount == 0 {
            add(.note, .noHeaders, "the set has NOHDRS: nothing tells whether the parts belong together")
            return
        }
        let headers = parts.prefix(headerCount).compactMap { $0.opened?.header }
        guard headers.count == headerCount else { return }
        var isWhole = true
        for (index, header) in headers.enumerated() {
            if header.isZero {
                add(
                    .error, .headerZero, part: index,
                    "its header page is zero, though other parts have headers: the part was replaced or cleared",
                    remedy: "restore it, or restore this replica from another one with `pmempool sync`")
                isWhole = false
            } else if CreationRecord(header) != nil {
                add(
                    .error, .creationUnfinished, part: index, "the creation of its pool did not finish",
                    remedy: "create the pool again, or remove what is left with `rpmemctl remove`")
                isWhole = false
            }
        }
        guard isWhole else { return }
        let diagnosis = HeaderDiagnosis(headers, paths: parts.map(\.path))
        let first = diagnosis.repaired[0]
        checkOptions(first)
        checkShutdownState(first)
        // Headers are mended only where nothing else is wrong: other errors may mean that this is not the pool's part.
        let isMendable =
            !findings.contains { $0.severity == .error } && diagnosis.isComplete
            && (try? HeaderCheck(set: set, paths: parts.map(\.path)).check(diagnosis.repaired)) != nil
        findings += diagnosis.findings.map { finding in
            var finding = finding
            if !isMendable { finding.repair = nil }
            return finding
        }
        if isMendable { repairs = RepairPlan(from: headers, to: diagnosis.repaired, findings: diagnosis.findings) }
    }

    private mutating func checkOptions(_ first: PoolHeader) {
        do throws(PoolError) {
            try set.checkSingleHeader(incompatFeatures: first.incompatFeatures, origin: "pool's header")
        } catch {
            add(.error, .singleHeaderMismatch, part: 0, "\(error)", remedy: "correct the pool set file")
        }
    }

    private mutating func checkShutdownState(_ first: PoolHeader) {
        guard first.isChecksumValid, first.incompatFeatures & Feature.shutdownState != 0 else { return }
        let state = first.shutdownState
        if !state.isChecksumValid {
            add(
                .warning, .shutdownChecksum, part: 0, "the shutdown state has a wrong checksum",
                remedy: "nothing: the next OPEN writes a new one")
            return
        }
        guard state.isDirty, !parts.areInUse else { return }
        if let now = parts.shutdownCounts, state.mayBeCorrupt(now: now) {
            add(
                .error, .unsafeShutdown, part: 0,
                "the pool was open when its platform failed to flush its caches (unsafe shutdowns then "
                    + "\(state.counts.unsafeShutdowns), now \(now.unsafeShutdowns)), or its devices were exchanged: it may be "
                    + "corrupt",
                remedy: "restore it from another replica with `pmempool sync`")
        } else {
            add(
                .warning, .dirty, part: 0, "the last session did not close the pool",
                remedy: "nothing: all acknowledged writes are there, and the next session opens it")
        }
    }

    // MARK: Devices

    private mutating func checkDevices() {
        let features = parts.first?.opened?.header?.compatFeatures ?? 0
        let refusesBadBlocks = features & Feature.checkBadBlocks != 0
        for (index, part) in parts.enumerated() {
            if let extents = part.opened?.badBlocks, !extents.isEmpty {
                add(
                    refusesBadBlocks ? .error : .warning, .badBlocks, part: index,
                    "bad blocks: " + extents.prefix(8).map(\.description).joined(separator: ", ")
                        + (extents.count > 8 ? " and \(extents.count - 8) more" : ""),
                    remedy: "clear them with `ndctl clear-errors`, then restore what was there with `pmempool sync`")
            }
        }
        if let index = parts.firstIndex(where: { if case .held? = $0.opened?.use { true } else { false } }),
            case .held(let holder)? = parts[index].opened?.use
        {
            add(.note, .inUse, part: index, "in use by \(holder?.description ?? "another session or process")")
        }
    }
}
