import CLinux
import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// A session's file in the ``StatusDirectory``, mapped. The workers count there, so that others see the counts without any
/// cost for the data plane. ``SessionRecord`` has the layout.
///
/// The daemon holds the file's lock as long as it lives. A file without a lock is the record of a daemon that was killed, and
/// the next session of the user takes it. Sendable: memory and descriptors do not change, and counts are atomics.
final class SessionPage: @unchecked Sendable {
    let session: SessionID
    private let file: Descriptor
    private let memory: UnsafeMutableRawBufferPointer
    private let counts: UnsafeMutablePointer<SessionCounts>
    private let workers: Int

    /// Makes the file, which readers do not see before ``publish(_:in:)``.
    ///
    /// - Parameter workers: The most workers that the session can have.
    init(_ session: SessionID, workers: Int, in directory: StatusDirectory) throws(SystemCallError) {
        let (names, isTruncated) = directory.names(unfinished: true)
        let name = StatusDirectory.unfinishedName(of: session)
        guard !isTruncated, names.count < StatusDirectory.entryLimit, workers <= SessionRecord.Layout.workerLimit else {
            throw SystemCallError("open", on: "\(directory.path)/\(name)", errno: .tooManyOpenFilesInSystem)
        }
        let file = try directory.open(name, O_RDWR | O_CREAT | O_EXCL)
        let size = SessionRecord.Layout.size(workers: workers)
        do throws(SystemCallError) {
            if rpmem_flock(file.number, LOCK_EX | LOCK_NB) != 0 { throw .last("flock", on: name) }
            // Memory that is allocated now: a full tmpfs fails here, and never below a worker.
            let error = posix_fallocate(file.number, 0, off_t(size))
            if error != 0 { throw SystemCallError("posix_fallocate", on: name, errno: Errno(rawValue: error)) }
            guard
                let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0), start != MAP_FAILED
            else { throw .last("mmap", on: name) }
            memory = UnsafeMutableRawBufferPointer(start: start, count: size)
        } catch {
            unlinkat(directory.descriptor.number, name, 0)
            throw error
        }
        self.session = session
        self.file = file
        self.workers = workers
        counts = (memory.baseAddress! + SessionRecord.Layout.sessionCounts)
            .bindMemory(to: SessionCounts.self, capacity: 1)
        counts.initialize(to: SessionCounts())
        for number in 0..<workers { self.counts(ofWorker: number).initialize(to: PersistCounts()) }
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    /// Where a worker counts; valid as long as this.
    func counts(ofWorker number: Int) -> UnsafeMutablePointer<PersistCounts> {
        precondition(number < workers)
        return (memory.baseAddress! + SessionRecord.Layout.counts(ofWorker: number))
            .assumingMemoryBound(to: PersistCounts.self)
    }

    /// Writes all but the counts, and lets readers see the file.
    func publish(_ record: SessionRecord, in directory: StatusDirectory) throws(SystemCallError) {
        record.store(in: memory)
        let number = directory.descriptor.number
        try retryingInterrupts("rename", on: StatusDirectory.name(of: session)) {
            renameat(
                number, StatusDirectory.unfinishedName(of: session), number, StatusDirectory.name(of: session))
        }
    }

    /// Called by the session's thread.
    func store(_ values: SessionCounts.Values) { counts.pointee.store(values) }

    /// What the file says now; nil before ``publish(_:in:)``.
    var record: SessionRecord? { try? SessionRecord(reading: Array(memory)) }

    /// Removes the file.
    func remove(from directory: StatusDirectory) {
        unlinkat(directory.descriptor.number, StatusDirectory.name(of: session), 0)
        unlinkat(directory.descriptor.number, StatusDirectory.unfinishedName(of: session), 0)
    }
}
