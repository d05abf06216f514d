import Glibc
import SystemSupport
import TestSupport

/// Serves one file over FUSE, for a loop device to be made of, or as the part of a pool; see `FuseDisk` in `Tests/TestSupport`. A process of its own: a
/// process that waits for a disk that it serves itself could not be killed.
///
///     fuse-disk record IMAGE RECORD MOUNTPOINT    as RecordedImage
///     fuse-disk cache IMAGE CONTROL MOUNTPOINT    as CachedImage
///     fuse-disk slow IMAGE BYTES MOUNTPOINT       as SlowImage, so many bytes per second
///
/// The contents are IMAGE's. MOUNTPOINT is a file. Prints `serving`, and ends when MOUNTPOINT is unmounted or when its
/// standard input ends.
@main struct FuseDiskServer {
    static func main() {
        let arguments = CommandLine.arguments
        do {
            let disk: any Disk
            switch (arguments.count, arguments.dropFirst().first) {
            case (5, "record"): disk = try RecordedImage(arguments[2], record: arguments[3])
            case (5, "cache"): disk = try CachedImage(arguments[2], control: arguments[3])
            case (5, "slow"):
                guard let bytes = Int(arguments[3]), bytes > 0 else { fallthrough }
                disk = try SlowImage(arguments[2], bytesPerSecond: bytes)
            default:
                complain(
                    "usage: fuse-disk record IMAGE RECORD MOUNTPOINT | cache IMAGE CONTROL MOUNTPOINT | slow IMAGE BYTES MOUNTPOINT"
                )
                exit(2)
            }
            let connection = try Connection(to: disk)
            try connection.mount(at: arguments[4])
            print("serving")
            fflush(nil)
            try connection.serve()
        } catch {
            complain("\(error)")
            exit(1)
        }
    }

    private static func complain(_ text: String) {
        let line = "fuse-disk: \(text)\n"
        _ = line.withCString { write(2, $0, strlen($0)) }
    }
}
