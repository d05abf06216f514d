import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports

// What the document of `--status` says. Reading changes nothing: the records of killed daemons stay for the next session.

extension StatusReport {
    /// The sessions of this user; as root, those of the service as well.
    ///
    /// - Parameters:
    ///   - runtimeDirectory: As `XDG_RUNTIME_DIR` has it.
    ///   - sets: Pool sets that the client may use, or nil. Of others it learns nothing: there are no sums over sessions that have
    ///     ended, and no problems.
    static func now(
        runtimeDirectory: String? = StatusDirectory.runtimeDirectory, of sets: PoolPatterns? = nil
    ) -> StatusReport {
        var report = StatusReport(
            rpmemd: projectVersion, clock: monotonicNanoseconds(), directories: [], truncated: false, sessions: [],
            ended: EndedSessions(),
            problems: [])
        report.ended = .none
        for (parent, _) in StatusDirectory.candidates(runtimeDirectory: runtimeDirectory) {
            do throws(SystemCallError) {
                report.add(try StatusDirectory(in: parent, makes: false, anyOwner: geteuid() == 0))
            } catch {
                // No session has made it yet, or the package is not installed.
                if error.errno == .noSuchFileOrDirectory { continue }
                // Another user's, which an ordinary user finds at the second place.
                if parent == "/run", error.errno == .notPermitted || error.errno == .permissionDenied { continue }
                report.problems.append(escapingControls("\(error)"))
            }
        }
        if let sets, !sets.patterns.isEmpty { report.restrict(to: sets) }
        return report
    }

    private mutating func restrict(to sets: PoolPatterns) {
        restrictedTo = sets.patterns
        sessions.removeAll { !sets.allow(sessionOf: $0.poolSet) }
        ended = .none
        endedUnknown = nil
        problems = []
    }

    private mutating func add(_ directory: StatusDirectory) {
        directories.append(directory.path)
        var found = self
        SessionTotals.read(in: directory) { totals, problem in
            // The counts are read now. The wait for the totals may have taken a second.
            found.clock = monotonicNanoseconds()
            if let totals { found.ended.add(totals) }
            if let problem {
                found.endedUnknown = true
                found.problems.append("\(directory.path)/\(SessionTotals.name): \(escapingControls(problem))")
            }
            let (names, isTruncated) = directory.names()
            if isTruncated { found.truncated = true }
            for name in names { found.add(name, of: directory) }
        }
        self = found
    }

    private mutating func add(_ name: String, of directory: StatusDirectory) {
        do throws(SystemCallError) {
            guard let file = try directory.read(name) else { return }
            switch file.record {
            case .success(let record): sessions.append(ReportedSession(record, isAlive: file.isAlive, clock: clock))
            case .failure(let fault): problems.append("\(directory.path)/\(name): \(fault)")
            }
        } catch {
            problems.append("\(directory.path)/\(escapingControls("\(error)"))")
        }
    }
}

extension PoolPatterns {
    /// Whether a client may use the pool set of a session's record. A name that the record has escaped or cut is none of the
    /// client's.
    fileprivate func allow(sessionOf name: String) -> Bool {
        guard !name.contains("\\"), name.utf8.count < SessionRecord.Layout.poolSet.count - 8,
            let set = try? PoolDescriptor(validating: name)
        else { return false }
        return allows(set)
    }
}

extension ReportedSession {
    /// - Parameter clock: The document's.
    fileprivate init(_ record: SessionRecord, isAlive: Bool, clock: UInt64) {
        self.init(
            session: "\(SessionID(number: record.session))", state: isAlive ? .running : .unclean,
            process: record.process, user: record.user, peer: record.peer.isEmpty ? nil : record.peer,
            poolSet: record.poolSet, poolSetUUID: "\(record.poolSetUUID)", since: record.since,
            provider: record.provider, method: record.method, lanesGranted: record.lanesGranted,
            lanesConnected: record.lanes.lanesConnected, lanesEverConnected: record.lanes.lanesEverConnected,
            lanesRefused: record.lanes.lanesRefused, droppedPackets: record.lanes.droppedPackets,
            persists: ReportedPersists(record.persists), persistTimes: ReportedTimes(record.times),
            resumes: record.lanes.resumes,
            idleNanoseconds: record.lastAnswer == 0 ? nil : clock - min(record.lastAnswer, clock))
    }
}

extension ReportedPersists {
    fileprivate init(_ totals: PersistTotals) {
        self.init()
        relaxedRequests = totals.relaxed.requests
        relaxedBytes = totals.relaxed.bytes
        inlineRequests = totals.inline.requests
        inlineBytes = totals.inline.bytes
        deepRequests = totals.deep.requests
        deepBytes = totals.deep.bytes
        batches = totals.batches
    }
}

extension ReportedTimes {
    fileprivate init(_ totals: PersistTimeTotals) {
        self.init(requests: totals.requests, nanoseconds: totals.nanoseconds)
    }
}

extension EndedSessions {
    /// With a zero for each number that this daemon counts.
    fileprivate static var none: EndedSessions {
        var none = EndedSessions()
        none.persists = ReportedPersists(PersistTotals())
        none.persistTimes = ReportedTimes(PersistTimeTotals())
        none.resumed = 0
        return none
    }

    fileprivate mutating func add(_ totals: SessionTotals) {
        closed &+= totals.sessions[SessionTotals.Result.closed.rawValue]
        failed &+= totals.sessions[SessionTotals.Result.failed.rawValue]
        refused &+= totals.sessions[SessionTotals.Result.refused.rawValue]
        unclean &+= totals.sessions[SessionTotals.Result.unclean.rawValue]
        lanesEverConnected &+= totals.lanesEverConnected
        lanesRefused &+= totals.lanesRefused
        droppedPackets &+= totals.droppedPackets
        violations &+= totals.violations
        resumed = (resumed ?? 0) &+ totals.resumed
        persists = persists + ReportedPersists(totals.persists)
        let times = ReportedTimes(totals.times)
        persistTimes = persistTimes.map { $0 + times } ?? times
    }
}
