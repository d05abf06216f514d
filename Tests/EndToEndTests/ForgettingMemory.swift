import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport

/// What daemons do for durability, in the order of `enum event` in `Tests/Forgetting/forgetting.h`.
enum ForgettingEvent: Int, CaseIterable, Sendable {
    case flush, line, drain, msync, write, fsync, deep
}

/// What happens to one event, with the numbers of `enum fault`.
enum ForgettingFault: UInt64, Sendable {
    case drop = 1
    case killBefore, killAfter, fail
}

/// The memory of a target whose daemons run with the stand-in for libpmem (`docs/proofs.md`): the parts are as the kernel has
/// them, and the shadows of the parts are what a loss of power would leave.
final class ForgettingMemory {
    enum Kind: String, CaseIterable, Sendable {
        /// Files are persistent memory on a platform without eADR.
        case persistent
        /// Ordinary files.
        case files
    }

    /// How far bytes have come.
    enum Level: String, CaseIterable {
        /// The persistence domain.
        case domain
        case medium
    }

    let kind: Kind
    /// The file that stands for the Device DAX of ``FakeDeviceDAX``; nil when parts are files.
    let device: String?
    let reach: Reach
    /// Of the shadows.
    private let directory: String
    private let library: String
    private let control: UnsafeMutablePointer<Atomic<UInt64>>

    // Words of `struct control`.
    private static let (eventWord, numberWord, faultWord, hitsWord) = (8, 9, 10, 11)

    /// Why the stand-in cannot be used here; nil when it can.
    static let skipReason: String? = {
        if Sanitizer.isOn { return "a sanitizer replaces the same functions as the stand-in" }
        if access("/usr/bin/gcc", X_OK) != 0 { return "apt-get install gcc" }
        return access("/usr/include/libpmem.h", F_OK) == 0 ? nil : "apt-get install libpmem-dev"
    }()

