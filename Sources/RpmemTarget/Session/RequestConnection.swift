import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The target's end of the control connection: requests from one descriptor, answers to another (ssh's pipes, or one socket).
struct RequestConnection: ~Copyable {
    let input: Int32
    let output: Int32
    private var decoder = RequestDecoder()
    private var chunk: UnsafeMutableRawBufferPointer

    /// How long an initiator may leave answers unread before it counts as gone, in milliseconds.
    private static let writeMilliseconds: UInt64 = 10_000

    init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
        chunk = .allocate(byteCount: ControlProtocol.maximumMessageSize, alignment: 16)
    }

    deinit { chunk.deallocate() }

    /// Reads once from an input that is readable.
    ///
    /// - Returns: False at the end of the connection.
    mutating func receive() throws(SystemCallError) -> Bool {
        let count = try readSome(from: input, into: chunk)
        decoder.append(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
        return count > 0
    }

    /// The next complete request; nil when more bytes are needed.
    mutating func nextRequest() throws(RequestDecodingError) -> Request? {
        try decoder.next()
    }

    /// Bytes of a request whose rest is missing.
    var pendingByteCount: Int { decoder.pendingByteCount }

    func send(_ response: Response) throws(SystemCallError) { try send(response.encode()) }

    /// Sends all of `bytes`. Waits for room no longer than ``writeMilliseconds``, all in all.
    func send(_ bytes: [UInt8]) throws(SystemCallError) {
        guard try writeAll(bytes, to: output, until: .after(milliseconds: Self.writeMilliseconds)) else {
            throw SystemCallError("write", on: "control connection", errno: .timedOut)
        }
    }

    /// Whether the initiator's end is closed. Does not wait.
    static func isHungUp(_ input: Int32) -> Bool {
        var set = PollSet()
        let index = set.add(input, for: .hangUp)
        _ = try? set.wait(until: .now)
        return set.isHungUp(index)
    }
}
