import Glibc
import RpmemInitiator
import RpmemProtocol
import Testing

@Suite(.timeLimit(.minutes(2))) struct PoolTests {
    @Test func creatingSendsTheAttributes() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let attributes = PoolAttributes(signature: SIMD8(repeating: 7), major: 3, poolsetUUID: .random())
        let pool = try InitiatorPool.create(
            target: try TargetAddress("127.0.0.1"), poolSet: "sub/a.set", memory: memory.bytes, lanes: 1,
            attributes: attributes, options: target.options)
        #expect(pool.attributes == attributes)
        guard case .create(let request, let sent)? = target.seen.requests.first else {
            Issue.record("no CREATE")
            return
        }
        #expect(sent == attributes)
        #expect(request.descriptor.description == "sub/a.set")
        #expect(request.provider == .sockets)
        try pool.close()
    }

    @Test(arguments: [false, true]) func closingSaysWhetherToRemove(_ removing: Bool) throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        try pool.close(removing: removing)
        #expect(target.seen.requests.last == .close(removing ? .remove : []))
        // The second close does nothing.
        try pool.close()
        #expect(target.seen.requests.count == 2)
    }

    @Test func lettingGoOfAPoolClosesIt() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        var pool: InitiatorPool? = try target.open(memory)
        #expect(pool != nil)
        pool = nil
        #expect(target.seen.requests.last == .close([]))
    }

    @Test func aClosedPoolRefusesAllCalls() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        try pool.close()
        let calls: [() throws -> Void] = [
            { try pool.persist(offset: 8192, length: 8, lane: 0) },
            { try pool.flush(offset: 8192, length: 8, lane: 0) },
            { try pool.drain(lane: 0) },
            { try pool.deepPersist(offset: 8192, length: 8, lane: 0) },
            { try pool.read(into: memory.bytes, offset: 0, lane: 0) },
            { try pool.setAttributes(.none) },
        ]
        for call in calls {
            let error = #expect(throws: InitiatorError.self) { try call() }
            #expect(error?.errno == EBADF)
        }
    }

    @Test func aRefusalOfCloseIsReported() throws {
        let target = try FakeTarget { $0.closeStatus = .fatal }
        let memory = PoolPages()
        let pool = try target.open(memory)
        let error = #expect(throws: InitiatorError.self) { try pool.close() }
        #expect(error?.errno == EREMOTEIO)
    }

    @Test func attributesAreReplaced() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        let attributes = PoolAttributes(signature: SIMD8(repeating: 9))
        for _ in 0..<50 {
            try pool.setAttributes(attributes)
            try pool.persist(offset: 8192, length: 8, lane: 0)
        }
        #expect(target.seen.requests.filter { $0 == .setAttributes(attributes) }.count == 50)
        try pool.close()
    }

    @Test func refusedAttributesLeaveThePoolOpen() throws {
        let target = try FakeTarget { $0.setAttributesStatus = .badPoolConfiguration }
        let memory = PoolPages()
        let pool = try target.open(memory)
        let error = #expect(throws: InitiatorError.self) { try pool.setAttributes(.none) }
        #expect(error?.errno == EINVAL)
        try pool.persist(offset: 8192, length: 8, lane: 0)
        try pool.close()
    }

    // MARK: Arguments

    @Test(arguments: [
        (-1, 8), (8192, -1), (4095, 1), (0, 1), ((4 << 20) - 8, 9), (4 << 20, 1), (.max, 1), (8192, .max), (.min, .min),
        (.max, .max),
    ]) func rangesOutsideThePoolAreRefused(_ offset: Int, length: Int) throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        let calls: [() throws -> Void] = [
            { try pool.persist(offset: offset, length: length, lane: 0) },
            { try pool.persist(offset: offset, length: length, lane: 0, mode: .relaxed) },
            { try pool.flush(offset: offset, length: length, lane: 0) },
            { try pool.deepPersist(offset: offset, length: length, lane: 0) },
        ]
        for call in calls {
            let error = #expect(throws: InitiatorError.self) { try call() }
            #expect(error?.errno == EINVAL)
        }
        // The pool works after refused arguments.
        try pool.persist(offset: 4096, length: (4 << 20) - 4096, lane: 0, mode: .relaxed)
        try pool.persist(offset: 4 << 20, length: 0, lane: 0)
        #expect(target.seen.persists.count == 1)
        try pool.close()
    }

    @Test(arguments: [-1, 2, .max, .min]) func lanesThatAreNotThereAreRefused(_ lane: Int) throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        let calls: [() throws -> Void] = [
            { try pool.persist(offset: 8192, length: 8, lane: lane) },
            { try pool.flush(offset: 8192, length: 8, lane: lane) },
            { try pool.drain(lane: lane) },
            { try pool.deepPersist(offset: 8192, length: 8, lane: lane) },
            { try pool.read(into: memory.bytes, offset: 0, lane: lane) },
        ]
        for call in calls {
            let error = #expect(throws: InitiatorError.self) { try call() }
            #expect(error?.errno == EINVAL)
        }
        try pool.close()
    }

    @Test func theHeaderMayBeRead() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        target.memory.bytes[3] = 77
        let copy = PoolPages(byteCount: 4096)
        try pool.read(into: copy.bytes, offset: 0, lane: 0)
        #expect(copy.bytes[3] == 77)
        let error = #expect(throws: InitiatorError.self) {
            try pool.read(into: copy.bytes, offset: (4 << 20) - 4095, lane: 0)
        }
        #expect(error?.errno == EINVAL)
        try pool.close()
    }

    @Test func withoutHeadersThePoolStartsAtZero() throws {
        let target = try FakeTarget { $0.attributes = .none }
        let memory = PoolPages()
        let pool = try target.open(memory)
        memory.fill(0, 4096, seed: 1)
        try pool.persist(offset: 0, length: 4096, lane: 0)
        #expect(target.durable.equals(memory, 0, 4096))
        try pool.close()
    }

    @Test func memoryThatIsNotWholePagesIsRefused() throws {
        let memory = PoolPages(byteCount: 16384)
        let pieces = [
            UnsafeMutableRawBufferPointer(start: nil, count: 0),
            UnsafeMutableRawBufferPointer(rebasing: memory.bytes[4096..<4096]),
            UnsafeMutableRawBufferPointer(rebasing: memory.bytes[64..<4160]),
            UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<5000]),
        ]
        for piece in pieces {
            let error = #expect(throws: InitiatorError.self) {
                _ = try InitiatorPool.open(
                    target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: piece, lanes: 1,
                    options: .forTests(command: "exit 1"))
            }
            #expect(error?.errno == EINVAL)
        }
    }

    @Test(arguments: ["", "/etc/passwd", "../a.set", "a/../../b", "a\0b"])
    func poolSetsThatNoTargetWouldTakeAreRefusedHere(_ name: String) throws {
        let memory = PoolPages(byteCount: 4096)
        let error = #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.open(
                target: try TargetAddress("127.0.0.1"), poolSet: name, memory: memory.bytes, lanes: 1,
                options: .forTests(command: "exit 1"))
        }
        #expect(error?.errno == EINVAL)
    }

    @Test func noLaneIsTooFew() throws {
        let memory = PoolPages(byteCount: 4096)
        let error = #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.open(
                target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 0,
                options: .forTests(command: "exit 1"))
        }
        #expect(error?.errno == EINVAL)
    }
}
