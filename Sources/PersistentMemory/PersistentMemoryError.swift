import CPmem
import SystemPackage
import SystemSupport

/// Why a call of the kernel or of a persistent memory library failed.
package enum PersistentMemoryError: Error, Equatable, CustomStringConvertible {
    /// A system call failed.
    case system(SystemCallError)
    /// A call of a library failed. `reason` is the library's message.
    case library(call: String, subject: String, reason: String, errno: Errno)
    /// A character device that the dax subsystem does not know.
    case notDeviceDAX(path: String)
    /// A part does not start at a multiple of its device's alignment in the pool's contiguous range.
    case misaligned(path: String, offset: Int, alignment: Int)
    /// The region of a Device DAX has bad blocks, and this process may not read whether they are in the device.
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

    /// The error of a call of libpmem2 that returned `result`, which is negative.
    static func pmem2(_ call: String, on subject: String, _ result: Int32) -> PersistentMemoryError {
        let reason = String(cString: pmem2_errormsg())
        // Above -100000 the result is a negated errno. Debian's libpmem2 declares pmem2_err_to_errno but does not
        // export it.
        let errno: Errno = result > -100_000 ? Errno(rawValue: -result) : .invalidArgument
        return .library(call: call, subject: subject, reason: reason.isEmpty ? "\(errno)" : reason, errno: errno)
    }
}
