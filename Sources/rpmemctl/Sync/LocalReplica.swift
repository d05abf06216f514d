import Glibc
import PoolSets
import ReplicaComparison
import RpmemProtocol

/// The replica of a pool on this machine: the first one of a pool set, a pool in a file, or a file without a header. It is locked
/// against programs as long as this value, and what was made of it, is there.
struct LocalReplica {
    /// As it was named.
    let path: String
    let pool: LockedPool
    /// Whether the file has no pool header.
    let isRaw: Bool
    /// Bytes of the pool: those of the smallest local replica, as libpmemobj takes it.
    let size: Int

    init(_ path: String, isRaw: Bool, writable: Bool) throws {
        guard let resolved = realpath(path, nil) else {
            throw ToolError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { free(resolved) }
        let whole = String(cString: resolved)
        guard let slash = whole.lastIndex(of: "/"), whole.index(after: slash) < whole.endIndex else {
            throw ToolError("\(path): is a directory: name a pool set file or a pool")
        }
        do throws(PoolError) {
            let store = try PoolStore(directory: slash == whole.startIndex ? "/" : String(whole[..<slash]))
            let name: PoolDescriptor
            do throws(PoolDescriptor.FormatError) {
                name = try PoolDescriptor(validating: String(whole[whole.index(after: slash)...]))
            } catch { throw .badName(descriptor: path, reason: "\(error)") }
            pool = try store.lock(descriptor: name, of: .initiator, writable: writable, isRaw: isRaw)
            try pool.checkReadable()
        } catch {
            throw ToolError("this machine: \(error)\(Self.advice(error, isRaw: isRaw))")
        }
        for part in pool.partsWithEarlierErrors {
            complain("\(earlierErrorRemark(part)); is this replica the right one?")
        }
        self.path = path
        self.isRaw = isRaw
        size = try Self.size(of: pool)
    }

    private static func advice(_ error: PoolError, isRaw: Bool) -> String {
        switch error {
        case .busy: ": end the program that has the pool open"
        case .badConfiguration(_, let reason) where isRaw && reason.contains("has a pool header"): ": leave --raw out"
        case .badConfiguration(_, let reason) where !isRaw && reason.contains("header"):
            "; for the file of a program that keeps no pool header, add --raw"
        default: ""
        }
    }

    private static func size(of pool: LockedPool) throws -> Int {
        var size = pool.size
        for case .local(let line, let parts) in pool.otherReplicas {
            var sizes: [UInt64] = []
            for part in parts {
                guard case .bytes(let bytes) = part else {
                    throw ToolError(
                        "\(pool.path):\(line): another local replica has a part of the size AUTO: write its size in bytes"
                    )
                }
                sizes.append(bytes)
            }
            guard let geometry = PoolGeometry(partSizes: sizes, options: pool.options) else {
                throw ToolError("\(pool.path):\(line): another local replica has no parts, or too small ones")
            }
            size = min(size, Int(geometry.usableSize))
        }
        return size
    }

    /// Whether the pool set has another replica on this machine.
    var hasOtherLocalReplicas: Bool {
        pool.otherReplicas.contains { if case .local = $0 { true } else { false } }
    }
}
