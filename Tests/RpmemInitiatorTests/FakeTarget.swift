import CFabric
import Fabric
import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// A target in this process whose answers a test chooses. Its lanes are real ones over the loopback interface. Its control
/// connection is a pair of FIFOs, which a script in ssh's place connects with the initiator.
///
/// One thread polls the control connection and the lanes' queues in turn.
final class FakeTarget: Sendable {
    /// The target's reaction to a persist request.
    enum Reaction: Sendable {
        case answer
        case ignore
        /// Ends the lanes, and keeps the control connection.
        case endLanes
        /// Ends the control connection, and keeps the lanes.
        case endControl
        /// Answers with too few bytes.
        case answerShort
        /// Answers twice.
        case answerTwice
        /// Answers with the number of another lane.
        case answerForAnotherLane
    }

    struct Behaviour: Sendable {
        var provider = Provider.sockets
        var method = PersistMethod.gpspm
        var lanesGranted = 16
        /// The attributes in the answer to OPEN.
        var attributes = PoolAttributes(signature: SIMD8(repeating: 0x41))
        /// The reaction to each persist request, by its number from 0.
        var reaction: @Sendable (Int) -> Reaction = { _ in .answer }
        /// What it grants by EXTEND; nil does not accept the offer.
        var extensions: Extensions?
        var setAttributesStatus = Status.success
        /// The bytes that answer DIGEST.
        var digestAnswer = Response.refused(.digest, .badProtocol).encode()
        var closeStatus = Status.success
        /// Names a port in its answer that does not listen.
        var hidesPort = false
        /// Ends the session when this lane asks for its connection.
        var endsAtLane: Int?
        /// Does not answer the connection request of this lane.
        var ignoresLane: Int?
        /// Rejects this lane.
        var rejectsLane: Int?
    }

    struct PersistRequest: Hashable, Sendable {
        let mode: PersistMode
        let lane: Int
        let offset: Int
        let size: Int
    }

    /// All that the target received, in the order of arrival.
    struct Record: Sendable {
        var requests: [Request] = []
        var persists: [PersistRequest] = []
        /// What each lane showed when it asked for its connection.
        var secrets: [[UInt8]] = []
        var violations: [String] = []
    }

    struct Timeout: Error {}

    let options: InitiatorOptions
    var behaviour: Behaviour { session.behaviour }
    /// The pool.
    var memory: PoolPages { session.memory }
    /// The pool as a loss of power would leave it: the ranges of persist requests.
    var durable: PoolPages { session.durable }
    var seen: Record { session.record.withLock { $0 } }
    private let session: FakeSession
    // Unsafe: only deinit uses it, to join the thread.
    nonisolated(unsafe) private var thread: NamedThread?

    init(poolSize: Int = 4 << 20, _ change: (inout Behaviour) -> Void = { _ in }) throws {
        var behaviour = Behaviour()
        change(&behaviour)
        let session = try FakeSession(behaviour, poolSize: poolSize)
        self.session = session
        options = .forTests(command: "exec /bin/sh \(session.script)", provider: behaviour.provider)
        thread = try NamedThread(name: "fake-target") { session.run() }
    }

    deinit {
        session.stopping.store(true, ordering: .releasing)
        if let thread = thread.take() { thread.join() }
    }

    /// Waits until so many persist requests have arrived.
    func waitForPersists(_ count: Int) throws {
        let deadline = Deadline.after(milliseconds: 30_000)
        while seen.persists.count < count {
            if deadline.hasPassed { throw Timeout() }
            usleep(1000)
        }
    }

    /// Sends a byte that belongs to no answer.
    func sendStrayByte() { session.stray.store(true, ordering: .releasing) }
}

/// The state of a ``FakeTarget``'s thread.
private final class FakeSession: Sendable {
    typealias Behaviour = FakeTarget.Behaviour
    typealias Reaction = FakeTarget.Reaction

