import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// Why a call failed: `description` is a message for people, ``errno`` the number that `librpmem` sets.
public enum InitiatorError: Error, Sendable {
    /// An argument makes no sense; nothing was done.
    case invalidArgument(String)
    /// No enabled provider reaches the target.
    case noProvider(host: String, tried: [String])
    /// ssh could not be started.
    case sshNotStarted(SystemCallError)
    /// ssh, or the target's command, ended. `during` tells when.
    case sessionEnded(target: String, during: String, ending: SessionEnding)
    /// The target's command cannot serve; the errno is its initial status.
    case targetNotReady(target: String, errno: Int32, targetLines: [String])
    /// The target sent something that the protocol does not allow.
    case protocolError(target: String, reason: String, targetLines: [String])
    /// The target answered a request with a status other than success.
    case refused(request: String, Status, targetLines: [String])
    /// The connection of an open pool is gone. A call that it interrupted may or may not have taken effect.
    case lost(target: String, reason: String, targetLines: [String])
    /// The session was lost, and could not be resumed.
    indirect case notResumed(loss: InitiatorError, reason: String)
    /// The target ended the session before its first lane was connected.
    case noLaneConnected(target: String, reason: String, targetLines: [String])
    /// The target did not answer in time. The pool, if it was open, is unusable from then on.
    case timedOut(waitingFor: String, after: Duration)
    /// libfabric refused a step.
    case fabric(step: String, FabricError)
    /// The provider cannot register the pool's memory, which has so many bytes.
    case notRegistered(FabricError, bytes: Int)
    /// The target's provider reported that an operation failed, though the connection stands.
    case operationFailed(target: String, FabricError, targetLines: [String])
    /// Another thread uses the lane: each belongs to one thread at a time.
    case laneInUse(Int)
    /// The pool is closed.
    case closed
    /// This process was forked from the one that opened the pool. The C library alone checks for that.
    case openedByParentProcess
    /// The target's command could not remove the pool; the errno is its exit status.
    case notRemoved(poolSet: String, errno: Int32, targetLines: [String])
    /// A system call of this process failed.
    case system(SystemCallError)

    /// The errno that `librpmem` sets.
    public var errno: Int32 {
        switch self {
        case .invalidArgument: EINVAL
        case .noProvider: ENOMEDIUM
        case .sshNotStarted(let error), .system(let error): error.errno.rawValue
        case .sessionEnded, .lost: ECONNRESET
        case .notResumed(let loss, _): loss.errno
        case .noLaneConnected: ECONNABORTED
        case .targetNotReady(_, let errno, _), .notRemoved(_, let errno, _): errno
        case .protocolError: EPROTO
        case .refused(_, let status, _): status.initiatorErrno
        case .timedOut: ETIMEDOUT
        // Codes from 256 on are libfabric's own.
        case .fabric(_, let error), .notRegistered(let error, _): error.code > 0 && error.code < 256 ? error.code : EIO
        case .operationFailed: EREMOTEIO
        case .laneInUse: EBUSY
        case .closed, .openedByParentProcess: EBADF
        }
    }

    /// The last lines that the target's command, or ssh, wrote to standard error.
    public var targetLines: [String] {
        switch self {
        case .sessionEnded(_, _, let ending): ending.targetLines
        case .targetNotReady(_, _, let lines), .protocolError(_, _, let lines), .refused(_, _, let lines),
            .lost(_, _, let lines), .operationFailed(_, _, let lines), .noLaneConnected(_, _, let lines),
            .notRemoved(_, _, let lines):
            lines
        default: []
        }
    }
}

/// How ssh ended.
public struct SessionEnding: Hashable, Sendable {
    public enum Exit: Hashable, Sendable {
        /// With this status; 255 is ssh's own, the others are the command's.
        case status(Int32)
        case signal(Int32)
        /// The host collected the exit status first.
        case unknown
    }
    public let exit: Exit?
    public let targetLines: [String]
    /// What the end means, where more is known than ``exit`` tells, and what to do.
    var explanation: String?
}

extension InitiatorError: CustomStringConvertible {
    public var description: String {
        let lines = targetLines
        return lines.isEmpty ? reason : "\(reason); the target's standard error: \(lines.joined(separator: " / "))"
    }

