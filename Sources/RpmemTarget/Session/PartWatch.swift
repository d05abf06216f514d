import Glibc
import RpmemProtocol
import SystemSupport

/// Notices by inotify(7) that a part file of an open pool is truncated. A thread that touches the missing pages gets SIGBUS. A
/// provider that has the kernel send them gets EFAULT instead, reports nothing, and its peer waits for ever.
final class PartWatch {
    /// Readable when a part may have been truncated.
    let descriptor: Descriptor
    private let parts: [WatchedPart]

    private struct WatchedPart {
        let path: String
        let size: Int
        let file: Int32
    }

    /// - Parameter parts: Paths of part files, and their sizes in bytes. Devices are left out.
    init(_ parts: [(path: String, size: Int)]) throws(SystemCallError) {
        let number = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        if number < 0 { throw .last("inotify_init1") }
        descriptor = Descriptor(owning: number)
        var watched: [WatchedPart] = []
        for part in parts {
            let file = open(part.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
            if file < 0 { continue }
            watched.append(WatchedPart(path: part.path, size: part.size, file: file))
            _ = inotify_add_watch(number, "/proc/self/fd/\(file)", UInt32(IN_MODIFY))
        }
        self.parts = watched
    }

    deinit { for part in parts { close(part.file) } }

    /// The message about a part that has become shorter, with the remedy; nil when none has.
    ///
    /// - Parameter mark: See ``Settings/markLeft``.
    func findTruncation(leaving mark: String) -> String? {
        var events = [UInt8](repeating: 0, count: 4096)
        while read(descriptor.number, &events, events.count) > 0 {}
        for part in parts {
            var status = stat()
            guard fstat(part.file, &status) == 0, status.st_size < part.size else { continue }
            return
                "\(quoted(part.path)): the file was truncated from \(part.size) to \(status.st_size) bytes while it was "
                + "in use (a thread that touches the rest gets SIGBUS): the session ends\(mark). "
                + "Restore the part from another replica"
        }
        return nil
    }
}
