import CFabric
import CLinux
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport

@testable import RpmemTarget

/// Lanes of a session. The region is the middle of the pool, so that a store beside it is found.
private let laneCount = 4
private let inlineRoom = 64
private let regionOffset = 4096
private let regionSize = 32 << 10

/// A worker serves the script that the input describes. A model of it, which works on arrays, says which requests get an
/// answer, what the pool holds in the end, and why the worker stops.
func checkLanes(_ input: [UInt8]) throws(Finding) {
    guard let pool = MemoryPool.shared else { throw Finding("no memory for a pool") }
    pool.clear()
    var reader = InputReader(input)
    let fabric = ScriptedFabric(lanes: laneCount, inlineCapacity: inlineRoom, [])
    var model = LaneModel(base: pool.base + UInt64(regionOffset))
    let refusals = Int(reader.byte() % 4)
    while !reader.isAtEnd {
        let step = readStep(&reader, base: model.base)
        fabric.steps.append(step)
        model.take(step)
    }
    let injects = refusals % 2 == 0
    // A provider without room delays answers, and changes nothing about them. Only without a delay the model knows whether
    // a request overlaps with an answer.
    if refusals > 1 {
        fabric.answerResults = [Int](repeating: -Int(FI_EAGAIN), count: refusals)
        fabric.receiveResults = [-Int(FI_EAGAIN)]
    }
    let end = fabric.serve(pool.mapping.persister, base: model.base, size: UInt64(regionSize), injects: injects)
    for answer in fabric.answers {
        try require(
            model.valid[answer.onEndpoint].contains(answer.lane),
            "an answer for lane \(answer.lane) that nobody asked for")
    }
    try require(pool.isUntouchedBeside(region: regionOffset..<regionOffset + regionSize), "a store beside the region")
    if refusals > 1 { return }
    try require("\(end)" == model.end, "the worker ends with '\(end)', not with '\(model.end)'")
    let answers = (0..<laneCount).map { lane in fabric.answers.filter { $0.onEndpoint == lane }.map(\.lane) }
    try require(answers == model.answered, "the answers are \(answers), not \(model.answered)")
    try require(fabric.endedLanes == model.closed.sorted(), "lanes \(fabric.endedLanes) ended, not \(model.closed)")
    try require(pool.region(regionOffset, regionSize) == model.contents, "the pool holds other data than was sent")
}

private func readStep(_ reader: inout InputReader, base: UInt64) -> ScriptedFabric.Step {
    let codes: [Int32] = [
        FI_ECANCELED, Int32(FI_ETRUNC), FI_EMSGSIZE, FI_EIO, FI_ENOTCONN, FI_EAGAIN, FI_EINTR, Int32(FI_EAVAIL),
    ]
    let kind = reader.byte()
    switch kind % 8 {
    case 0: return .result(-Int(codes[Int(reader.byte()) % codes.count]))
    case 1:
        let lane = Int(reader.byte() % UInt8(laneCount + 1))
        return .failedOperation(lane: lane == laneCount ? nil : lane, code: codes[Int(reader.byte()) % codes.count])
    case 2:
        let code = Int(reader.byte()) % (codes.count + 1)
        return .signOfLife(code: code == codes.count ? nil : codes[code])
    default:
        let count = 1 + Int(kind >> 3) % laneCount
        var requests: [(lane: Int, bytes: [UInt8])] = []
        for _ in 0..<count {
            let request = readRequest(&reader, base: base)
            // A lane has one receive buffer: the second of two requests would be written over the first.
            requests.append(requests.first { $0.lane == request.lane } ?? request)
        }
        return .requests(requests)
    }
}

private func readRequest(_ reader: inout InputReader, base: UInt64) -> (lane: Int, bytes: [UInt8]) {
    let shape = reader.byte()
    let lane = Int(shape) % laneCount
    let flags = UInt32(reader.byte() % 16) | (shape & 0x80 != 0 ? reader.integer(UInt32.self) : 0)
    let named = UInt32(reader.byte() % UInt8(laneCount + 1))
    // Around the region, or anywhere.
    let address =
        shape & 0x40 == 0 ? base &+ UInt64(reader.integer(UInt16.self)) &- 64 : reader.integer(UInt64.self)
    let size = shape & 0x20 == 0 ? UInt64(reader.byte()) : reader.integer(UInt64.self)
    let data = reader.bytes(
        shape & 0x10 == 0 ? Int(min(size, UInt64(inlineRoom))) : Int(reader.byte()) % (inlineRoom + 1))
    let header = PersistRequestHeader(flags: flags, lane: named, address: address, size: size)
    var bytes = withUnsafeBytes(of: header) { Array($0) }
    if flags & 3 == 2 || shape & 0x10 != 0 { bytes += data }
    if shape & 0x1c == 0x1c { bytes.removeLast(bytes.count - Int(reader.byte()) % 24) }
    return (lane, bytes)
}

