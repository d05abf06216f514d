import PersistentMemory
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports

// What the documents say of an examination.

extension ReportedPool {
    /// - Parameter sessions: Those that the client may see.
    init(_ name: PoolDescriptor, _ examination: PoolExamination, _ sessions: StatusReport) {
        self.init(
            name: String(decoding: name.bytes, as: UTF8.self), path: examination.path,
            kind: examination.isPlain ? .plain : .set, state: State(examination))
        owner = examination.owner
        if examination.options.contains(.singleHeader) { options.append("SINGLEHDR") }
        if examination.options.contains(.noHeaders) { options.append("NOHDRS") }
        let sizes = examination.parts.compactMap { $0.configuredSize ?? $0.opened?.size }
        if sizes.count == examination.parts.count, !sizes.isEmpty { size = sizes.reduce(0, clampedSum) }
        usableSize = examination.usableSize
        parts = examination.parts.count
        devices = examination.parts.count { $0.opened?.isDevice == true }
        if let header = examination.firstHeader, header.isChecksumValid {
            created = header.creationTime
            signature = signatureText(header.signature)
            poolSetUUID = header.poolsetUUID.description
        }
        holder = examination.holder.map {
            ReportedHolder(process: $0.process, command: $0.command, user: $0.user)
        }
        // Processes of a container have numbers of their own, which can be those of other processes here.
        let session = sessions.sessions.first {
            $0.state == .running && $0.process == holder?.process && $0.poolSetUUID == poolSetUUID ?? $0.poolSetUUID
        }
        holder?.session = session?.session
        holder?.peer = session?.peer
        persistentMemory = examination.forecast?.isPersistentMemory
        applianceMethodPossible = persistentMemory
        badBlocks = examination.badBlockCount.map(UInt64.init)
        unsafeShutdowns = examination.unsafeShutdowns
        if state == .damaged || state == .unknown {
            problem = examination.findings.first { $0.severity == .error }.map { finding in
                finding.part.map { "\($0): \(finding.message)" } ?? finding.message
            }
        }
    }

    /// A pool whose set cannot be used.
    init(_ name: PoolDescriptor, refused error: PoolError, in directory: String) {
        let isInvalid = if case .badConfiguration = error { true } else { false }
        let text = String(decoding: name.bytes, as: UTF8.self)
        self.init(name: text, path: "\(directory)/\(text)", kind: .set, state: isInvalid ? .invalid : .unknown)
        problem = "\(error)"
    }
}

extension ReportedPool.State {
    init(_ examination: PoolExamination) {
        let findings = examination.findings
        let errors = findings.filter { $0.severity == .error }
        if findings.contains(where: { $0.code == .noPool }) {
            self = .empty
        } else if examination.isInUse {
            self = .inUse
        } else if errors.contains(where: { $0.code == .creationUnfinished || $0.code == .partIncomplete }) {
            self = .creating
        } else if let error = errors.first {
            // A part that this user may not read may be whole.
            self = error.code == .partUnusable && errors.allSatisfy { $0.code == .partUnusable } ? .unknown : .damaged
        } else if let state = examination.shutdownState, state.isChecksumValid {
            self = state.isDirty ? .dirty : .clean
        } else {
            self = .closed
        }
    }
}

extension ReportedPart {
    init(_ examination: PoolExamination, _ index: Int) {
        let part = examination.parts[index]
        let kind: Kind =
            if let opened = part.opened { opened.isDevice ? .device : .file } else {
                part.failure == nil ? .missing : .unusable
            }
        self.init(path: part.path, kind: kind)
        line = part.line
        configuredSize = part.configuredSize
        size = part.opened?.size
        if let geometry = examination.geometry, index < geometry.pieces.count {
            mappedFrom = geometry.pieces[index].offset
            mappedLength = geometry.pieces[index].length
        }
        if let page = part.opened?.header, !page.isZero { header = ReportedHeader(page) }
        badBlocks = part.opened?.badBlocks?.map { ReportedExtent(offset: $0.offset, length: $0.length) }
        region = part.opened?.region?.name
        persistenceDomain = part.opened?.region?.persistenceDomain
        problem = part.failure?.description
    }
}

extension ReportedHeader {
    init(_ header: PoolHeader) {
        var features: [String] = []
        if header.compatFeatures & Feature.checkBadBlocks != 0 { features.append("CHECK_BAD_BLOCKS") }
        if header.incompatFeatures & Feature.singleHeader != 0 { features.append("SINGLEHDR") }
        if header.incompatFeatures & Feature.checksum2K != 0 { features.append("CKSUM_2K") }
        if header.incompatFeatures & Feature.shutdownState != 0 { features.append("SHUTDOWN_STATE") }
        if header.incompatFeatures & Feature.catchingUp != 0 { features.append("CATCHING_UP") }
        self.init(
            signature: signatureText(header.signature), major: header.major, compatFeatures: header.compatFeatures,
            incompatFeatures: header.incompatFeatures, roCompatFeatures: header.roCompatFeatures, features: features,
            poolSetUUID: header.poolsetUUID.description, uuid: header.uuid.description,
            previousPartUUID: header.previousPartUUID.description, nextPartUUID: header.nextPartUUID.description,
            previousReplicaUUID: header.previousReplicaUUID.description,
            nextReplicaUUID: header.nextReplicaUUID.description,
            created: header.creationTime, userFlags: header.archFlags.digits,
            checksumValid: header.isChecksumValid)
    }
}

extension ReportedShutdownState {
    init(_ facts: PoolExamination.ShutdownFacts) {
        self.init(
            dirty: facts.isDirty, checksumValid: facts.isChecksumValid, unsafeShutdowns: facts.unsafeShutdowns,
            unsafeShutdownsNow: facts.unsafeShutdownsNow, sameDevices: facts.areSame)
    }
}

extension ReportedMapping {
    init(_ forecast: MappingForecast, persistAPM: AppliancePersistency) {
        let kind: Kind =
            switch forecast.kind {
            case .deviceDAX: .deviceDAX
            case .mapSync: .mapSync
            case .pageCache: .pageCache
            }
        let persist: Persist =
            switch forecast.persist {
            case .flushAndDrain: .flushAndDrain
            case .drainOnly: .drain
            case .msync: .msync
            }
        func method(_ softwareProvider: String?) -> String {
            let choice = PersistMethodChoice(
                persistAPM, isPersistentMemory: forecast.isPersistentMemory,
                cachesPersist: forecast.persist == .drainOnly, softwareProvider: softwareProvider)
            return choice.method.name
        }
        self.init(
            kind: kind, persist: persist, eADR: MappingForecast.cachesPersist, persistAPM: persistAPM.rawValue,
            method: method(nil), methodOverTCP: method("tcp"))
    }
}

extension ReportedFinding {
    /// - Parameter canRepair: Whether the repairs can be made now.
    init(_ finding: PoolFinding, canRepair: Bool) {
        let severity: Severity =
            switch finding.severity {
            case .error: .error
            case .warning: .warning
            case .note: .note
            }
        self.init(
            severity: severity, code: finding.code.rawValue, part: finding.part, message: finding.message,
            remedy: finding.remedy, repair: canRepair ? finding.repair : nil)
    }
}
