import CLinux
import Glibc
import PoolSets
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport

@testable import RpmemTarget

/// The input is a sequence of messages, whole or damaged. A ``TargetSession`` gets all of them at once; the answers, the exit
/// status, the log and the files that are left must be those of a model of its states.
func checkSession(_ input: [UInt8]) throws(Finding) {
    var reader = InputReader(input)
    let options = reader.byte()
    let stream = readMessages(&reader)
    do {
        let machine = try TargetInMemory(withPool: options & 1 != 0)
        try machine.serve(stream)
    } catch let finding as Finding {
        throw finding
    } catch {
        throw Finding("the machine around the session failed: \(error)")
    }
}

private let partSize: UInt64 = 4 << 20
private let setNames = ["headers.set", "bare.set", "broken.set", "missing.set", "../escape.set"]

private func readMessages(_ reader: inout InputReader) -> [UInt8] {
    var stream: [UInt8] = []
    while !reader.isAtEnd, stream.count < 16384 {
        let kind = reader.byte()
        var message: [UInt8]
        switch kind % 8 {
        case 0, 1:
            message = readPoolRequest(&reader).map { Request.create($0, attributes(reader.byte())).encode() } ?? []
        case 2, 3: message = readPoolRequest(&reader).map { Request.open($0).encode() } ?? []
        case 4: message = Request.setAttributes(attributes(reader.byte())).encode()
        case 5: message = Request.close(CloseFlags(rawValue: UInt32(reader.byte()))).encode()
        default: message = reader.bytes(Int(reader.byte() % 64))
        }
        // Damage: a byte of the message, or its end.
        if kind & 0xc0 == 0xc0, !message.isEmpty {
            message[Int(reader.byte()) % message.count] = reader.byte()
        } else if kind & 0xc0 == 0x80 {
            message.removeLast(min(message.count, Int(reader.byte())))
        }
        stream += message
    }
    return stream
}

private func attributes(_ choice: UInt8) -> PoolAttributes {
    if choice % 4 == 3 { return .none }
    return PoolAttributes(
        signature: SIMD8(repeating: choice), major: 1, incompatFeatures: UInt32(choice % 16),
        poolsetUUID: UUIDBytes(SIMD16(repeating: 1 + choice % 3)))
}

private func readPoolRequest(_ reader: inout InputReader) -> PoolRequest? {
    let sizes: [UInt64] = [partSize, partSize - 8192, 4096, 0, 1, 2 * partSize, .max, partSize + 1]
    let shape = reader.byte()
    let name = setNames[Int(shape) % setNames.count]
    guard let descriptor = try? PoolDescriptor(validating: name == setNames[4] ? "sub/../missing.set" : name) else {
        return nil
    }
    let providers: [Provider] = [.sockets, .sockets, .sockets, .verbs]
    let detail = reader.byte()
    return PoolRequest(
        poolSize: sizes[Int(detail) % sizes.count], laneCount: detail & 0x80 != 0 ? .max : 1 + UInt32(shape >> 6),
        provider: providers[Int(detail >> 3) % providers.count], inlineSize: detail & 0x40 == 0 ? 8192 : 2 << 20,
        descriptor: descriptor)
}

