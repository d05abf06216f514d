import CLinux
import Glibc
import SystemPackage
import SystemSupport

/// Opens a path that must not lead out of `directory`; the kernel sees to that, symbolic links included.
///
/// - Parameter name: Without NUL, relative.
func openBeneath(
    _ directory: Int32, _ name: [UInt8], flags: Int32, shown: String
) throws(SystemCallError) -> Descriptor {
    let terminated = name.map { CChar(bitPattern: $0) } + [0]
    // EAGAIN: something on the way was renamed meanwhile, so the kernel could not tell; bounded, as a rename loop is not.
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

/// Removes a file below `directory` if it still is `expected` (any, when nil).
func unlinkBeneath(
    _ directory: Int32, _ name: [UInt8], shown: String, expected: PartFile.Identity?
) throws(PoolError) {
    let parentName = name.lastIndex(of: UInt8(ascii: "/")).map { Array(name[..<$0]) } ?? [UInt8(ascii: ".")]
    let lastName = name.lastIndex(of: UInt8(ascii: "/")).map { Array(name[($0 + 1)...]) } ?? name
    let last = lastName.map { CChar(bitPattern: $0) } + [0]
    do throws(SystemCallError) {
        let parent = try openBeneath(directory, parentName, flags: rpmem_o_path | O_DIRECTORY, shown: shown)
        if let expected {
            var status = stat()
            if fstatat(parent.number, last, &status, 0) != 0 || PartFile.Identity(status) != expected { return }
        }
        if unlinkat(parent.number, last, 0) != 0 { throw .last("unlink", on: shown) }
    } catch {
        throw .from(error, path: shown)
    }
}
