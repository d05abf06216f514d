/// A FUSE file whose reads take their time. Nothing is kept in memory from one opening to the next.
package final class SlowDisk {
    private let disk: FuseDisk

    /// The disk's file, of the size of the image.
    package var file: String { disk.file }

    /// The reason why this host cannot make one; nil when it can.
    package static func skipReason() -> String? { FuseDisk.skipReason() }

    /// - Parameter medium: The image that holds the bytes.
    package init(over medium: String, bytesPerSecond: Int) throws {
        disk = try FuseDisk("slow", image: medium, "\(bytesPerSecond)")
    }

    /// Unmounts the file, which nobody may have open.
    package func stop() throws { try disk.stop() }
}
