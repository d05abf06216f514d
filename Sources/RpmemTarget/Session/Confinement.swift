import CLinux
import Fabric
import Glibc
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport

/// Takes from a session's process the rights that it does not need once its pool is open: an initiator that takes the process over,
/// through a fault of a library say, gets no other file, no program and no connection.
///
/// `rpmemd --digest` likewise, when its pool is locked (``restrictDigest(_:)``).
///
/// 1. ``prepare()`` before any thread is started: no new privileges.
/// 2. ``restrictFiles(_:isCreated:_:_:_:)`` when the pool is open, before the provider has threads: Landlock (``PathConfinement``).
/// 3. ``restrictCalls(_:)`` when the lanes are listened for: seccomp (``ConfinedCalls``), no core dump, not dumpable.
///
/// A kernel without one of these does without it. Deep persist, closing and removal use descriptors that are open by then.
package final class Confinement {
    private let log: SessionLog
    /// For the log.
    private var measures = ["no new privileges"]

    private init(log: SessionLog) { self.log = log }

    /// Why this build cannot be confined; nil when it can.
    private static var obstacle: String? {
        #if SANITIZER
            // Its runtime opens files, reads other threads' registers and maps memory as it likes.
            "it is built with a sanitizer"
        #else
            nil
        #endif
    }

    /// The calling thread, and those that it starts, get no privileges by executing programs any more. Landlock and seccomp need it.
    package static func prepare() {
        if obstacle == nil { _ = rpmem_prctl(PR_SET_NO_NEW_PRIVS, 1) }
    }

    /// - Returns: nil with `confinement = no`, of which the log has a warning.
    package static func begin(_ settings: Settings, _ log: SessionLog) -> Confinement? {
        guard settings.confinement.value else {
            log.warning(
                "confinement = no (\(settings.confinement.origin)): the session keeps all rights of user "
                    + "\(SessionEnvironment.user), and so does an initiator that takes it over; leave the setting out, unless for "
                    + "debugging")
            return nil
        }
        if let obstacle {
            log.info("the session is not confined: \(obstacle)")
            return nil
        }
        return Confinement(log: log)
    }

    // MARK: Files

    /// Lets this thread, those that it starts and the watchdog's open what a session opens, and no more. The thread that loads
    /// libfabric has ended when this returns.
    ///
    /// - Parameters:
    ///   - pool: Open, with its sync aliases.
    ///   - isCreated: Whether this session has made the pool, and so may remove it.
    ///   - status: nil without a runtime directory.
    func restrictFiles(
        _ pool: Pool, isCreated: Bool, _ provider: Provider, _ status: SessionStatus?, _ watchdog: Watchdog
    ) {
        FabricLibrary.finishLoading()
        restrictFiles(watchdog) { (files) throws(SystemCallError) in
            try Self.allow(provider, files)
            if let status {
                try files.allow(
                    [.readFile, .writeFile, .readDirectory, .makeFile, .removeFile, .truncate],
                    beneath: status.directoryDescriptor)
            }
            try pool.withDescriptors { (parts, directories) throws(SystemCallError) in
                // For the reason of a bus error, and for inotify.
                for part in parts { try files.allow(.readFile, beneath: part) }
                // Writer tokens of pools on Device DAX.
                if let records = pool.writerDirectory {
                    try files.allow([.readFile, .writeFile, .makeFile, .removeFile], beneath: records)
                }
                // CLOSE may remove a pool that this session has created.
                guard isCreated else { return }
                for directory in directories {
                    try files.allow([.readDirectory, .removeFile], beneath: directory)
                }
            }
        }
    }

    /// - Parameter allow: Says what may be opened.
    private func restrictFiles(
        _ watchdog: Watchdog, _ allow: (borrowing PathConfinement) throws(SystemCallError) -> Void
    ) {
        do throws(SystemCallError) {
            let files = try PathConfinement()
            try allow(files)
            var tasks = stat()
            // Two links, one for this thread, one for the watchdog's.
            if stat("/proc/self/task", &tasks) == 0, tasks.st_nlink > 4 {
                log.info("\(tasks.st_nlink - 4) threads of libraries keep their rights to files")
            }
            for errno in [
                watchdog.restrict(to: files.descriptor.number),
                PathConfinement.restrictThread(to: files.descriptor.number),
            ] where errno != 0 {
                throw SystemCallError("landlock_restrict_self", errno: Errno(rawValue: errno))
            }
            measures.append("Landlock \(files.version)")
        } catch {
            note(error, without: "it may open every file of its user", kernelLacks: [.noFunction, .notSupported])
        }
    }

    /// What libraries open at any time: their files and the kernel's.
    ///
    /// - Parameter provider: nil for a digest.
    private static func allow(_ provider: Provider?, _ files: borrowing PathConfinement) throws(SystemCallError) {
        // libfabric loads its own providers from the last ones, after this where there are RDMA devices.
        let providers =
            getenv("FI_PROVIDER_PATH").map { String(cString: $0).split(separator: ":").map(String.init) } ?? []
        for path in ["/usr", "/opt", "/lib", "/lib64", "/proc", "/sys"] + providers {
            try files.allow([.readFile, .readDirectory], at: path)
        }
        for name in [
            "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "group", "hosts", "host.conf", "resolv.conf",
            "gai.conf",
            "services", "protocols", "libibverbs.d", "rdma", "libnl-3", "libnl",
        ] {
            try files.allow([.readFile, .readDirectory], at: "/etc/\(name)")
        }
        try files.allow([.readFile, .writeFile], at: "/dev/null")
        for name in ["urandom", "random"] { try files.allow(.readFile, at: "/dev/\(name)") }
        // Names of devices; a right to read directories reaches those below.
        try files.allow(.readDirectory, at: "/dev")
        if provider == .verbs {
            try files.allow([.readFile, .writeFile, .controlDevice], at: "/dev/infiniband")
        }
    }

    // MARK: Digests

    /// Takes all that the digest of a pool does not need, from this thread, those that it starts and the watchdog's. The pool's parts
    /// are open.
    func restrictDigest(_ watchdog: Watchdog) {
        restrictFiles(watchdog) { (files) throws(SystemCallError) in try Self.allow(nil, files) }
        restrictCalls(nil)
    }

    // MARK: System calls

    /// Lays the filter on all threads, and keeps the pool's memory from core files and debuggers. Logs what the session is confined
    /// by.
    ///
    /// - Parameter provider: nil for a digest.
    func restrictCalls(_ provider: Provider?) {
        var none = rlimit()
        let failed = [
            rpmem_prctl(PR_SET_DUMPABLE, 0), setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none),
        ]
        if failed == [0, 0] {
            measures.append("no core files")
        } else {
            log.warning("the session is less confined, it may leave a core file, or be traced by its user")
        }
        if SystemCallFilter.isPossible {
            do throws(SystemCallError) {
                try ConfinedCalls.filter(for: provider).apply()
                measures.append("system calls")
            } catch {
                note(
                    error, without: "it may make every system call",
                    kernelLacks: [.noFunction, .invalidArgument, .notSupported])
            }
        } else {
            log.info("the session may make every system call: rpmemd has no filter for this architecture")
        }
        log.info("confined: \(measures.joined(separator: ", "))")
    }

    private func note(_ error: SystemCallError, without consequence: String, kernelLacks: [Errno]) {
        if kernelLacks.contains(error.errno) {
            log.info("the session is less confined, \(consequence): this kernel has no \(error.call): \(error.errno)")
        } else {
            log.warning("the session is less confined, \(consequence): \(error)")
        }
    }
}
