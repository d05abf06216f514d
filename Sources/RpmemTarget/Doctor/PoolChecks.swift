import CLinux
import DoctorChecks
import Glibc
import PersistentMemory
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport
import TargetReports

/// What was found of the pool set directory, the pool sets, and the places of their parts.
struct PoolChecks {
    var checks: [ReportedCheck] = []
    /// Bytes of the largest pool that an initiator could ask for; nil where none is known.
    private(set) var largestPool: UInt64?
    /// Whether every part is, or will be, on persistent memory; nil where none is known.
    private(set) var isPersistentMemory: Bool?
    private let settings: Settings
    private let tree: SystemTree
    private var examined: [(name: String, pool: PoolExamination)] = []

    /// The most pools that are looked at where none is named.
    private static let poolLimit = 200

    /// - Parameter set: The pool set to look at; nil for all.
    static func run(_ settings: Settings, set: String?, _ tree: SystemTree) -> PoolChecks {
        var checks = PoolChecks(settings, tree)
        checks.run(set)
        return checks
    }

    private init(_ settings: Settings, _ tree: SystemTree) {
        self.settings = settings
        self.tree = tree
    }

    private mutating func add(
        _ name: ReportedCheck.Name, _ verdict: ReportedCheck.Verdict, _ found: String, _ remedy: String? = nil
    ) {
        checks.append(ReportedCheck(name, .target, verdict, found, remedy: remedy))
    }

    private mutating func run(_ set: String?) {
        let path = settings.poolsetDirectory.value
        let store: PoolStore
        do throws(PoolError) { store = try PoolStore(directory: path) } catch {
            let remedy =
                switch error.errno {
                case .noSuchFileOrDirectory where !tree.exists(path):
                    "`sudo install -d -o \(SessionEnvironment.user) -m 0700 \(shellQuoted(path))`, or "
                case let errno where Self.isDenial(errno):
                    "`sudo chown \(SessionEnvironment.user) \(shellQuoted(path))`, or "
                default: ""
                }
            add(
                .poolSetDirectory, .fail, "\(error)",
                "\(remedy)set poolset-dir (\(settings.poolsetDirectory.origin))")
            return skipTheRest("there is no pool set directory")
        }
        checkDirectory(path)
        if let set { examine(set, store) } else { examineAll(store) }
        guard !examined.isEmpty else { return skipTheRest("no pool set can be read") }
        largestPool = examined.compactMap(\.pool.usableSize).max()
        checkParts(isAsked: set != nil)
        checkSpace(isAsked: set != nil)
        if set != nil { checkPool() }
        checkMapping()
        checkBadBlocks(isAsked: set != nil)
    }

    /// Whether an owner is what lacks.
    private static func isDenial(_ errno: Errno) -> Bool { errno == .permissionDenied || errno == .notPermitted }

    private mutating func skipTheRest(_ reason: String) {
        for name in [ReportedCheck.Name.poolSets, .parts, .space, .mapSync, .badBlocks]
        where !checks.contains(where: { $0.check == name.rawValue }) {
            add(name, .skip, reason)
        }
    }

    // MARK: The directory and the sets

    /// Whoever can write to the directory decides which files sessions write to.
    private mutating func checkDirectory(_ path: String) {
        guard let status = tree.status(path) else { return }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        let owner = Ownership.user(status.st_uid)
        let text = "\(path), owned by \(owner), mode 0\(mode)"
        if status.st_uid != geteuid(), status.st_uid != 0 {
            add(
                .poolSetDirectory, .warn,
                "\(text): \(owner) decides which files the sessions of \(SessionEnvironment.user) write to",
                "`sudo chown \(SessionEnvironment.user) \(shellQuoted(path))`, or set poolset-dir")
        } else if status.st_mode & 0o022 != 0 {
            add(
                .poolSetDirectory, .warn, "\(text): others decide which files sessions write to",
                "`sudo chmod go-w \(shellQuoted(path))`")
        } else {
            add(.poolSetDirectory, .ok, text)
        }
    }

    private mutating func examine(_ set: String, _ store: PoolStore) {
        do {
            let name = try PoolDescriptor(validating: set)
            if let objection = settings.objection(to: .open, name) {
                add(.poolSets, .fail, objection, "use a pool set that restrict-to allows")
                return
            }
            let pool = try store.examine(name, depth: .whole)
            examined = [(set, pool)]
            let parts = "\(set): \(pool.parts.count) part\(pool.parts.count == 1 ? "" : "s")"
            add(.poolSets, .ok, parts + (pool.usableSize.map { ", for pools of at most \($0) bytes" } ?? ""))
        } catch {
            add(.poolSets, .fail, "\(error)", "correct the pool set file, as poolset(5) has it, or name another")
        }
    }

