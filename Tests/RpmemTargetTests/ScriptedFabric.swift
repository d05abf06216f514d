import CFabric
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport

@testable import RpmemTarget

/// A completion queue and endpoints with results that a test scripts, through libfabric's function tables. It is for results that
/// real providers return too seldom. One thread uses it.
final class ScriptedFabric {
    /// What one read of the queue returns.
    enum Step {
        case requests([(lane: Int, bytes: [UInt8])])
        /// A negated code.
        case result(Int)
        /// FI_EAVAIL, and this error behind it, with the context of a lane or none.
        case failedOperation(lane: Int?, code: Int32)
        /// The probe completes, or fails with this code: FI_EAVAIL, and the error behind it.
        case signOfLife(code: Int32?)
    }

    var steps: [Step]
    /// Results of the next receives and answers posted; 0 when there are no more.
    var receiveResults: [Int] = []
    var answerResults: [Int] = []
    /// The lane numbers in the answers, and the endpoints that sent them, in order.
    private(set) var answers: [(lane: UInt32, onEndpoint: Int)] = []
    private(set) var receives = 0
    var onAnswer: (() -> Void)?

    let lanes: UnsafeMutablePointer<TargetLane>
    let laneCount: Int
    let requestCapacity: Int
    private let buffers: UnsafeMutableRawPointer
    private let queue = UnsafeMutablePointer<fid_cq>.allocate(capacity: 1)
    private let queueOperations = UnsafeMutablePointer<fi_ops_cq>.allocate(capacity: 1)
    private let endpoints: UnsafeMutablePointer<fid_ep>
    private let messageOperations = UnsafeMutablePointer<fi_ops_msg>.allocate(capacity: 1)
    /// Set by the loop for each lane that has ended.
    let ended: UnsafeMutablePointer<Atomic<Bool>>
    var endedLanes: [Int] { (0..<laneCount).filter { ended[$0].load(ordering: .relaxed) } }
    /// Awaited from the start.
    let probe = PeerProbe(timeout: 1)
    /// Beginnings and ends of batches.
    var roundCount: UInt64 { rounds.pointee.load(ordering: .relaxed) }
    private let rounds = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: 1)
    /// What was answered, as the loop has counted it.
    var totals: PersistTotals { counts.pointee.totals }
    /// How long some of it took.
    var times: PersistTimeTotals {
        PersistTimeTotals {
            UnsafeRawPointer(counts).load(fromByteOffset: SessionRecord.Layout.times + $0 * 8, as: UInt64.self)
        }
    }
    /// When the loop last answered, as it has noted it.
    var lastAnswer: UInt64 {
        UnsafeRawPointer(counts).load(fromByteOffset: SessionRecord.Layout.lastAnswer, as: UInt64.self)
    }
    private let counts = UnsafeMutablePointer<PersistCounts>.allocate(capacity: 1)
    /// The clock for answers that wait for room.
    @TaskLocal static var roomTimes = RoomTimes()
    private static var roomTime: UInt64 { roomTimes.next() }
    private let stop = UnsafeMutablePointer<Atomic<Bool>>.allocate(capacity: 1)
    private var pendingError: (context: UnsafeMutableRawPointer?, code: Int32)?

    init(lanes count: Int, inlineCapacity: Int = 64, _ steps: [Step]) {
        self.steps = steps
        laneCount = count
        requestCapacity = PersistRequestHeader.byteCount + inlineCapacity
        buffers = .allocate(byteCount: count * (requestCapacity + 64), alignment: 64)
        lanes = .allocate(capacity: count)
        endpoints = .allocate(capacity: count)
        ended = .allocate(capacity: count)
        for lane in 0..<count { (ended + lane).initialize(to: Atomic(false)) }
        stop.initialize(to: Atomic(false))
        rounds.initialize(to: Atomic(0))
        counts.initialize(to: PersistCounts())
        probe.signOfLife.pointee.isAwaited.store(true, ordering: .relaxed)
        queueOperations.initialize(to: fi_ops_cq())
        messageOperations.initialize(to: fi_ops_msg())
        queue.initialize(to: fid_cq())
        let me = Unmanaged.passUnretained(self).toOpaque()
        queue.pointee.fid.context = me
        queue.pointee.ops = queueOperations
        queueOperations.pointee.read = { queue, buffer, count in ScriptedFabric.of(queue!).read(buffer!, count) }
        queueOperations.pointee.sread = { queue, buffer, count, _, _ in ScriptedFabric.of(queue!).read(buffer!, count) }
        queueOperations.pointee.readerr = { queue, entry, _ in ScriptedFabric.of(queue!).readError(entry!) }
        queueOperations.pointee.strerror = { _, _, _, _, _ in nil }
        messageOperations.pointee.recv = { endpoint, _, _, _, _, _ in
            let fabric = ScriptedFabric.of(endpoint!)
            let result = fabric.receiveResults.isEmpty ? 0 : fabric.receiveResults.removeFirst()
            if result == 0 { fabric.receives += 1 }
            return result
        }
        messageOperations.pointee.inject = { endpoint, buffer, _, _ in
            ScriptedFabric.of(endpoint!).answer(endpoint!, buffer!)
        }
        messageOperations.pointee.send = { endpoint, buffer, _, _, _, _ in
            ScriptedFabric.of(endpoint!).answer(endpoint!, buffer!)
        }
        for index in 0..<count {
            let start = buffers + index * (requestCapacity + 64)
            (lanes + index).initialize(to: TargetLane(request: start, answer: start + requestCapacity))
            (endpoints + index).initialize(to: fid_ep())
            endpoints[index].fid.context = me
            endpoints[index].msg = messageOperations
            lanes[index].endpoint = endpoints + index
        }
    }

    deinit {
        buffers.deallocate()
        lanes.deallocate()
        endpoints.deallocate()
        ended.deinitialize(count: laneCount)
        ended.deallocate()
        queue.deallocate()
        queueOperations.deallocate()
        messageOperations.deallocate()
        rounds.deinitialize(count: 1)
        rounds.deallocate()
        stop.deinitialize(count: 1)
        stop.deallocate()
        counts.deinitialize(count: 1)
        counts.deallocate()
    }

    /// Serves the script on this thread; the loop is told to stop at its end.
    func serve(
        _ persister: Persister, base: UInt64, size: UInt64, injects: Bool = true, pollNanoseconds: UInt64 = 0,
        writesByDevice: Bool = false
    ) -> WorkerEnd {
        var context = PersistContext(
            regionBase: base, regionSize: size, persister: persister, lanes: lanes, laneCount: laneCount,
            requestCapacity: requestCapacity, messageDescriptor: nil, pollNanoseconds: pollNanoseconds,
            injects: injects, writesByDevice: writesByDevice, ended: ended, endSignal: -1, signOfLife: probe.signOfLife)
        context.roomClock = { ScriptedFabric.roomTime }
        var loop = PersistLoop(context, queue: queue, stop: stop, rounds: rounds, counts: counts)
        return loop.run()
    }

    private static func of(_ queue: UnsafeMutablePointer<fid_cq>) -> ScriptedFabric {
        Unmanaged.fromOpaque(queue.pointee.fid.context!).takeUnretainedValue()
    }

    private static func of(_ endpoint: UnsafeMutablePointer<fid_ep>) -> ScriptedFabric {
        Unmanaged.fromOpaque(endpoint.pointee.fid.context!).takeUnretainedValue()
    }

    private func read(_ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard !steps.isEmpty else {
            stop.pointee.store(true, ordering: .relaxed)
            return -Int(FI_EAGAIN)
        }
        switch steps.removeFirst() {
        case .result(let result): return result
        case .failedOperation(let lane, let code):
            pendingError = (lane.map { UnsafeMutableRawPointer(lanes + $0) }, code)
            return -Int(FI_EAVAIL)
        case .signOfLife(let code?):
            pendingError = (UnsafeMutableRawPointer(probe.signOfLife), code)
            return -Int(FI_EAVAIL)
        case .signOfLife(nil):
            let entry = buffer.assumingMemoryBound(to: fi_cq_msg_entry.self)
            entry.pointee.op_context = UnsafeMutableRawPointer(probe.signOfLife)
            entry.pointee.flags = UInt64(FI_RMA | FI_WRITE)
            return 1
        case .requests(let requests):
            precondition(requests.count <= count)
            let entries = buffer.assumingMemoryBound(to: fi_cq_msg_entry.self)
            for (index, request) in requests.enumerated() {
                lanes[request.lane].request.copyMemory(
                    from: request.bytes, byteCount: min(request.bytes.count, requestCapacity))
                entries[index].op_context = UnsafeMutableRawPointer(lanes + request.lane)
                entries[index].flags = UInt64(FI_RECV)
                entries[index].len = request.bytes.count
            }
            return requests.count
        }
    }

    private func readError(_ entry: UnsafeMutablePointer<fi_cq_err_entry>) -> Int {
        guard let error = pendingError else { return -Int(FI_EAGAIN) }
        pendingError = nil
        entry.pointee.err = error.code
        entry.pointee.op_context = error.context
        return 1
    }

    private func answer(_ endpoint: UnsafeMutablePointer<fid_ep>, _ buffer: UnsafeRawPointer) -> Int {
        let result = answerResults.isEmpty ? 0 : answerResults.removeFirst()
        if result == 0 {
            onAnswer?()
            answers.append((buffer.loadUnaligned(as: PersistResponse.self).lane, endpoint - endpoints))
        }
        return result
    }
}

/// A clock that advances by a step at each reading.
final class RoomTimes: Sendable {
    private let step: UInt64
    private let now = Atomic<UInt64>(0)

    init(seconds: UInt64 = 0) { step = seconds * 1_000_000_000 }

    func next() -> UInt64 { now.wrappingAdd(step, ordering: .relaxed).newValue }
}

/// A persist request as it arrives.
func persistRequest(
    _ mode: PersistMode, lane: UInt32 = 0, address: UInt64, size: UInt64, flags: UInt32 = 0, data: [UInt8] = []
) -> [UInt8] {
    let header = PersistRequestHeader(flags: mode.rawValue | flags, lane: lane, address: address, size: size)
    return withUnsafeBytes(of: header) { Array($0) } + data
}
