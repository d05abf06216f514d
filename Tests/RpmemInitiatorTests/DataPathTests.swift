import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import Testing

import class TestSupport.Threads

/// A provider and a persistency method.
struct Variant: CustomTestStringConvertible, Sendable {
    let provider: Provider
    let method: PersistMethod
    var testDescription: String { "\(provider) \(method)" }

    static let all = [
        Variant(provider: .sockets, method: .gpspm), Variant(provider: .sockets, method: .apm),
        Variant(provider: .tcp, method: .gpspm), Variant(provider: .tcp, method: .apm),
    ]
}

extension FakeTarget {
    func open(lanes: Int = 1, _ memory: PoolPages, _ change: (inout InitiatorOptions) -> Void = { _ in }) throws
        -> InitiatorPool
    {
        var options = options
        change(&options)
        return try InitiatorPool.open(
            target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: lanes,
            options: options)
    }
}

extension PoolPages {
    func fill(_ offset: Int, _ length: Int, seed: Int) {
        for index in offset..<offset + length { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ seed) | 1 }
    }

    func equals(_ other: PoolPages, _ offset: Int, _ length: Int) -> Bool {
        memcmp(bytes.baseAddress! + offset, other.bytes.baseAddress! + offset, length) == 0
    }
}

@Suite(.timeLimit(.minutes(2))) struct DataPathTests {
    @Test(arguments: Variant.all, [1, 4])
    func whatIsPersistedArrives(_ variant: Variant, lanes: Int) throws {
        let target = try FakeTarget { ($0.provider, $0.method) = (variant.provider, variant.method) }
        let memory = PoolPages()
        let pool = try target.open(lanes: lanes, memory)
        #expect(pool.lanes == lanes)
        #expect(pool.provider == variant.provider)
        #expect(pool.persistMethod == variant.method)
        #expect(pool.attributes == target.behaviour.attributes)
        let share = (memory.bytes.count - 8192) / lanes
        let threads = Threads<Void>()
        for lane in 0..<lanes {
            try threads.start("lane \(lane)") { try exercise(pool, memory, lane: lane, from: 8192 + lane * share) }
        }
        _ = try threads.join()
        #expect(target.memory.equals(memory, 0, memory.bytes.count))
        // With APM the initiator sends no persist request.
        if variant.method == .gpspm { #expect(target.durable.equals(memory, 0, memory.bytes.count)) }
        try pool.close()
        #expect(target.seen.violations == [])
    }

    /// All operations of a lane, on about 512 KiB from `start`.
    private func exercise(_ pool: InitiatorPool, _ memory: PoolPages, lane: Int, from start: Int) throws {
        func change(_ offset: Int, _ length: Int) { memory.fill(start + offset, length, seed: lane &+ offset) }
        change(0, 64)
        try pool.persist(offset: start, length: 64, lane: lane)
        change(100, 20001)
        try pool.persist(offset: start + 100, length: 20001, lane: lane, mode: .atomic)
        change(30_000, 50_000)
        try pool.persist(offset: start + 30_000, length: 50_000, lane: lane, mode: .relaxed)
        // More WRITEs than the work queue holds, and more ranges than a lane remembers.
        for index in 0..<150 {
            change(100_000 + index * 5000, 100)
            try pool.flush(
                offset: start + 100_000 + index * 5000, length: 100, lane: lane,
                mode: index % 10 == 0 ? .atomic : .relaxed)
        }
        try pool.drain(lane: lane)
        change(90_000, 10)
        try pool.deepPersist(offset: start + 90_000, length: 10, lane: lane)
        try pool.drain(lane: lane)

        for length in [1, 8192, 8193, 700_000] {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 1)
            defer { copy.deallocate() }
            try pool.read(into: copy, offset: start, lane: lane)
            if memcmp(copy.baseAddress!, memory.bytes.baseAddress! + start, length) != 0 { throw Difference(length) }
        }
    }

    struct Difference: Error {
        let length: Int
        init(_ length: Int) { self.length = length }
    }

    /// The calls and requests of `docs/protocol.md`, section 4.5 (Persistency methods and calls), as the target receives them.
    @Test(arguments: Variant.all) func eachCallIsWhatTheTableSays(_ variant: Variant) throws {
        let target = try FakeTarget { ($0.provider, $0.method) = (variant.provider, variant.method) }
        let memory = PoolPages()
        let pool = try target.open(memory)
        var seen = 0
        func requests(_ body: () throws -> Void) throws -> [String] {
            try body()
            let all = target.seen.persists
            defer { seen = all.count }
            return all[seen...].map { "\($0.mode) \($0.offset) \($0.size)" }
        }
        let atomic = try requests { try pool.persist(offset: 8192, length: 2_000_000, lane: 0) }
        let relaxed = try requests { try pool.persist(offset: 8192, length: 10_000, lane: 0, mode: .relaxed) }
        let deep = try requests { try pool.deepPersist(offset: 8192, length: 10_000, lane: 0) }
        let flush = try requests { try pool.flush(offset: 8192, length: 10_000, lane: 0, mode: .relaxed) }
        let drain = try requests { try pool.drain(lane: 0) }
        let again = try requests { try pool.drain(lane: 0) }
        // With one lane, requests carry 1020 KiB.
        let inline = ["inline 8192 1044480", "inline 1052672 955520"]
        switch (variant.provider, variant.method) {
        case (.sockets, .gpspm):
            #expect(atomic == ["write 8192 2000000"])
            #expect(relaxed == ["write 8192 10000"])
            #expect(deep == ["deep 8192 10000"])
            #expect(drain == ["write 8192 10000"])
        case (.sockets, .apm):
            #expect(atomic == [] && relaxed == [] && deep == [] && drain == [])
        case (_, .gpspm):
            #expect(atomic == inline)
            #expect(relaxed == ["write 8192 10000"])
            #expect(deep == ["deep 8192 10000"])
            #expect(drain == ["write 8192 10000"])
        case (_, .apm):
            #expect(atomic == inline)
            #expect(relaxed == [] && drain == [])
            #expect(deep == ["deep 8192 10000"])
        }
        #expect(flush == [])
        #expect(again == [])
        try pool.close()
    }

    @Test func aDrainAsksForNearRangesTogetherAndForFarOnesApart() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        for offset in [8192, 8256, 20_000, 1_000_000, 8320, 12_000] {
            try pool.flush(offset: offset, length: 64, lane: 0, mode: .relaxed)
        }
        try pool.drain(lane: 0)
        #expect(
            target.seen.persists.map { "\($0.offset) \($0.size)" } == ["8192 3872", "20000 64", "1000000 64"])
        try pool.close()
    }

    @Test func nothingIsForgottenWhenRangesAreMany() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory) { $0.workQueueSize = 1 }
        for index in 0..<300 {
            // In no order.
            let offset = 8192 + index * 7919 % 300 * 10_000
            memory.fill(offset, 100, seed: index)
            try pool.flush(offset: offset, length: 100, lane: 0, mode: .relaxed)
        }
        try pool.drain(lane: 0)
        #expect(target.durable.equals(memory, 0, memory.bytes.count))
        #expect(target.seen.persists.allSatisfy { $0.size == 100 })
        try pool.close()
    }

    @Test func lanesAreDrainedOneByOne() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        try pool.flush(offset: 8192, length: 8, lane: 0, mode: .relaxed)
        try pool.flush(offset: 16384, length: 8, lane: 1, mode: .relaxed)
        try pool.drain(lane: 1)
        #expect(target.seen.persists.map(\.offset) == [16384])
        try pool.drain(lane: 0)
        #expect(target.seen.persists.map(\.offset) == [16384, 8192])
        try pool.close()
    }

    @Test func noMoreLanesThanGranted() throws {
        let target = try FakeTarget { $0.lanesGranted = 2 }
        let memory = PoolPages()
        let pool = try target.open(lanes: 8, memory)
        #expect(pool.lanes == 2)
        try pool.close()
    }

    @Test func noMoreLanesThanAskedFor() throws {
        let target = try FakeTarget { $0.lanesGranted = 16 }
        let memory = PoolPages()
        let pool = try target.open(lanes: 8, memory) { $0.maximumLanes = 3 }
        #expect(pool.lanes == 3)
        guard case .open(let request)? = target.seen.requests.first else {
            Issue.record("no OPEN")
            return
        }
        #expect(request.laneCount == 3)
        // 8192, and the mark of the offer.
        #expect(request.inlineSize == 8233)
        #expect(request.poolSize == UInt64(memory.bytes.count))
        try pool.close()
    }
}
