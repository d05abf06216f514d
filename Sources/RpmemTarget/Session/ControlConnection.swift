import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The wire to the initiator: requests from one descriptor, answers to another (ssh's pipes, or one socket).
struct ControlConnection: ~Copyable {
    let input: Int32
    let output: Int32
    private var decoder = RequestDecoder()
    private var chunk: UnsafeMutableRawBufferPointer

    /// How long an initiator may leave its answers unread before it counts as gone, in milliseconds.
    private static let writeMilliseconds: UInt64 = 10_000

    init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
        chunk = .allocate(byteCount: ControlProtocol.maximumMessageSize, alignment: 16)
    }

    deinit { chunk.deallocate() }

    /// Reads once, from an input that has something; false at the end of the connection.
    mutating func receive() throws(SystemCallError) -> Bool {
        let count = try readSome(from: input, into: chunk)
        decoder.append(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
        return count > 0
    }

    /// The next whole request among what was received.
    mutating func nextRequest() throws(ProtocolViolation) -> Request? {
        try decoder.next()
    }

    /// Bytes of a request whose rest never came.
    var pendingByteCount: Int { decoder.pendingByteCount }

    /// Sends all of `bytes`, which must be fewer than a pipe takes at once (PIPE_BUF), waiting a bounded time for
    /// room.
    func send(_ bytes: [UInt8]) throws(SystemCallError) {
        let deadline = Deadline.after(milliseconds: Self.writeMilliseconds)
        var set = [pollfd(fd: output, events: Int16(POLLOUT), revents: 0)]
        guard try waitForEvents(&set, until: deadline) > 0 else {
            throw SystemCallError("write", on: "control connection", errno: .timedOut)
        }
        try writeAll(bytes, to: output)
    }

    /// Whether the initiator has gone; does not wait.
    static func isHungUp(_ input: Int32) -> Bool {
        var set = [pollfd(fd: input, events: 0, revents: 0)]
        guard let ready = try? waitForEvents(&set, until: Deadline.after(milliseconds: 0)), ready > 0 else {
            return false
        }
        return Int32(set[0].revents) & (POLLHUP | POLLERR) != 0
    }
}
