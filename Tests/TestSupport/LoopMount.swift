/// Mounts of image files.
enum LoopMount {
    /// Mounts an image on a loop device of its own, which ends with the mount.
    ///
    /// `mount -o loop` takes a device that the image has already. Processes that other tests start with a mount namespace of their
    /// own have copies of the mounts, and keep the device and its superblock: a second mount would show the image as it was then.
    static func make(_ image: String, at path: String, _ options: String) throws {
        let device = try Command.run("/usr/sbin/losetup", "--find", "--show", image).filter { !$0.isWhitespace }
        defer { _ = try? Command.run("/usr/sbin/losetup", "--detach", device) }
        try Command.run("/usr/bin/mount", "-o", options, device, path)
    }
}
