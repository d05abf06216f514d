import Glibc
import SystemSupport

/// A file that a process serves over FUSE, and that a loop device can be made of: `Tests/FuseDisk`.
final class FuseDisk {
    private let directory = TemporaryDirectory("rpmem-fuse")
    private let server: ChildProcess
    private var isServing = true
    /// The disk's file, of the size of the image.
    var file: String { directory.file("disk.img") }

    /// The reason why this host cannot serve one; nil when it can.
    static func skipReason() -> String? {
        if geteuid() != 0 { return "needs root to mount" }
        return access("/dev/fuse", R_OK | W_OK) == 0 ? nil : "needs /dev/fuse"
    }

    /// - Parameters:
    ///   - mode: `record`, `cache` or `slow`.
    ///   - companion: The record, the control file, or the bytes per second.
    init(_ mode: String, image: String, _ companion: String) throws {
        let file = directory.file("disk.img")
        _ = try Descriptor.open(file, O_WRONLY | O_CREAT, mode: 0o600)
        server = try ChildProcess([Binaries.fuseDisk, mode, image, companion, file])
        guard try server.receive(8) == Array("serving\n".utf8) else {
            throw TestSupportError("fuse-disk: \(server.errorText)")
        }
    }

    deinit { if isServing { _ = try? Command.run("/usr/bin/umount", "-l", file) } }

    /// Unmounts the file, which no loop device may use, and waits for the server's end.
    func stop() throws {
        try Command.unmount(file)
        isServing = false
        if try server.wait() != .exited(0) { throw TestSupportError("fuse-disk: \(server.errorText)") }
    }
}