    static let secret = LaneSecret(SIMD16(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
    let behaviour: Behaviour
    let memory: PoolPages
    let durable: PoolPages
    let record = Mutex(FakeTarget.Record())
    let stopping = Atomic<Bool>(false)
    let stray = Atomic<Bool>(false)
    /// The script that runs in ssh's place.
    let script: String
    private let scratch: Scratch
    private let requestsIn: Descriptor
    private let answersOut: Mutex<Int32?>

    init(_ behaviour: Behaviour, poolSize: Int) throws {
        self.behaviour = behaviour
        memory = PoolPages(byteCount: poolSize)
        durable = PoolPages(byteCount: poolSize)
        scratch = try Scratch()
        let (requests, answers) = ("\(scratch.path)/requests", "\(scratch.path)/answers")
        for path in [requests, answers] where mkfifo(path, 0o600) != 0 { throw SystemCallError.last("mkfifo") }
        requestsIn = try Descriptor.open(requests, O_RDONLY | O_NONBLOCK)
        // O_RDWR: opening does not wait for a reader.
        answersOut = Mutex(try Descriptor.open(answers, O_RDWR | O_NONBLOCK).release())
        script = try scratch.write(
            "script",
            Array("exec 3<&0\ncat <&3 >'\(requests)' &\nexec 3<&- 0<&-\nexec cat '\(answers)'\n".utf8))
    }

    deinit { endControl() }

    func run() {
        do { try serve() } catch { record.withLock { $0.violations.append("\(error)") } }
        endControl()
    }

    // MARK: The target's thread

    private func serve() throws {
        var decoder = RequestDecoder()
        send(InitialStatus.ready.encode())
        var fabric: FakeFabric?
        var laneCount = 0
        var inlineSize = 0
        // libfabric keeps the memory of a connection request until the request is answered.
        var ignored: [ConnectionRequest] = []
        defer { for request in ignored { fabric?.reject(request) } }
        while !stopping.load(ordering: .acquiring) {
            var idle = true
            if stray.exchange(false, ordering: .acquiringAndReleasing) { send([0x21]) }
            switch receive() {
            case .bytes(let bytes):
                decoder.append(bytes)
                idle = false
            case .end: return
            case .nothing: break
            }
            while let request = try decoder.next() {
                record.withLock { $0.requests.append(request) }
                switch request {
                case .create(let pool, _), .open(let pool):
                    inlineSize = Int(pool.inlineSize)
                    let opened = try FakeFabric(behaviour.provider, memory, inlineSize: inlineSize)
                    laneCount = min(Int(pool.laneCount), behaviour.lanesGranted)
                    let inBand = InBandAttributes(
                        port: behaviour.hidesPort ? 9 : opened.port, method: behaviour.method,
                        remoteKey: opened.key, remoteAddress: UInt64(UInt(bitPattern: memory.bytes.baseAddress!)),
                        laneCount: UInt32(behaviour.lanesGranted), acceptsExtensions: behaviour.extensions != nil)
                    if case .create = request {
                        send(Response.create(inBand).encode())
                    } else {
                        send(Response.open(inBand, behaviour.attributes).encode())
                    }
                    fabric = opened
                case .setAttributes:
                    send(answer(.setAttributes, .setAttributes, behaviour.setAttributesStatus))
                case .extend(let wanted):
                    let granted = behaviour.extensions.map { $0.intersection(wanted) }
                    send((granted.map { Response.extend($0, Self.secret) } ?? .refused(.extend, .badProtocol)).encode())
                case .claim: send(Response.refused(.claim, .badProtocol).encode())
                case .digest: send(behaviour.digestAnswer)
                case .close:
                    fabric = nil
                    send(answer(.close, .close, behaviour.closeStatus))
                    return
                }
            }
            if let opened = fabric {
                while let event = opened.events.next() {
                    idle = false
                    guard case .connectionRequest(let asked) = event else { continue }
                    record.withLock { $0.secrets.append(asked.privateData) }
                    let lane = opened.laneCount
                    if lane == behaviour.endsAtLane {
                        ignored.append(asked)
                        opened.endLanes()
                        endControl()
                        while !stopping.load(ordering: .acquiring) { usleep(1000) }
                        return
                    }
                    if lane == behaviour.ignoresLane {
                        ignored.append(asked)
                    } else if lane == behaviour.rejectsLane {
                        opened.reject(asked)
                    } else if lane < laneCount {
                        try opened.accept(asked)
                    } else {
                        record.withLock { $0.violations.append("lane \(lane) was not granted") }
                    }
                }
                for lane in 0..<opened.laneCount {
                    guard let message = opened.message(lane) else { continue }
                    idle = false
                    switch react(to: message, on: lane, inlineSize: inlineSize) {
                    case .answer: try opened.answer(lane, PersistResponse.byteCount)
                    case .answerShort: try opened.answer(lane, 4)
                    case .answerTwice:
                        try opened.answer(lane, PersistResponse.byteCount)
                        try opened.answerAgain(lane)
                    case .answerForAnotherLane:
                        try opened.answer(lane, PersistResponse.byteCount, as: lane + 1)
                    case .ignore: break
                    case .endLanes: fabric = nil
                    case .endControl:
                        endControl()
                        // The lanes stay until the end of the test.
                        while !stopping.load(ordering: .acquiring) { usleep(1000) }
                        return
                    }
                    if fabric == nil { break }
                }
            }
            if idle { usleep(100) }
        }
    }

    private func react(to message: UnsafeRawBufferPointer, on lane: Int, inlineSize: Int) -> Reaction {
        guard message.count >= PersistRequestHeader.byteCount else { return note("a message too short") }
        let header = message.loadUnaligned(as: PersistRequestHeader.self)
        let base = UInt64(UInt(bitPattern: memory.bytes.baseAddress!))
        if let fault = checkPersistRequest(
            header, receivedBytes: message.count, regionBase: base, regionSize: UInt64(memory.bytes.count),
            laneCount: 64, inlineCapacity: UInt64(inlineSize))
        {
            return note(fault.describe(header, receivedBytes: message.count))
        }
        if Int(header.lane) != lane { return note("lane \(lane) says that it is \(header.lane)") }
        let (offset, size) = (Int(header.address - base), Int(header.size))
        let mode = header.mode!
        if mode == .inline {
            memcpy(
                memory.bytes.baseAddress! + offset, message.baseAddress! + PersistRequestHeader.byteCount, size)
        }
        memcpy(durable.bytes.baseAddress! + offset, memory.bytes.baseAddress! + offset, size)
        let number = record.withLock { record in
            record.persists.append(FakeTarget.PersistRequest(mode: mode, lane: lane, offset: offset, size: size))
            return record.persists.count - 1
        }
        return behaviour.reaction(number)
    }

    private func note(_ violation: String) -> Reaction {
        record.withLock { $0.violations.append(violation) }
        return .ignore
    }

    private func answer(_ kind: RequestKind, _ success: Response, _ status: Status) -> [UInt8] {
        (status == .success ? success : .refused(kind, status)).encode()
    }

    // MARK: Control connection

    private enum Arrival {
        case bytes([UInt8])
        case nothing
        case end
    }

    private func receive() -> Arrival {
        // A FIFO that no writer has opened yet reads as ended. poll(2) reports it only after the first writer.
        guard (try? PollSet.wait(for: requestsIn.number, until: .now)) == true else { return .nothing }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(requestsIn.number, &bytes, bytes.count)
        if count > 0 { return .bytes(Array(bytes[..<count])) }
        return count == 0 ? .end : .nothing
    }

    private func send(_ bytes: [UInt8]) {
        answersOut.withLock { number in
            if let number { try? writeAll(bytes, to: number) }
        }
    }

    private func endControl() {
        answersOut.withLock { number in
            if let open = number { close(open) }
            number = nil
        }
    }
}
