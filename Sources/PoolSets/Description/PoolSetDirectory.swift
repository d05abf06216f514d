import CLinux
import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The directory below which descriptors are looked up, open with O_PATH.
///
/// The kernel confines each lookup to the directory (`openat2` with RESOLVE_BENEATH): no `..` and no symbolic link
/// leads out of it.
final class PoolSetDirectory: Sendable {
    /// As configured.
    let path: String
    let descriptor: Descriptor

    /// Opens the directory. This process needs the permission to search it, not the permission to read it.
    ///
    /// - Parameter path: Absolute.
    init(_ path: String) throws(PoolError) {
        do throws(SystemCallError) {
            descriptor = try Descriptor.open(path, rpmem_o_path | O_DIRECTORY)
            // open(2) with O_PATH needs permissions above the directory only. A lookup needs the directory's own.
            _ = try Self.open([UInt8(ascii: ".")], below: descriptor.number, flags: rpmem_o_path, shown: path)
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory, .notDirectory:
                throw .notFound(what: .poolSetDirectory, path: path, set: nil)
            default: throw .from(error, path: path)
            }
        }
        self.path = path
    }

    /// Flags of open(2) to look a file up, without opening it.
    static let lookupOnly = rpmem_o_path

    /// The whole path of what a descriptor names, for messages.
    func path(of descriptor: PoolDescriptor) -> String { "\(path)/\(Self.text(descriptor))" }

    /// Opens what a descriptor names.
    ///
    /// - Parameter flags: Of open(2).
    func open(_ descriptor: PoolDescriptor, flags: Int32) throws(SystemCallError) -> Descriptor {
        try Self.open(
            descriptor.bytes, below: self.descriptor.number, flags: flags, shown: path(of: descriptor))
    }

    /// The error of a failed ``open(_:flags:)``.
    func lookupError(_ error: SystemCallError, _ descriptor: PoolDescriptor) -> PoolError {
        let shown = Self.text(descriptor)
        let path = path(of: descriptor)
        switch error.errno {
        case .improperLink:
            return .badName(
                descriptor: shown,
                reason: "leads out of the pool set directory \(self.path): put the pool set file itself there")
        case .fileNameTooLong:
            return .badName(descriptor: shown, reason: "has a component that is longer than a file name can be")
        case .tooManySymbolicLinkLevels:
            return .badName(descriptor: shown, reason: "leads through too many or forbidden symbolic links")
        case .noSuchFileOrDirectory, .notDirectory: return .notFound(what: .poolSet, path: path, set: nil)
        case .noSuchAddressOrDevice, .operationNotSupportedByDevice:
            return .badConfiguration(
                place: path, reason: "is neither a pool set file nor a plain file or Device DAX")
        default: return .from(error, path: path)
        }
    }

    /// Removes the name of a pool set file, durably.
    ///
    /// - Parameter expected: The file that was read. Another file under the name is left alone; nil removes any.
    func unlink(_ descriptor: PoolDescriptor, expected: FileIdentity?) throws(PoolError) {
        let shown = path(of: descriptor)
        let bytes = descriptor.bytes
        let slash = bytes.lastIndex(of: UInt8(ascii: "/"))
        let parentName = slash.map { Array(bytes[..<$0]) } ?? [UInt8(ascii: ".")]
        let name = (slash.map { bytes[($0 + 1)...] } ?? bytes[...]).nulTerminated
        do throws(SystemCallError) {
            let parent = try Self.open(
                parentName, below: self.descriptor.number, flags: rpmem_o_path | O_DIRECTORY, shown: shown)
            if let expected {
                var status = stat()
                if fstatat(parent.number, name, &status, 0) != 0 || FileIdentity(status) != expected { return }
            }
            let file = Descriptor(
                owning: try retryingInterrupts("open", on: shown) {
                    openat(parent.number, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
                })
            if unlinkat(parent.number, name, 0) != 0 { throw .last("unlink", on: shown) }
            try synchronizeNames(in: parent.number, file: file.number, shown: shown)
        } catch {
            throw .from(error, path: shown)
        }
    }

    /// - Parameter name: Relative, without NUL.
    private static func open(
        _ name: [UInt8], below directory: Int32, flags: Int32, shown: String
    ) throws(SystemCallError) -> Descriptor {
        let terminated = name.nulTerminated
        // With EAGAIN the kernel says that a rename on the way kept it from confining the lookup. The number of
        // attempts is bounded, because somebody may rename in a loop.
        var attempts = 0
        while true {
            let number = rpmem_openat2(
                directory, terminated, UInt64(UInt32(bitPattern: flags | O_CLOEXEC)), 0,
                rpmem_resolve_beneath | rpmem_resolve_no_magiclinks)
            if number >= 0 { return Descriptor(owning: number) }
            let reason = SystemCallError.last("openat2", on: shown)
            attempts += 1
            guard reason.errno == .interrupted || reason.errno == .resourceTemporarilyUnavailable, attempts < 64 else {
                throw reason
            }
        }
    }

    private static func text(_ descriptor: PoolDescriptor) -> String {
        String(decoding: descriptor.bytes, as: UTF8.self)
    }
}
