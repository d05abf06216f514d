import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The initiator's end of a control connection to a daemon process of the test's own.
final class Session {
    let process: ChildProcess
    let target: Target
    private var decoder = ResponseDecoder()
    /// All that was received so far.
    private(set) var received: [UInt8] = []
    private var hasEnded = false

    init(_ process: ChildProcess, of target: Target) {
        self.process = process
        self.target = target
    }

    deinit {
        if !hasEnded { Issue.record("session \(process.identifier) was not seen to end") }
    }

    // MARK: Talking

    /// Takes the initial status, and expects it to be 0.
    @discardableResult
    func ready(sourceLocation: SourceLocation = #_sourceLocation) throws -> Session {
        #expect(try initialStatus() == .ready, sourceLocation: sourceLocation)
        return self
    }

    /// The first four bytes; nil when the daemon ended without.
    func initialStatus() throws -> InitialStatus? {
        take(try process.receive(InitialStatus.size))
        return try decoder.nextInitialStatus()
    }

    func send(_ bytes: [UInt8]) throws { try process.send(bytes) }

    /// Sends a request, and waits for its answer.
    func ask(_ request: Request) throws -> Response {
        try send(request.encode())
        return try answer(to: request.kind)
    }

    /// Waits for an answer.
    func answer(to kind: RequestKind) throws -> Response {
        let header = try process.receive(ControlProtocol.responseHeaderSize)
        take(header)
        guard header.count == ControlProtocol.responseHeaderSize else {
            throw TestSupportError("\(header.count) bytes for an answer to \(kind.name); \(process.errorText)")
        }
        let size = header[8...].reduce(0) { $0 << 8 | UInt64($1) }
        guard size >= header.count, size <= 65536 else { throw TestSupportError("an answer of \(size) bytes") }
        take(try process.receive(Int(size) - header.count))
        guard let response = try decoder.next(answering: kind) else {
            throw TestSupportError("half an answer to \(kind.name)")
        }
        return response
    }

    private func take(_ bytes: [UInt8]) {
        received += bytes
        decoder.append(bytes)
    }

    /// Opens or creates a pool, and expects that to succeed.
    func pool(_ request: Request) throws -> (lanes: InBandAttributes, attributes: PoolAttributes) {
        switch try ask(request) {
        case .create(let lanes): return (lanes, .none)
        case .open(let lanes, let attributes): return (lanes, attributes)
        case let other: throw TestSupportError("\(request.kind.name): \(other.status); \(process.errorText)")
        }
    }

    // MARK: Ending

    /// Waits for the daemon's end. Returns its remaining output and its exit status. Its input stays open, so the daemon ends by
    /// itself.
    func end() throws -> (rest: [UInt8], ending: ChildProcess.Ending?) {
        let rest = process.output >= 0 ? try process.receive(1 << 20) : []
        take(rest)
        let ending = try process.wait()
        hasEnded = true
        if ending == nil {
            let log = try log().map { "\n\($0.level): \($0.message)" }.joined()
            Issue.record("daemon \(process.identifier) does not end; its log:\(log)")
        }
        return (rest, ending)
    }

    /// Expects the daemon to end now by itself, with this exit status and without another byte for the initiator.
    func expectEnd(_ status: Int32, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let (rest, ending) = try end()
        #expect(ending == .exited(status), "\(process.errorText)", sourceLocation: sourceLocation)
        #expect(rest == [], sourceLocation: sourceLocation)
    }

    /// CLOSE, which has to succeed, and the end.
    func close(_ flags: CloseFlags = [], sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(try ask(.close(flags)) == .close, sourceLocation: sourceLocation)
        try expectEnd(0, sourceLocation: sourceLocation)
    }

    // MARK: Hung storage

    /// Waits until a thread of the daemon waits in the kernel for a device or file system, and goes on doing so.
    func waitForHungThread() throws {
        let deadline = Deadline.after(milliseconds: 20_000)
        var looks = 0
        while looks < 4 {
            if deadline.hasPassed { throw TestSupportError("no thread of the daemon waits for the storage") }
            usleep(10_000)
            looks = hasHungThread ? looks + 1 : 0
        }
    }

    /// Whether a thread is in uninterruptible sleep.
    private var hasHungThread: Bool {
        let tasks = "/proc/\(process.identifier)/task"
        return TemporaryDirectory.entries(of: tasks).contains { task in
            guard let file = try? Descriptor.open("\(tasks)/\(task)/stat", O_RDONLY),
                let bytes = try? readFile(file, limit: 4096)
            else { return false }
            // The state follows the name, which is in parentheses.
            return String(decoding: bytes, as: UTF8.self).contains(") D ")
        }
    }

    // MARK: Log

    /// This session's lines of the log.
    func log() throws -> [LogEntry] { try target.log().filter { $0.process == process.identifier } }

    func messages(_ level: String) throws -> [String] { try log().filter { $0.level == level }.map(\.message) }

    /// Waits for a line of the log that contains `text`.
    func waitForMessage(_ text: String) throws {
        let deadline = Deadline.after(milliseconds: 60_000)
        while try !log().contains(where: { $0.message.contains(text) }) {
            if deadline.hasPassed { throw TestSupportError("no line with '\(text)' in the log: \(try log())") }
            usleep(2000)
        }
    }

    /// Expects exactly one line at level err, which contains all of `texts`, and the same text on standard error.
    func expectOneError(_ texts: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
        let errors = try messages("err")
        #expect(errors.count == 1, "\(errors)", sourceLocation: sourceLocation)
        for text in texts {
            #expect(errors.first?.contains(text) == true, "\(errors)", sourceLocation: sourceLocation)
        }
        #expect(
            process.errorText == errors.map { "rpmemd: \($0)\n" }.joined(), sourceLocation: sourceLocation)
    }
}