    /// - Parameter device: The name of the part that is behind the Device DAX; nil when there is none.
    init(_ kind: Kind, device: String? = nil) throws {
        self.kind = kind
        // No disk is needed to forget, and none is waited for.
        // The provider's own flush is instructions inside libfabric, which this stand-in cannot see.
        reach = try Reach(.script, "commit-writes = no", in: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        directory = "\(reach.target.path)/shadows"
        mkdir(directory, 0o755)
        self.device = device.map { [reach] in "\(reach.target.parts)/\($0)" }
        library = try Self.builtLibrary.get()
        let page = try Descriptor.open("\(directory)/control", O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(page.number, 4096) == 0,
            let start = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page.number, 0), start != MAP_FAILED
        else { throw SystemCallError.last("mmap") }
        control = start.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    deinit { munmap(control, 4096) }

    /// Built once in each process of tests, which removes it when it exits.
    private static let builtLibrary = Result {
        let library = "\(buildDirectory)/libforgetting.so"
        mkdir(buildDirectory, 0o755)
        atexit { TemporaryDirectory.remove(ForgettingMemory.buildDirectory) }
        let sources = ["shadow.c", "system.c", "libpmem.c"].map {
            "\(Binaries.packageDirectory)/Tests/Forgetting/\($0)"
        }
        let compiler = try ChildProcess(
            ["/usr/bin/gcc", "-std=c17", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread"]
                + sources + ["-o", library], environment: ["PATH": "/usr/bin:/bin"])
        guard try compiler.wait() == .exited(0) else { throw TestSupportError("gcc: \(compiler.errorText)") }
        return library
    }

    private static let buildDirectory = "/tmp/rpmem-forgetting.\(getpid())"

    /// For daemons, as `NAME=VALUE`.
    var environment: [String] {
        [
            "LD_PRELOAD=\(library)", "FORGETTING_SHADOWS=\(directory)", "FORGETTING_PARTS=\(reach.target.parts)",
            "FORGETTING_MEMORY=\(kind.rawValue)",
        ] + (device.map { ["FORGETTING_DEVICE=\($0)"] } ?? [])
    }

    /// Functions of libpmem that the daemon calls, and those that the stand-in has.
    func symbols() throws -> (called: Set<String>, defined: Set<String>) {
        func names(_ option: String, _ file: String) throws -> Set<String> {
            let process = try ChildProcess(["/usr/bin/nm", "-D", option, file], environment: ["PATH": "/usr/bin:/bin"])
            let text = String(decoding: try process.receive(1 << 24), as: UTF8.self)
            return Set(
                text.split(whereSeparator: \.isNewline).compactMap { line in
                    line.split(separator: " ").last?.split(separator: "@").first.map(String.init)
                }.filter { $0.hasPrefix("pmem_") })
        }
        return (try names("--undefined-only", Binaries.rpmemd), try names("--defined-only", library))
    }

    // MARK: Events

    /// Events of all daemons so far.
    func count(_ event: ForgettingEvent) -> UInt64 { control[event.rawValue].load(ordering: .acquiring) }

    var counts: [UInt64] { ForgettingEvent.allCases.map(count) }

    /// The events since ``counts`` was `before`, each with its number from then on, counted from 1.
    func events(since before: [UInt64]) -> [(event: ForgettingEvent, number: UInt64)] {
        zip(ForgettingEvent.allCases, zip(before, counts)).flatMap { event, counts in
            (0..<counts.1 - counts.0).map { (event, $0 + 1) }
        }
    }

    /// Faults that have happened.
    var hits: UInt64 { control[Self.hitsWord].load(ordering: .acquiring) }

    /// Has the fault hit one event: the `next`th from now on, counted from 1.
    func arm(_ fault: ForgettingFault, _ event: ForgettingEvent, next: UInt64) {
        disarm()
        control[Self.eventWord].store(UInt64(event.rawValue), ordering: .releasing)
        control[Self.faultWord].store(fault.rawValue, ordering: .releasing)
        control[Self.numberWord].store(count(event) + next, ordering: .releasing)
    }

    func disarm() { control[Self.numberWord].store(0, ordering: .releasing) }

    // MARK: Shadows

    /// The path of a part's shadow; nil where there is no part.
    private func shadow(of path: String, _ level: Level) -> String? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return "\(directory)/\(status.st_ino).\(level.rawValue)"
    }

    /// Bytes of a part that would survive; nil when nothing of it would.
    func stored(_ path: String, at offset: Int, count: Int, in level: Level = .domain) throws -> [UInt8]? {
        guard let shadow = shadow(of: path, level), let file = try? Descriptor.open(shadow, O_RDONLY) else {
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: count)
        return pread(file.number, &bytes, count, off_t(offset)) == count ? bytes : nil
    }

    /// The first byte of a range of the pool that would not survive with its expected value; nil when all would.
    func firstLoss(of range: Range<Int>, _ original: Original, in level: Level) throws -> Int? {
        for piece in original.plan.pieces {
            let part = range.clamped(to: piece.poolOffset..<piece.poolOffset + piece.length)
            if part.isEmpty { continue }
            let offset = part.lowerBound - piece.poolOffset + piece.fileOffset
            guard let found = try stored(piece.path, at: offset, count: part.count, in: level) else {
                return part.lowerBound
            }
            let difference = found.withUnsafeBytes {
                firstDifference($0, UnsafeRawBufferPointer(original.expected[part]))
            }
            if let difference { return part.lowerBound + difference }
        }
        return nil
    }

    /// The header pages that would not survive as the daemon wrote them, or have other attributes or another mark than
    /// they must. Empty when all is well.
    func headerLosses(_ plan: PoolPlan, major: UInt32, isOpen: Bool) throws -> [String] {
        var losses: [String] = []
        for (index, piece) in plan.pieces.enumerated() where piece.hasHeader {
            // A header on a Device DAX stays in the persistence domain.
            guard let found = try stored(piece.path, at: 0, count: 4096, in: device == nil ? .medium : .domain),
                let domain = try stored(piece.path, at: 0, count: 4096, in: .domain)
            else {
                losses.append("part \(index) has no header")
                continue
            }
            let file = try Descriptor.open(piece.path, O_RDONLY)
            var written = [UInt8](repeating: 0, count: 4096)
            guard pread(file.number, &written, 4096, 0) == 4096 else { throw SystemCallError.last("pread") }
            if found != written || domain != written { losses.append("part \(index): the header is not durable") }
            // docs/media.md, section 4 (Pool header): the major version, and the mark of the shutdown state.
            let version = found[8..<12].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            if version != major { losses.append("part \(index): major version \(version), not \(major)") }
            let isMarked = found[4024 + 16] != 0
            if index == 0, isMarked != isOpen {
                losses.append("the mark says that the pool is \(isMarked ? "open" : "closed")")
            }
        }
        return losses
    }

    /// What a loss of power leaves: the parts get the contents of their shadows.
    func losePower(_ plan: PoolPlan) throws {
        for piece in plan.pieces {
            guard let domain = shadow(of: piece.path, .domain), access(domain, F_OK) == 0,
                let medium = shadow(of: piece.path, .medium)
            else { continue }
            let bytes = try readFile(try Descriptor.open(domain, O_RDONLY), limit: 1 << 30)
            for path in [piece.path, medium] {
                let file = try Descriptor.open(path, O_WRONLY)
                guard pwrite(file.number, bytes, bytes.count, 0) == bytes.count else {
                    throw SystemCallError.last("pwrite", on: path)
                }
            }
        }
    }
}
