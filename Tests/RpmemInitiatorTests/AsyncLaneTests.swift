import Glibc
// A user of the package imports this module alone.
import RpmemInitiator
import Synchronization
import Testing

/// Lanes in asynchronous code, and spans.
@Suite(.timeLimit(.minutes(2))) struct AsyncLaneTests {
    @Test func callsRunOnTheLanesOwnThread() async throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        let lane = try AsyncLane(1, of: pool)
        memory.fill(8192, 20_000, seed: 1)
        try await lane.persist(offset: 8192, length: 20_000)
        try await lane.flush(offset: 8192, length: 64, mode: .relaxed)
        try await lane.drain()
        try await lane.deepPersist(offset: 8192, length: 64)
        let copy = try await lane.read(offset: 8192, length: 20_000)
        #expect(copy.elementsEqual(memory.bytes[8192..<8192 + 20_000]))
        #expect(await lane.threadName() == "rpmem-lane-1")
        try pool.close()
    }

    /// Each lane has a thread, so calls that wait take none of the threads of other tasks.
    @Test func callsThatWaitLeaveOtherTasksTheirThreads() async throws {
        let lanes = 16
        let target = try FakeTarget { $0.reaction = { _ in .ignore } }
        let memory = PoolPages()
        let pool = try target.open(lanes: lanes, memory)
        let waiting = try (0..<lanes).map { try AsyncLane($0, of: pool) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in waiting {
                group.addTask {
                    do throws(InitiatorError) {
                        try await lane.persist(offset: 8192, length: 8)
                        Issue.record("persisted without an answer")
                    } catch {
                        #expect(error.errno == EBADF)
                    }
                }
            }
            // This task runs while every lane waits, and ends their waits.
            while target.seen.persists.count < lanes { try await Task.sleep(for: .milliseconds(1)) }
            try pool.close()
            try await group.waitForAll()
        }
    }

    @Test func tasksTakeTurnsOnOneLane() async throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        let lane = try AsyncLane(0, of: pool)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<50 {
                group.addTask { try await lane.persist(offset: 8192 + 64 * index, length: 64) }
            }
            try await group.waitForAll()
        }
        #expect(target.seen.persists.count == 50)
        try pool.close()
    }

    @Test(arguments: [-1, 1, .max]) func aLaneThatDoesNotExistIsRefused(_ number: Int) throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        let error = #expect(throws: InitiatorError.self) { _ = try AsyncLane(number, of: pool) }
        #expect(error?.errno == EINVAL)
        try pool.close()
    }

    @Test(arguments: [(0, -1), (0, 4 << 20 + 1), (4096, 4 << 20), (-1, 8)])
    func aRangeOutsideThePoolIsNotRead(_ offset: Int, length: Int) async throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        let lane = try AsyncLane(0, of: pool)
        let error = await #expect(throws: InitiatorError.self) {
            _ = try await lane.read(offset: offset, length: length)
        }
        #expect(error?.errno == EINVAL)
        try pool.close()
    }

    @Test func aSpanIsReadInto() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        target.memory.fill(8192, 100, seed: 3)
        var copy = [UInt8](repeating: 0, count: 100)
        var span = copy.mutableSpan
        var bytes = span.mutableBytes
        try pool.read(into: &bytes, offset: 8192, lane: 0)
        #expect(copy.elementsEqual(target.memory.bytes[8192..<8292]))
        try pool.close()
    }

    /// The types of the public interface need no other import.
    @Test func oneImportIsEnough() {
        let attributes = PoolAttributes(signature: SIMD8(repeating: 1), uuid: .random())
        #expect(!attributes.isNone)
        #expect(Provider.tcp.name == "tcp")
        #expect(PersistMethod.allCases.count == 2)
        let error: InitiatorError = .fabric(step: "a step", FabricError(.connect, code: ECONNREFUSED))
        #expect(error.errno == ECONNREFUSED)
        let system: InitiatorError = .system(SystemCallError("poll", errno: .noMemory))
        #expect(system.errno == ENOMEM)
        #expect(InitiatorError.refused(request: "OPEN", Status.busy, targetLines: []).errno == EBUSY)
    }
}

extension AsyncLane {
    fileprivate func threadName() -> String {
        let file = open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC)
        defer { close(file) }
        var name = [UInt8](repeating: 0, count: 16)
        let count = Glibc.read(file, &name, name.count)
        return String(decoding: name.prefix(max(0, count - 1)), as: UTF8.self)
    }
}