    private var reason: String {
        switch self {
        case .invalidArgument(let reason): reason
        case .noProvider(let host, let tried): "no provider reaches \(host): \(tried.joined(separator: "; "))"
        case .sshNotStarted(let error): "\(error): is ssh installed, or RPMEM_SSH wrong?"
        case .sessionEnded(let target, let during, let ending):
            "\(target): the session ended \(during): \(ending.explanation ?? ending.reason)"
        case .targetNotReady(let target, let errno, _):
            "\(target): the target's command cannot serve a session: \(String(cString: strerror(errno)))"
        case .protocolError(let target, let reason, _): "\(target): \(reason)"
        case .refused(let request, let status, _): "\(request) refused: \(status.reason)"
        case .lost(let target, let reason, _): "\(target): connection lost: \(reason)"
        case .notResumed(let loss, let reason):
            "\(loss); the session is not resumed: \(reason)"
        case .noLaneConnected(let target, let reason, _): "\(target): no lane reached the target: \(reason)"
        case .timedOut(let what, let duration): "no \(what) within \(duration.seconds) s"
        case .fabric(let step, let error): "\(step): \(error)"
        case .notRegistered(let error, let bytes):
            error.code == ENOMEM
                ? "the pool's memory here cannot be pinned: \(error): \(LockedMemory.advice(for: bytes))"
                : "the pool's memory here cannot be registered: \(error)"
        case .operationFailed(let target, let error, _): "\(target): the target refused an operation: \(error)"
        case .laneInUse(let lane): "lane \(lane) is in use by another thread: use one lane per thread"
        case .closed: "the pool is closed"
        case .openedByParentProcess:
            "the pool belongs to the process that opened it, and this is a child of that process: open the pool in this process"
        case .notRemoved(let poolSet, let errno, let lines):
            lines.isEmpty
                ? "\(poolSet): not removed: the target's command ended with status \(errno) and gave no reason; of PMDK's rpmemd "
                    + "the status means \"\(String(cString: strerror(errno)))\", and its log on the target has the reason"
                : "\(poolSet): not removed: \(String(cString: strerror(errno)))"
        case .system(let error): "\(error)"
        }
    }
}

extension SessionEnding {
    var reason: String {
        switch exit {
        case .status(0): "ssh ended"
        case .status(255): "ssh or the target's command failed with status 255"
        case .status(127):
            unusableLibraryText
                ?? "the target's shell found no such command (is rpmemd in its PATH, or RPMEM_CMD wrong?)"
        case .status(126): "the target's command is not executable"
        case .status(let status): "the target's command ended with status \(status)"
        case .signal(let number): "ssh, or the target's command, was killed by signal \(number)"
        case .unknown, nil: "the connection ended"
        }
    }
}

extension SessionEnding {
    /// Debian's packages of the libraries that rpmemd is linked to.
    static let packages = [
        "libpmem.so.1": "libpmem1", "libpmem2.so.1": "libpmem2", "libndctl.so.6": "libndctl6",
        "libdaxctl.so.1": "libdaxctl1", "libsystemd.so.0": "libsystemd0", "libfabric.so.1": "libfabric1",
        "libibverbs.so.1": "libibverbs1",
    ]

    /// What the target's dynamic linker complains of, with the remedy; nil when it does not.
    package var unusableLibraryText: String? {
        guard let (fault, package) = unusableLibrary else { return nil }
        let problem = fault.isMissing ? "has no library \(fault.file)" : "cannot use the library \(fault.file)"
        return "rpmemd does not start, since the target \(problem): \(fault.remedy(package: package)) there"
    }

    /// The library that the target's dynamic linker cannot use, and its Debian package where that is known; nil when it does not
    /// complain.
    package var unusableLibrary: (fault: LibraryFault, package: String?)? {
        let mark = "error while loading shared libraries: "
        for line in targetLines {
            guard let start = line.firstRange(of: mark)?.upperBound else { continue }
            let fault = LibraryFault(String(line[start...]))
            let name = fault.file.split(separator: "/").last ?? ""
            return (fault, Self.packages[String(name)])
        }
        return nil
    }
}

extension Duration {
    /// In seconds, with as many digits as it takes.
    fileprivate var seconds: String {
        let milliseconds = nanoseconds / 1_000_000
        return milliseconds % 1000 == 0
            ? "\(milliseconds / 1000)" : "\(Double(milliseconds) / 1000)"
    }

    /// In nanoseconds, from 0 to 2^62.
    var nanoseconds: UInt64 {
        if self <= .zero { return 0 }
        let (seconds, attoseconds) = components
        let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let limit = UInt64(1) << 62
        return overflow || product > limit ? limit : product + UInt64(attoseconds / 1_000_000_000)
    }
}

extension Deadline {
    /// From now on; zero once it has passed.
    var remaining: Duration {
        let now = monotonicNanoseconds()
        return nanoseconds > now ? .nanoseconds(Int64(clamping: nanoseconds - now)) : .zero
    }

    package static func after(_ duration: Duration) -> Deadline {
        Deadline(nanoseconds: monotonicNanoseconds() &+ duration.nanoseconds)
    }
}
