import Glibc

/// The original of the pool: pages of this process's memory. An application with persistent memory of its own would map
/// that.
final class LocalPool {
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int) {
        bytes = .allocate(byteCount: byteCount, alignment: Int(getpagesize()))
    }

    deinit { bytes.deallocate() }
}

/// Says on standard error what is wrong.
func complain(_ message: String) {
    let line = "rpmem-hello: \(message)\n"
    _ = line.withCString { write(2, $0, strlen($0)) }
}
