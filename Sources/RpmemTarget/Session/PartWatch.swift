import Glibc
import SystemSupport

/// Tells when a part file of an open pool is cut short: inotify(7). Who touches what is gone gets SIGBUS, but a provider that
/// lets the kernel send it only gets EFAULT, tells nobody, and its peer waits for ever.
final class PartWatch {
    /// Readable when a part may have been cut short.
    let descriptor: Descriptor
    private let parts: [Part]

    private struct Part {
        let path: String
        let size: Int
        let file: Int32
    }

    /// - Parameter parts: Paths of part files, and their sizes in bytes. Devices are left out.
    init(_ parts: [(path: String, size: Int)]) throws(SystemCallError) {
        let number = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        if number < 0 { throw .last("inotify_init1") }
        descriptor = Descriptor(owning: number)
        var watched: [Part] = []
        for part in parts {
            let file = open(part.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
            if file < 0 { continue }
            watched.append(Part(path: part.path, size: part.size, file: file))
            _ = inotify_add_watch(number, "/proc/self/fd/\(file)", UInt32(IN_MODIFY))
        }
        self.parts = watched
    }

    deinit { for part in parts { close(part.file) } }

    /// Which part has become shorter, and what to do; nil when none has.
    func findTruncation() -> String? {
        var events = [UInt8](repeating: 0, count: 4096)
        while read(descriptor.number, &events, events.count) > 0 {}
        for part in parts {
            var status = stat()
            guard fstat(part.file, &status) == 0, status.st_size < part.size else { continue }
            return
                "\(quoted(part.path)): the file was truncated from \(part.size) to \(status.st_size) bytes while it was "
                + "in use (SIGBUS for who touches the rest): the session ends, and the pool stays marked as not cleanly closed. "
                + "Restore the part from another replica"
        }
        return nil
    }
}
