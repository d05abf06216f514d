import Glibc
import RpmemProtocol
import SystemSupport

/// What a session tells `rpmemd --status` of itself: a ``SessionPage`` while it has a pool, and its part of the
/// ``SessionTotals`` when it ends.
///
/// It belongs to the session's thread. Whatever fails here leaves a line in the log at level info, and the session goes on.
package final class SessionStatus {
    private let directory: StatusDirectory
    private let log: SessionLog
    private(set) var page: SessionPage?
    private var counts = SessionCounts.Values()

    /// - Returns: nil when no directory can be used, which the log says.
    package static func open(log: SessionLog) -> SessionStatus? { open(StatusDirectory.runtimeDirectory, log) }

    static func open(_ runtimeDirectory: String?, _ log: SessionLog) -> SessionStatus? {
        do throws(SystemCallError) {
            return SessionStatus(try StatusDirectory.forSession(runtimeDirectory: runtimeDirectory), log)
        } catch {
            log.info("rpmemctl status does not show this session: no runtime directory can be used: \(error)")
            return nil
        }
    }

    private init(_ directory: StatusDirectory, _ log: SessionLog) {
        self.directory = directory
        self.log = log
    }

    /// The directory, of whose files this makes and removes some. Valid as long as this.
    var directoryDescriptor: Int32 { directory.descriptor.number }

    /// Makes the page before the lanes are there. First it takes the records of daemons that were killed.
    func makePage(workers: Int) -> SessionPage? {
        attempt { () throws(SystemCallError) in
            var unclean: [SessionRecord] = []
            var failure: SystemCallError?
            // The page is made while the totals are locked: until it is locked itself, others would take it for a record.
            try SessionTotals.update(in: directory) { totals in
                unclean = directory.takeUnclean(into: &totals)
                do throws(SystemCallError) {
                    page = try SessionPage(log.session, workers: workers, in: directory)
                } catch {
                    failure = error
                }
            }
            for record in unclean.prefix(16) {
                log.warning(
                    "session \(SessionID(number: record.session)) of \(record.peer), pool set \(record.poolSet), did not end "
                        + "in good order: process \(record.process) was killed, or ended because of the pool's storage. Its pool "
                        + "may be marked as not cleanly closed")
            }
            if let failure { throw failure }
        }
        return page
    }

    /// Shows the session to readers.
    func publish(_ record: SessionRecord) {
        guard let page else { return }
        attempt { () throws(SystemCallError) in try page.publish(record, in: directory) }
    }

    /// Stores counts, if they have changed.
    func note(_ values: SessionCounts.Values) {
        var values = values
        values.violations = counts.violations
        values.resumes = counts.resumes
        guard values != counts else { return }
        counts = values
        page?.store(values)
    }

    /// Counts a violation, which ends the session.
    func noteViolation() {
        counts.violations = 1
        page?.store(counts)
    }

    /// The session resumes an earlier one; see ``SessionCounts/Values/resumes``.
    func noteResumed(times: UInt64) {
        counts.resumes = times
        page?.store(counts)
    }

    /// The session has ended: adds it to the totals, and removes its page. The lanes are down.
    func end(_ result: SessionTotals.Result) {
        attempt { () throws(SystemCallError) in
            try SessionTotals.update(in: directory) { totals in
                if let record = page?.record {
                    totals.add(record, result)
                } else {
                    totals.sessions[result.rawValue] &+= 1
                    totals.violations &+= counts.violations
                    totals.resumed &+= counts.resumes > 0 ? 1 : 0
                }
                page?.remove(from: directory)
            }
        }
        // The totals may be out of reach; this session is over all the same.
        page?.remove(from: directory)
        page = nil
    }

    private func attempt(_ body: () throws(SystemCallError) -> Void) {
        do throws(SystemCallError) { try body() } catch {
            log.info("rpmemctl status does not show all of this session: \(directory.path): \(error)")
        }
    }
}