    private mutating func examineAll(_ store: PoolStore) {
        do throws(PoolError) {
            let listing = try store.list()
            var faults: [String] = []
            for name in listing.names.prefix(Self.poolLimit) {
                let text = String(decoding: name.bytes, as: UTF8.self)
                do throws(PoolError) { examined.append((text, try store.examine(name, depth: .overview))) } catch {
                    faults.append("\(error)")
                }
            }
            let count = "\(examined.count) pool set\(examined.count == 1 ? "" : "s") can be used"
            if faults.isEmpty {
                add(.poolSets, .ok, count)
            } else {
                add(
                    .poolSets, .warn,
                    "\(count), \(faults.count) cannot: \(faults.prefix(3).joined(separator: "; "))",
                    "correct or remove the pool set file; `rpmemctl list` shows all")
            }
        } catch {
            // Sessions only search the directory.
            add(.poolSets, .skip, "\(error)")
        }
    }

    // MARK: The parts

    private var parts: [PartExamination] { examined.flatMap(\.pool.parts) }
    private var missing: [PartExamination] { parts.filter { $0.opened == nil && $0.failure == nil } }

    private mutating func checkParts(isAsked: Bool) {
        var problems: [(text: String, remedy: String)] = []
        let user = SessionEnvironment.user
        for part in parts {
            if let error = part.failure ?? part.opened?.writeFailure {
                problems.append(
                    (
                        "\(error)",
                        Self.isDenial(error.errno)
                            ? "`sudo chown \(user) \(shellQuoted(part.path))`, if it is a part"
                            : "mend that, or name another place in the pool set file"
                    ))
            }
        }
        for pool in examined.map(\.pool) {
            for finding in pool.findings where finding.code == .partAlignment || finding.code == .mixedParts {
                problems.append(
                    (
                        "\(pool.path): \(finding.part.map { "\($0) " } ?? "")\(finding.message)",
                        finding.remedy ?? "correct the set"
                    ))
            }
        }
        for (name, pool) in examined where pool.parts.contains(where: { $0.opened == nil && $0.failure == nil }) {
            guard let descriptor = try? PoolDescriptor(validating: name),
                let objection = settings.objection(to: .create, descriptor)
            else { continue }
            problems.append(
                (
                    "parts of \(name) are missing, and \(objection)",
                    "create the pool without that setting, or ask for one that is there"
                ))
        }
        for directory in Set(missing.map { parentDirectory(of: $0.path) }).sorted() {
            if !tree.exists(directory) {
                problems.append(
                    (
                        "\(directory): no such directory of parts",
                        "`sudo install -d -o \(user) -m 0700 \(shellQuoted(directory))`"
                    ))
            } else if faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0 {
                let errno = Errno.current
                let owner = "`sudo chown \(user) \(shellQuoted(directory))` if nobody else uses it, or "
                problems.append(
                    (
                        "\(directory): \(errno): \(Ownership.text(of: directory))",
                        (Self.isDenial(errno) ? owner : "") + "name another directory for the part"
                    ))
            }
        }
        guard let first = problems.first else {
            add(.parts, .ok, "\(parts.count - missing.count) can be opened, \(missing.count) can be made")
            return
        }
        add(
            .parts, isAsked ? .fail : .warn,
            problems.prefix(3).map(\.text).joined(separator: "; ")
                + (problems.count > 3 ? "; and \(problems.count - 3) more" : ""), first.remedy)
    }

    private mutating func checkSpace(isAsked: Bool) {
        let needs = missing.compactMap { part in
            part.configuredSize.map { (path: FilePath(part.path), size: $0) }
        }
        guard !needs.isEmpty else {
            add(.space, .ok, "no part has to be made")
            return
        }
        do throws(PoolError) {
            try FreeSpace.check(for: needs)
            add(.space, .ok, "enough for \(needs.count) part\(needs.count == 1 ? "" : "s") that CREATE would make")
        } catch {
            add(.space, isAsked ? .fail : .warn, "\(error)", "free some, or write smaller parts into the pool set file")
        }
    }

