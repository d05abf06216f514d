import Glibc
import SystemSupport

/// A disk with a write cache, whose flushes a test can make fail: a FUSE file for a loop device. What is written reaches the
/// image behind it with the next flush that succeeds.
package final class CachingDisk {
    private let directory = TemporaryDirectory("rpmem-cache")
    private let medium: String
    private var disk: FuseDisk
    private var control: String { directory.file("control") }

    /// The disk's file, of the size of the image.
    package var file: String { disk.file }

    /// The reason why this host cannot make one; nil when it can.
    package static func skipReason() -> String? { FuseDisk.skipReason() }

    /// - Parameter medium: The image that holds what was flushed.
    package init(over medium: String) throws {
        self.medium = medium
        disk = try FuseDisk("cache", image: medium, directory.file("control"))
    }

    /// Makes flushes fail from now on.
    ///
    /// - Parameter flushes: Flushes that still succeed before.
    package func failFlushes(after flushes: Int = 0) throws {
        let file = try Descriptor.open(control, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try writeAll(Array("\(flushes)\n".utf8), to: file.number)
    }

    /// A loss of power, after which the disk works: what no flush has taken is gone. No loop device may use the file.
    package func restart() throws {
        try disk.stop()
        unlink(control)
        disk = try FuseDisk("cache", image: medium, control)
    }
}
