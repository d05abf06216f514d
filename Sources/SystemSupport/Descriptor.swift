import CLinux
import Glibc
import SystemPackage

/// A file descriptor that is closed when its owner ends. Those that are opened here are close-on-exec.
package struct Descriptor: ~Copyable, Sendable {
    /// The number; valid as long as this value is alive.
    package let number: Int32

    /// Takes ownership of `number`. Nothing else may close it.
    package init(owning number: Int32) {
        self.number = number
    }

    deinit {
        _ = Glibc.close(number)
    }

    /// Closes it, and throws the error of close(2). For files that may be a write that failed late.
    package consuming func close() throws(SystemCallError) {
        let number = self.number
        discard self
        // Linux releases the number even on EINTR, so it must not be closed again.
        if Glibc.close(number) != 0 { throw .last("close") }
    }

    /// Gives up ownership of the number. The caller closes it.
    package consuming func release() -> Int32 {
        let number = self.number
        discard self
        return number
    }

    /// A second descriptor of the same open file, close-on-exec.
    package func duplicate() throws(SystemCallError) -> Descriptor {
        Descriptor(owning: try retryingInterrupts("fcntl(F_DUPFD_CLOEXEC)") { fcntl(number, F_DUPFD_CLOEXEC, 3) })
    }

    /// Opens `path`; see open(2).
    package static func open(
        _ path: String, _ flags: Int32, mode: mode_t = 0
    ) throws(SystemCallError) -> Descriptor {
        Descriptor(
            owning: try retryingInterrupts("open", on: path) { Glibc.open(path, flags | O_CLOEXEC, mode) })
    }

}

/// Both ends of a pipe, close-on-exec.
package struct Pipe: ~Copyable {
    package let read: Descriptor
    package let write: Descriptor

    package init() throws(SystemCallError) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &ends) {
            pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress, O_CLOEXEC)
        }
        if result != 0 { throw .last("pipe2") }
        read = Descriptor(owning: ends.0)
        write = Descriptor(owning: ends.1)
    }

    /// The end to read from. The other end is closed.
    package consuming func takeRead() -> Descriptor { read }

    /// The end to write to. The other end is closed.
    package consuming func takeWrite() -> Descriptor { write }
}

/// Reads once, at most `buffer.count` bytes.
///
/// - Returns: How many bytes; 0 at the end of the file.
package func readSome(from descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer) throws(SystemCallError) -> Int
{
    try retryingInterrupts("read") { Glibc.read(descriptor, buffer.baseAddress, buffer.count) }
}

/// Writes all of `bytes`. A blocking descriptor waits for room.
package func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws(SystemCallError) {
    var rest = bytes
    while !rest.isEmpty {
        let written = try retryingInterrupts("write") { Glibc.write(descriptor, rest.baseAddress, rest.count) }
        rest = UnsafeRawBufferPointer(rebasing: rest[written...])
    }
}

/// Writes all of `bytes`; see ``writeAll(_:to:)-(UnsafeRawBufferPointer,_)``.
package func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(SystemCallError) {
    var failure: SystemCallError?
    bytes.withUnsafeBytes { buffer in
        do throws(SystemCallError) { try writeAll(buffer, to: descriptor) } catch { failure = error }
    }
    if let failure { throw failure }
}

/// Writes all of `bytes` to a pipe or a socket whose reader may stop reading. A pipe that polls writable takes PIPE_BUF bytes without
/// blocking.
///
/// - Parameter subject: What is written to, for the error of a write.
/// - Returns: False when the deadline passed before.
package func writeAll(
    _ bytes: [UInt8], to descriptor: Int32, on subject: String? = nil, until deadline: Deadline
) throws(SystemCallError) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
        guard try PollSet.wait(for: descriptor, .writable, until: deadline) else { return false }
        let piece = rest.prefix(Int(PIPE_BUF))
        let count = try retryingInterrupts("write", on: subject) {
            piece.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        }
        rest = rest.dropFirst(count)
    }
    return true
}

/// All bytes of a file. Throws EFBIG when there are more than `limit`.
package func readFile(_ descriptor: borrowing Descriptor, limit: Int) throws(SystemCallError) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while true {
        var count = 0
        var failure: SystemCallError?
        chunk.withUnsafeMutableBytes { buffer in
            do throws(SystemCallError) { count = try readSome(from: descriptor.number, into: buffer) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        if count == 0 { return bytes }
        if bytes.count + count > limit { throw SystemCallError("read", errno: .fileTooLarge) }
        bytes += chunk[..<count]
    }
}