    /// Only of the pool set that was asked about.
    private mutating func checkPool() {
        guard let (name, pool) = examined.first else { return }
        let state = ReportedPool.State(pool).rawValue
        let faults = pool.findings.filter { $0.severity == .error }
        guard let fault = faults.first else {
            add(.pool, .ok, "\(name) is \(state)")
            return
        }
        add(
            .pool, .fail, "\(name) is \(state): \(fault.part.map { "\($0): " } ?? "")\(fault.message)",
            "`rpmemctl check \(shellQuoted(name))` says more\(pool.repairs == nil ? "" : ", and --repair mends it")")
    }

    // MARK: The medium

    /// Tries MAP_SYNC on each part, or on a file without a name where the part will be.
    private mutating func checkMapping() {
        var mappings = Set<String>()
        var slow: (text: String, remedy: String)?
        for (path, mapping) in parts.compactMap({ part in part.opened.map { (part.path, $0.mapping) } })
            + Set(missing.map { parentDirectory(of: $0.path) }).sorted().compactMap({ directory in
                Self.mapping(in: directory).map { (directory, $0) }
            })
        {
            switch mapping {
            case .deviceDAX: mappings.insert("Device DAX")
            case .mapSync: mappings.insert("MAP_SYNC")
            case .pageCache:
                mappings.insert("the page cache, made durable by msync")
                if let status = tree.status(path), let region = MemoryRegionName(of: status) {
                    slow = (
                        "\(path) is on persistent memory (\(region.name)), but takes no MAP_SYNC",
                        Self.daxMount(of: status.st_dev, tree.text("/proc/thread-self/mountinfo") ?? "")
                    )
                }
            }
        }
        guard !mappings.isEmpty else {
            add(.mapSync, .skip, "no place of a part could be tried")
            return
        }
        isPersistentMemory = !mappings.contains { $0.hasPrefix("the page cache") }
        let text = "parts are mapped through \(mappings.sorted().joined(separator: " and "))"
        if let slow {
            add(.mapSync, .warn, "\(text): \(slow.text)", slow.remedy)
        } else {
            add(.mapSync, .ok, text)
        }
    }

    /// The commands that mount a file system with DAX.
    ///
    /// - Parameter mounts: As proc_pid_mountinfo(5) has them.
    static func daxMount(of device: dev_t, _ mounts: String) -> String {
        // The third field is the device, the fifth the mount point, the second behind `-` the source.
        let mounts = mounts.split(separator: "\n").map { $0.split(separator: " ") }
        let number = "\(rpmem_major(UInt64(device))):\(rpmem_minor(UInt64(device)))"
        guard let mount = mounts.last(where: { $0.count > 9 && $0[2] == number && $0[3] == "/" }),
            let dash = mount.firstIndex(of: "-"), dash + 2 < mount.count, !mount[4].contains("\\")
        else {
            return "mount the file system with DAX: `sudo umount` it, then `sudo mount -o dax` it (ext4(5), xfs(5))"
        }
        if mount[4] == "/" { return "write the mount option `dax` of / into /etc/fstab, then `sudo systemctl reboot`" }
        let place = shellQuoted(String(mount[4]))
        return "mount the file system with DAX: `sudo umount \(place) && sudo mount -o dax "
            + "\(shellQuoted(String(mount[dash + 2]))) \(place)`, and write the option into /etc/fstab"
    }

    /// nil where no file can be made.
    private static func mapping(in directory: String) -> PartMapping? {
        // O_TMPFILE: the file has no name, and is gone when it is closed.
        guard let file = try? Descriptor.open(directory, O_RDWR | rpmem_o_tmpfile, mode: 0o600),
            ftruncate(file.number, 4096) == 0
        else { return nil }
        return PartMapping(file: file.number)
    }

    private mutating func checkBadBlocks(isAsked: Bool) {
        var bad: [String] = []
        for part in parts {
            for block in part.opened?.badBlocks ?? [] { bad.append("\(part.path): \(block)") }
        }
        let regions = tree.entries("/sys/bus/nd/devices").filter { $0.hasPrefix("region") }
        let badRegions = regions.filter { tree.text("/sys/bus/nd/devices/\($0)/badblocks")?.isEmpty == false }
        let remedy =
            "clear them with `ndctl clear-errors`, or `pmempool sync --bad-blocks` on the initiator, which restores what was there"
        if !bad.isEmpty {
            add(.badBlocks, .fail, bad.prefix(3).joined(separator: "; "), remedy)
        } else if !badRegions.isEmpty {
            add(.badBlocks, .warn, "\(badRegions.joined(separator: ", ")) has bad blocks", remedy)
        } else if regions.isEmpty && !isAsked {
            add(.badBlocks, .skip, "no persistent memory")
        } else {
            add(.badBlocks, .ok, "none known")
        }
    }
}
