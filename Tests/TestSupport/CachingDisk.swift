import Glibc
import SystemSupport

/// A disk with a write cache, whose flushes a test can make fail: a FUSE file for a loop device, served by
/// `Programs/caching-disk.c`. What is written reaches the image behind it with the next flush that succeeds.
package final class CachingDisk {
    private let directory = TemporaryDirectory("rpmem-cache")
    private let medium: String
    private var server: ChildProcess?
    private var control: String { directory.file("control") }
    private var mounted: String { directory.file("mounted") }

    /// The disk's file, of the size of the image.
    package var file: String { "\(mounted)/disk.img" }

    /// The reason why this host cannot make one; nil when it can.
    package static func skipReason() -> String? {
        if geteuid() != 0 { return "needs root to mount" }
        if access("/dev/fuse", R_OK | W_OK) != 0 { return "no /dev/fuse" }
        return access("/usr/include/fuse3/fuse.h", F_OK) == 0 ? nil : "apt-get install libfuse3-dev gcc"
    }

    /// - Parameter medium: The image that holds what was flushed.
    package init(over medium: String) throws {
        self.medium = medium
        mkdir(mounted, 0o755)
        // As pkg-config says for fuse3.
        let compiler = try ChildProcess(
            [
                "/usr/bin/gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-I/usr/include/fuse3", "-D_FILE_OFFSET_BITS=64",
                "\(Binaries.packageDirectory)/Tests/TestSupport/Programs/caching-disk.c", "-o",
                directory.file("program"),
                "-lfuse3", "-lpthread",
            ], environment: ["PATH": "/usr/bin:/bin"])
        guard try compiler.wait() == .exited(0) else { throw TestSupportError("gcc: \(compiler.errorText)") }
        try start()
    }

    private func start() throws {
        let server = try ChildProcess([directory.file("program"), medium, control, mounted], environment: [:])
        self.server = server
        let deadline = Deadline.after(milliseconds: 20_000)
        while access(file, F_OK) != 0 {
            if deadline.hasPassed { throw TestSupportError("caching-disk: \(server.errorText)") }
            usleep(10_000)
        }
    }

    private func stop() {
        umount2(mounted, Int32(MNT_DETACH))
        server?.signal(SIGKILL)
        _ = try? server?.wait()
        server = nil
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
        stop()
        unlink(control)
        try start()
    }

    deinit { stop() }
}
