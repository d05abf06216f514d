import Glibc
import PoolSets
import ReplicaComparison
import RpmemProtocol
import SystemSupport
import TargetReports

/// `rpmemd --digest SET`: digests a pool on all processors (`docs/protocol.md`, section 11 (Digests of a pool)). The pool is locked as
/// by a session, and a pool in use is refused. Nothing is written to it. From then on the process is confined (``Confinement``).
///
/// - Parameter length: Bytes from the pool's start; nil for all.
/// - Returns: The exit status: 0 when all digests were sent; otherwise an errno.
func answerDigest(_ set: String, length: UInt64?, _ overrides: CommandLineOverrides) -> Int32 {
    let complaints = StandardError()
    func fail(_ reason: String, _ errno: Int32) -> Int32 {
        complaints.write(reason: "--\(CommandOption.digest.name): \(reason)")
        return errno
    }
    let settings: Settings
    do throws(ConfigurationError) { settings = try Settings.load(overrides) } catch {
        for problem in error.problems { complaints.write(reason: "configuration: \(problem)") }
        return error.errno.rawValue
    }
    if settings.confinement.value { Confinement.prepare() }
    let name: PoolDescriptor
    do throws(PoolDescriptor.FormatError) { name = try PoolDescriptor(validating: set) } catch {
        return fail("\(error)", EBADF)
    }
    let log = SessionLog.open(settings, peer: SessionEnvironment.current(input: STDIN_FILENO).peer.map { "\($0)" })
    if let objection = settings.objection(to: .inspect, name) {
        log.error("digests of \(name): \(objection)")
        return EACCES
    }
    // It keeps sessions from the pool for a while.
    log.notice("DIGEST request: user \(SessionEnvironment.user), pool set \(name)")
    do throws(ComparisonError) {
        try DigestAnswer(name: name, length: length, settings: settings, log: log).run()
        return 0
    } catch {
        log.error("digests of \(name): \(error)")
        return switch error {
        case .pool(let cause): cause.errno.rawValue
        case .system(let cause): cause.errno.rawValue
        case .noKey: EINVAL
        case .digests, .stream: ENOSYS
        }
    }
}

private struct DigestAnswer {
    let name: PoolDescriptor
    let length: UInt64?
    let settings: Settings
    let log: SessionLog

    func run() throws(ComparisonError) {
        let library: DigestLibrary
        do throws(DigestLibrary.Unavailable) { library = try DigestLibrary.shared() } catch { throw .digests(error) }
        let pool: LockedPool
        do throws(PoolError) {
            let store = try PoolStore(directory: settings.poolsetDirectory.value)
            pool = try store.lock(descriptor: name, writable: false)
            try pool.checkReadable()
            if let length { try pool.check(requestedSize: length) }
        } catch { throw .pool(error) }
        // The kernel tells of them once, so no session will hear of them.
        for path in pool.partsWithEarlierErrors { log.warning(earlierErrorRemark(path)) }
        let bytes = ComparedBytes(size: length.map(Int.init) ?? pool.size, attributes: pool.attributes)
        let head = DigestHead(
            rpmemd: projectVersion, frames: DigestFrame.version, size: UInt64(bytes.end),
            blockSize: UInt64(bytes.blockSize), first: UInt64(bytes.first),
            ignored: bytes.ignored.map { [UInt64($0.lowerBound), UInt64($0.upperBound)] },
            attributes: pool.attributes.digits)
        let patience = UInt64(settings.peerTimeout.value) * 1000
        let watchdog: Watchdog
        do throws(SystemCallError) { watchdog = try makeWatchdog(milliseconds: patience) } catch {
            throw .system(error)
        }
        // What comes from the peer comes after this.
        Confinement.begin(settings, log)?.restrictDigest(watchdog)
        let output = BoundedOutput(patience: patience)
        try output.write(Array((jsonText(head) + "\n").utf8))
        let digester = try Self.begin(bytes, library, try readKey(until: .after(milliseconds: patience)), pool)
        while !digester.isFinished {
            if let batch = try digester.take() {
                try output.write(DigestFrame.encode(batch))
            } else {
                try output.wait(with: digester.descriptor)
            }
        }
        try output.write(DigestFrame.end(blockCount: bytes.blockCount))
        withExtendedLifetime(watchdog) {}
    }

    /// It tells of forbidden system calls. Reads of a pool that hang are their reader's to end.
    private func makeWatchdog(milliseconds: UInt64) throws(SystemCallError) -> Watchdog {
        BusErrors.install()
        ForbiddenCalls.install()
        return try Watchdog(
            milliseconds: milliseconds, endSignals: .init(input: -1, signals: -1), onExpiry: {},
            onFault: { [name, log] fault in
                log.error("digests of \(name): \(fault.describe())")
                _exit(1)
            })
    }

    private static func begin(
        _ bytes: ComparedBytes, _ library: DigestLibrary, _ key: DigestKey, _ pool: LockedPool
    ) throws(ComparisonError) -> BlockDigester {
        do throws(SystemCallError) {
            return try BlockDigester(bytes, library, key) { buffer, offset throws(PoolError) in
                try pool.read(into: buffer, at: offset)
            }
        } catch { throw .system(error) }
    }
}

/// Reads the line that a comparison begins with.
private func readKey(until deadline: Deadline) throws(ComparisonError) -> DigestKey {
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 256)
    do throws(SystemCallError) {
        while !line.contains(UInt8(ascii: "\n")), line.count <= chunk.count {
            guard try PollSet.wait(for: STDIN_FILENO, until: deadline) else {
                throw SystemCallError("read", on: "standard input", errno: .timedOut)
            }
            let count = try retryingInterrupts("read", on: "standard input") { read(STDIN_FILENO, &chunk, chunk.count) }
            if count == 0 { break }
            line += chunk[..<count]
        }
    } catch { throw .system(error) }
    guard let key = DigestKey(digits: String(decoding: line.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)) else {
        throw .noKey
    }
    return key
}

/// Standard output whose reader may stop reading, or leave.
private struct BoundedOutput {
    /// How long the reader may take for the bytes of one call, in milliseconds.
    let patience: UInt64

    func write(_ bytes: [UInt8]) throws(ComparisonError) {
        do throws(SystemCallError) {
            guard
                try writeAll(
                    bytes, to: STDOUT_FILENO, on: "standard output", until: .after(milliseconds: patience))
            else { throw SystemCallError("write", on: "standard output", errno: .timedOut) }
        } catch { throw .system(error) }
    }

    /// Waits until `descriptor` is readable.
    ///
    /// - Throws: EPIPE when the reader has left: the threads may be in the kernel, waiting for storage.
    func wait(with descriptor: Int32) throws(ComparisonError) {
        do throws(SystemCallError) {
            var set = PollSet()
            set.add(descriptor)
            let output = set.add(STDOUT_FILENO, for: .hangUp)
            try set.wait(until: nil)
            if set.isHungUp(output) { throw SystemCallError("poll", on: "standard output", errno: .brokenPipe) }
        } catch { throw .system(error) }
    }
}
