import CPmem
import SystemPackage
import SystemSupport

/// What the kernel or one of the persistent memory libraries refused.
package enum PersistentMemoryError: Error, Equatable, CustomStringConvertible {
    /// The kernel refused a call.
    case system(SystemCallError)
    /// A library call failed: which, on what, the library's own words, and the errno it stands for.
    case library(call: String, subject: String, reason: String, errno: Errno)
    /// A character device that the dax subsystem does not know.
    case notDeviceDAX(path: String)
    /// A part does not start at a multiple of its device's alignment in the pool's contiguous range.
    case misaligned(path: String, offset: Int, alignment: Int)
    /// The region behind a Device DAX has bad blocks, and this process may not know whether they are the device's.
    case badBlocksSomewhere(path: String, region: String)

    /// The errno that stands for this failure.
    package var errno: Errno {
        switch self {
        case .system(let error): error.errno
        case .library(_, _, _, let errno): errno
        case .notDeviceDAX: .noSuchAddressOrDevice
        case .misaligned: .invalidArgument
        case .badBlocksSomewhere: .ioError
        }
    }

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .library(let call, let subject, let reason, _): "\(subject): \(call): \(reason)"
        case .notDeviceDAX(let path):
            "\(path): not a Device DAX: a part must be a regular file or a device that `daxctl list` shows"
        case .misaligned(let path, let offset, let alignment):
            "\(path): would be mapped at pool offset \(offset), which is not a multiple of the device's alignment "
                + "\(alignment): use devices whose sizes are multiples of it"
        case .badBlocksSomewhere(let path, let region):
            "\(path): its region \(region) has bad blocks, and this process may not read where in it the device lies: "
                + "`ndctl list --regions --media-errors` shows them, `ndctl clear-errors` clears them; the udev rule "
                + "60-rpmem.rules lets group rpmem read `resource`"
        }
    }

    /// What libpmem2 says about `result`, a negative answer of `call`.
    static func pmem2(_ call: String, on subject: String, _ result: Int32) -> PersistentMemoryError {
        let reason = String(cString: pmem2_errormsg())
        // Its own function for this is declared but not exported by Debian's library. Down to -100000 it is an errno.
        let errno: Errno = result > -100_000 ? Errno(rawValue: -result) : .invalidArgument
        return .library(call: call, subject: subject, reason: reason.isEmpty ? "\(errno)" : reason, errno: errno)
    }
}
