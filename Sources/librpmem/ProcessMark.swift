import CLinux
import Glibc
import SystemSupport

/// Tells a process from those that it forks: a word in a page that the kernel clears in children, so that a look at it
/// costs no system call.
enum ProcessMark {
    /// A number that no parent of this process has had. Pools are opened one at a time here, see ``PoolHandle``.
    nonisolated(unsafe) private static var lastNumber: UInt64 = 0
    nonisolated(unsafe) private static var page: UnsafeMutablePointer<UInt64>?

    /// The place of this process's number, which is not zero, and the number. Not from two threads at once.
    static func current() throws(SystemCallError) -> (place: UnsafePointer<UInt64>, number: UInt64) {
        let place: UnsafeMutablePointer<UInt64>
        if let page {
            place = page
        } else {
            let size = Int(getpagesize())
            guard let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                address != MAP_FAILED
            else { throw .last("mmap") }
            if madvise(address, size, MADV_WIPEONFORK) != 0 {
                let error = SystemCallError.last("madvise(MADV_WIPEONFORK)")
                munmap(address, size)
                throw error
            }
            place = address.bindMemory(to: UInt64.self, capacity: 1)
            page = place
        }
        if place.pointee == 0 {
            lastNumber += 1
            place.pointee = lastNumber
        }
        return (UnsafePointer(place), place.pointee)
    }
}