/// A pool set directory, and a session on it.
private final class TargetInMemory {
    private let directory = TemporaryDirectory("rpmem-fuzz", in: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
    private let store: PoolStore
    private let settings: Settings
    private let hasPool: Bool

    init(withPool hasPool: Bool) throws {
        self.hasPool = hasPool
        for (name, text) in [
            ("headers.set", "PMEMPOOLSET\n4M \(directory.path)/one\n4M \(directory.path)/two\n"),
            ("bare.set", "PMEMPOOLSET\nOPTION NOHDRS\n4M \(directory.path)/bare\n"),
            ("broken.set", "PMEMPOOLSET\n4M\n"),
        ] {
            let file = try Descriptor.open(directory.file(name), O_WRONLY | O_CREAT, mode: 0o600)
            try writeAll(Array(text.utf8), to: file.number)
        }
        var settings = Settings(home: directory.path)
        for (key, value): (SettingKey, String) in [
            (.poolsetDirectory, directory.path), (.laneTimeout, "3600"), (.threads, "1"),
        ] {
            try settings.assign(key, value, from: .commandLine(option: key.name), home: "/")
        }
        self.settings = settings
        store = try PoolStore(directory: directory.path)
        if hasPool {
            let pool = try store.create(
                descriptor: PoolDescriptor(validating: "headers.set"), attributes: attributes(4),
                requestedSize: partSize)
            try pool.close()
        }
    }

    /// Parts that exist.
    private var parts: [String] {
        ["one", "two", "bare"].filter { access(directory.file($0), F_OK) == 0 }
    }

    private func checkUnlocked() throws {
        for part in parts {
            let file = try Descriptor.open(directory.file(part), O_RDONLY)
            try require(rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0, "part \(part) is still locked")
        }
    }

    func serve(_ stream: [UInt8]) throws {
        let before = parts
        var ends: [Int32] = [-1, -1, -1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0,
            ends.withUnsafeMutableBufferPointer({ pipe2($0.baseAddress! + 2, O_CLOEXEC) }) == 0
        else { throw SystemCallError.last("pipe2") }
        let (input, answers, output) = (ends[0], ends[2], ends[3])
        var requests: Int32 = ends[1]
        defer { for number in [input, answers, output, requests] where number >= 0 { close(number) } }
        // A pipe holds 64 KiB.
        try writeAll(stream, to: requests)
        let log = Log()
        let (settings, store) = (self.settings, self.store)
        let session = try Running("session") {
            TargetSession(
                settings: settings, store: store, environment: SessionEnvironment(peer: nil, local: nil),
                log: SessionLog(handler: log.handler), signals: try SignalQueue([SIGUSR2]), input: input, output: output
            ).run()
        }
        var model = SessionModel(stream, hasPool: hasPool)
        var failure: (any Error)?
        do { try model.follow(answers) } catch { failure = error }
        if failure != nil || !model.isOver {
            close(requests)
            requests = -1
        }
        let status = try session.value()
        if let failure { throw failure }
        try require((status == 0) == model.isClosed, "exit status \(status), closed: \(model.isClosed)")
        try require(try !PollSet.wait(for: answers, until: .now), "bytes behind the last answer")
        let errors = log.errors
        // A refusal of SET_ATTR leaves the session as it is; every other error is its end.
        try require(errors <= 1 + model.refusedAttributes, "\(errors) errors in the log")
        try require(
            errors >= model.refusedAttributes + (model.isRefused ? 1 : 0), "a refusal without a line in the log")
        try checkUnlocked()
        // No lane is ever connected, so the session takes a pool back that it has created.
        try require(parts == before, "parts \(parts) are left, not \(before)")
    }
}

/// Counts the errors.
private final class Log: Sendable {
    private let lines = Mutex<[String]>([])

    var handler: LineLogHandler { LineLogHandler { line in self.lines.withLock { $0.append(line) } } }

    var errors: Int { lines.withLock { $0.count { $0.contains(" err: ") } } }
}

/// `docs/protocol.md`, section 1.3 (States of the target), once more.
private struct SessionModel {
    private var decoder = RequestDecoder()
    private var replies = ResponseDecoder()
    private let hasPool: Bool
    private var isServing = false
    /// The session has ended by itself: it needs no end of its input.
    private(set) var isOver = false
    /// CLOSE has succeeded.
    private(set) var isClosed = false
    /// A request was refused that the log has an error about.
    private(set) var isRefused = false
    private(set) var refusedAttributes = 0

    init(_ stream: [UInt8], hasPool: Bool) {
        decoder.append(stream)
        self.hasPool = hasPool
    }

    mutating func follow(_ answers: Int32) throws {
        try require(try receive(answers, { try $0.nextInitialStatus() }) == .ready, "another initial status than 0")
        while !isOver {
            let request: Request
            do throws(RequestDecodingError) {
                guard let next = try decoder.next() else { return }
                request = next
            } catch {
                try expect(error.response.encode(), answers)
                isRefused = true
                return isOver = true
            }
            switch request {
            case .create(let pool, let attributes) where !isServing: try opened(pool, attributes, answers)
            case .open(let pool) where !isServing: try opened(pool, nil, answers)
            case .setAttributes where isServing:
                // Sets without headers have nowhere to keep attributes.
                let answer = try receive(answers) { try $0.next(answering: .setAttributes) }
                if answer.status != .success { refusedAttributes += 1 }
            case .close where isServing:
                let answer = try receive(answers) { try $0.next(answering: .close) }
                isClosed = answer == .close
                isOver = true
            default:
                try expect(Response.refused(request.kind, .badProtocol).encode(), answers)
                isRefused = true
                isOver = true
            }
        }
    }

    private mutating func opened(_ pool: PoolRequest, _ attributes: PoolAttributes?, _ answers: Int32) throws {
        let kind: RequestKind = attributes == nil ? .open : .create
        let answer = try receive(answers) { try $0.next(answering: kind) }
        guard answer.status == .success else {
            // CREATE of a pool that exists is no error: programs try CREATE first. The log has it as a notice.
            isRefused = answer.status != .exists
            return isOver = true
        }
        isServing = true
        let name = "\(pool.descriptor)"
        try require(pool.poolSize > 0 && pool.poolSize <= 2 * partSize, "a pool of \(pool.poolSize) bytes")
        try require(pool.inlineSize <= 1 << 20 && pool.provider != .verbs, "\(pool) was granted")
        try require(["headers.set", "bare.set"].contains(name), "a pool from \(name)")
        if attributes == nil {
            try require(hasPool && name == "headers.set", "there was no pool to open in \(name)")
        } else {
            try require(!(hasPool && name == "headers.set"), "a pool was created over another")
        }
    }

    private mutating func expect(_ bytes: [UInt8], _ answers: Int32) throws {
        var received: [UInt8] = []
        while received.count < bytes.count {
            let more = try read(answers, bytes.count - received.count)
            if more.isEmpty { break }
            received += more
        }
        try require(received == bytes, "the answer is \(received), not \(bytes)")
    }

    private mutating func receive<Message>(
        _ answers: Int32, _ next: (inout ResponseDecoder) throws -> Message?
    ) throws -> Message {
        while true {
            if let message = try next(&replies) { return message }
            // No more than the shortest message, or the bytes of the next answer would be taken as well.
            let more = try read(answers, 4)
            if more.isEmpty { throw Finding("no answer") }
            replies.append(more)
        }
    }

    private func read(_ answers: Int32, _ count: Int) throws -> [UInt8] {
        guard try PollSet.wait(for: answers, until: .after(milliseconds: 60_000)) else {
            throw Finding("no answer in 60 s")
        }
        var bytes = [UInt8](repeating: 0, count: count)
        return Array(bytes[..<max(0, Glibc.read(answers, &bytes, count))])
    }
}
