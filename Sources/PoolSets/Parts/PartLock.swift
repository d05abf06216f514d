import CLinux
import Glibc
import SystemPackage
import SystemSupport

/// The lock that sessions, and programs of PMDK, hold on each part of an open pool (`docs/media.md`, section 8 (Locking)).
enum PartLock {
    /// How long a session waits for the shared lock of an inspection. An inspection holds it for microseconds, unless it is
    /// stopped meanwhile.
    private static let patience: UInt64 = 5000

    /// Takes the lock for a session.
    ///
    /// - Returns: false when another session or program has it.
    static func takeExclusively(_ descriptor: Int32) throws(SystemCallError) -> Bool {
        let deadline = Deadline.after(milliseconds: patience)
        while try !take(descriptor, LOCK_EX) {
            // Only an inspection shares the lock.
            guard try take(descriptor, LOCK_SH) else { return false }
            _ = rpmem_flock(descriptor, LOCK_UN)
            if deadline.hasPassed { return false }
            usleep(500)
        }
        return true
    }

    /// Takes the lock, without waiting.
    ///
    /// - Parameter operation: LOCK_EX or LOCK_SH of flock(2).
    /// - Returns: false when others hold it in a way that excludes this one.
    static func take(_ descriptor: Int32, _ operation: Int32) throws(SystemCallError) -> Bool {
        if rpmem_flock(descriptor, operation | LOCK_NB) == 0 { return true }
        let reason = SystemCallError.last("flock")
        if reason.errno == .resourceTemporarilyUnavailable { return false }
        throw reason
    }
}

/// The process that holds the lock on a file.
package struct LockHolder: Equatable, Sendable, CustomStringConvertible {
    package let process: Int32
    /// Its name, as the process itself gives it.
    package let command: String?
    package let user: String?

    /// Such as `process 4711 (rpmemd)`.
    package var description: String { "process \(process)\(command.map { " (\($0))" } ?? "")" }

    /// Looks into /proc/locks. For messages: a process in another pid namespace is not listed, and some file systems list other
    /// numbers.
    static func find(_ status: stat) -> LockHolder? {
        let subject =
            "\(hex(rpmem_major(UInt64(status.st_dev)))):\(hex(rpmem_minor(UInt64(status.st_dev)))):\(status.st_ino)"
        guard let locks = readText("/proc/locks", limit: 1 << 20) else { return nil }
        for line in locks.split(separator: "\n") {
            // 1: FLOCK  ADVISORY  WRITE 4711 fd:01:131084 0 EOF
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK", fields[3] == "WRITE", fields[5] == subject else { continue }
            guard let process = Int32(fields[4]), process > 0 else { return nil }
            var directory = stat()
            let isThere = stat("/proc/\(process)", &directory) == 0
            return LockHolder(
                process: process,
                command: readText("/proc/\(process)/comm", limit: 64).map { $0.filter { $0 != "\n" } },
                user: isThere ? Ownership.user(directory.st_uid) : nil)
        }
        return nil
    }

    private static func hex(_ number: UInt32) -> String {
        let text = String(number, radix: 16)
        return text.count < 2 ? "0" + text : text
    }

    private static func readText(_ path: String, limit: Int) -> String? {
        guard let file = try? Descriptor.open(path, O_RDONLY), let bytes = try? readFile(file, limit: limit) else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension PartFile {
    /// Looks for the lock of a session. The part must be open without one. A session that starts at the same time is not
    /// refused: where /proc/locks does not list the lock, this takes a shared one and gives it back at once, and sessions wait
    /// for that (``PartLock/takeExclusively(_:)``).
    func use() throws(PoolError) -> PartExamination.Use {
        var status = stat()
        if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
        if let holder = LockHolder.find(status) { return .held(holder) }
        do throws(SystemCallError) {
            guard try PartLock.take(descriptor.number, LOCK_SH) else { return .held(LockHolder.find(status)) }
        } catch {
            throw .system(SystemCallError(error.call, on: path, errno: error.errno))
        }
        _ = rpmem_flock(descriptor.number, LOCK_UN)
        return .free
    }
}