/// What the worker must do, in the order of the script.
private struct LaneModel {
    let base: UInt64
    var contents = [UInt8](repeating: 0, count: regionSize)
    /// The lane numbers of the requests that are valid, by the lane that they came on.
    var valid = [Set<UInt32>](repeating: [], count: laneCount)
    var answered = [[UInt32]](repeating: [], count: laneCount)
    var closed: Set<Int> = []
    var end = "\(WorkerEnd.stopped)"
    private var isOver = false

    init(base: UInt64) { self.base = base }

    mutating func take(_ step: ScriptedFabric.Step) {
        if case .requests(let requests) = step, isOver { noteValid(requests) }
        if isOver { return }
        switch step {
        case .requests(let requests): take(requests)
        case .result(let result):
            // FI_EAVAIL without an error behind it.
            let ignored = [-Int(FI_EAGAIN), -Int(FI_EINTR), -Int(FI_ECANCELED), -Int(FI_EAVAIL)]
            if !ignored.contains(result) {
                stop(.fabricFailed(FabricError(.readCompletionQueue, code: Int32(-result))))
            }
        case .failedOperation(nil, let code):
            stop(.fabricFailed(FabricError(.completion, code: code)))
        case .failedOperation(let lane?, let code):
            closed.insert(lane)
            if code == Int32(FI_ETRUNC) || code == FI_EMSGSIZE { stop(.oversizedRequest(lane: lane)) }
        case .signOfLife(let code):
            if let code, code != FI_ECANCELED { stop(.peerUnreachable(FabricError(.completion, code: code))) }
        }
    }

    private mutating func take(_ requests: [(lane: Int, bytes: [UInt8])]) {
        var batch: [(lane: Int, named: UInt32)] = []
        for (lane, bytes) in requests {
            if closed.contains(lane) || batch.contains(where: { $0.lane == lane }) {
                return stop(.overlappingRequest(lane: lane))
            }
            let header = header(bytes)
            if let error = violation(
                header, bytes.count, base, UInt64(regionSize), UInt32(laneCount), UInt64(inlineRoom))
            {
                return stop(.violation(lane: lane, error, header, receivedBytes: bytes.count))
            }
            if header.flags & 3 == 2, header.size > 0 {
                let start = Int(header.address - base)
                contents.replaceSubrange(start..<start + Int(header.size), with: bytes[24...])
            }
            batch.append((lane, header.lane))
        }
        for (lane, named) in batch {
            valid[lane].insert(named)
            answered[lane].append(named)
        }
    }

    /// Where answers are delayed, a request may be served that the model takes for one too many.
    private mutating func noteValid(_ requests: [(lane: Int, bytes: [UInt8])]) {
        for (lane, bytes) in requests { valid[lane].insert(header(bytes).lane) }
    }

    /// Zeros where a request is shorter.
    private func header(_ bytes: [UInt8]) -> PersistRequestHeader {
        guard bytes.count >= 24 else { return PersistRequestHeader(flags: 0, lane: 0, address: 0, size: 0) }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: PersistRequestHeader.self) }
    }

    private mutating func stop(_ reason: WorkerEnd) {
        isOver = true
        end = "\(reason)"
    }
}

/// A pool of memory. It is the same for all inputs, since to map one takes longer than to serve a script.
private final class MemoryPool: Sendable {
    static let shared = MemoryPool()

    let mapping: Mapping
    private static let size = 64 << 10
    private static let pattern: Int32 = 0xa5

    private init?() {
        let number = memfd_create("fuzz-pool", UInt32(MFD_CLOEXEC))
        guard number >= 0, ftruncate(number, off_t(Self.size)) == 0 else { return nil }
        defer { close(number) }
        guard let mapping = try? Mapping([Segment(descriptor: number, offset: 0, length: Self.size, path: "fuzz pool")])
        else { return nil }
        self.mapping = mapping
    }

    var base: UInt64 { UInt64(UInt(bitPattern: mapping.base)) }

    /// Zeros in the region, a pattern beside it.
    func clear() {
        memset(mapping.base, Self.pattern, Self.size)
        memset(mapping.base + regionOffset, 0, regionSize)
    }

    func region(_ offset: Int, _ size: Int) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: mapping.base + offset, count: size))
    }

    func isUntouchedBeside(region: Range<Int>) -> Bool {
        let all = UnsafeRawBufferPointer(start: mapping.base, count: Self.size)
        return all[..<region.lowerBound].allSatisfy { $0 == UInt8(Self.pattern) }
            && all[region.upperBound...].allSatisfy { $0 == UInt8(Self.pattern) }
    }
}
