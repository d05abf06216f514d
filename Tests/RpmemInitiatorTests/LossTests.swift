import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import Testing

import class TestSupport.Running
import class TestSupport.Threads

/// Targets that fail while the pool is open. Operations time out after a minute, so any other error shows that the
/// initiator has noticed the failure.
@Suite(.timeLimit(.minutes(2))) struct LossTests {
    /// Repeats the call until it fails, because the monitor notices a loss a moment later.
    private func firstError(_ body: () throws -> Void) throws -> InitiatorError {
        let deadline = Deadline.after(milliseconds: 50_000)
        while !deadline.hasPassed {
            do { try body() } catch let error as InitiatorError { return error }
            usleep(1000)
        }
        throw FakeTarget.Timeout()
    }

    private func checkLost(_ error: InitiatorError?) {
        guard case .lost? = error else {
            Issue.record("not lost: \(String(describing: error))")
            return
        }
        #expect(error?.errno == ECONNRESET)
    }

    @Test(arguments: loopbackProviders) func noAnswerTimesOut(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.reaction = { $0 == 1 ? .ignore : .answer }
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory) { $0.operationTimeout = .milliseconds(100) }
        try pool.persist(offset: 8192, length: 8, lane: 0)
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        #expect(error?.errno == ETIMEDOUT)
        // From now on all calls fail with the same error, on other lanes too.
        for call in [
            { try pool.persist(offset: 8192, length: 8, lane: 1) }, { try pool.drain(lane: 0) },
            { try pool.setAttributes(.none) }, { try pool.close() },
        ] {
            let later = #expect(throws: InitiatorError.self) { try call() }
            #expect(later?.errno == ETIMEDOUT)
        }
    }

    @Test(arguments: loopbackProviders, [FakeTarget.Reaction.endLanes, .endControl])
    func aTargetThatGoesFailsTheCallThatWaits(_ provider: Provider, reaction: FakeTarget.Reaction) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.reaction = { $0 == 3 ? reaction : .answer }
        }
        let memory = PoolPages()
        let pool = try target.open(memory)
        for _ in 0..<3 { try pool.persist(offset: 8192, length: 8, lane: 0) }
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        checkLost(error)
        checkLost(#expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) })
        checkLost(#expect(throws: InitiatorError.self) { try pool.close() })
        try pool.close()
    }

    @Test(arguments: loopbackProviders) func allLanesThatWaitFail(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.reaction = { $0 < 3 ? .ignore : .endControl }
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 4, memory)
        let threads = Threads<Void>()
        for lane in 0..<4 {
            try threads.start("lane \(lane)") {
                do { try pool.persist(offset: 8192, length: 8, lane: lane) } catch let error as InitiatorError {
                    guard error.errno == ECONNRESET else { throw error }
                    return
                }
                throw FakeTarget.Timeout()
            }
        }
        _ = try threads.join()
        checkLost(#expect(throws: InitiatorError.self) { try pool.close() })
    }

    @Test(arguments: loopbackProviders) func aReadThatIsNotServedFails(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.reaction = { _ in .endLanes }
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        checkLost(#expect(throws: InitiatorError.self) { try pool.read(into: memory.bytes, offset: 0, lane: 1) })
        try? pool.close()
    }

    @Test func aStrayByteIsFatal() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        try pool.persist(offset: 8192, length: 8, lane: 0)
        target.sendStrayByte()
        let error = try firstError { try pool.persist(offset: 8192, length: 8, lane: 0) }
        checkLost(error)
        #expect(error.description.contains("127.0.0.1, pool set"))
        #expect(error.description.contains("the target sent bytes without a request: !"))
        try? pool.close()
    }

    @Test func aShortAnswerIsAViolation() throws {
        let target = try FakeTarget { $0.reaction = { _ in .answerShort } }
        let memory = PoolPages()
        let pool = try target.open(memory)
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        #expect(error?.errno == EPROTO)
        try? pool.close()
    }

    @Test func twoThreadsOnOneLaneAreTold() throws {
        let target = try FakeTarget { $0.reaction = { $0 == 0 ? .ignore : .answer } }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        let waiting = try Running("lane 0") {
            do { try pool.persist(offset: 8192, length: 8, lane: 0) } catch let error as InitiatorError {
                return error.errno
            }
            return 0
        }
        try target.waitForPersists(1)
        let error = #expect(throws: InitiatorError.self) { try pool.drain(lane: 0) }
        #expect(error?.errno == EBUSY)
        // Other lanes go on.
        try pool.persist(offset: 8192, length: 8, lane: 1)
        // close() does not wait for the missing answer.
        try pool.close()
        #expect(try waiting.value() == EBADF)
    }

    @Test(arguments: loopbackProviders) func aPortWhereNobodyListensFailsAndIsUndone(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.hidesPort = true
        }
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.create(
                target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
                attributes: target.behaviour.attributes, options: target.options)
        }
        #expect(error?.errno == ECONNREFUSED)
        #expect(error?.description.contains("port 9") == true)
        #expect(target.seen.requests.last == .close(.remove))
    }

    @Test(arguments: loopbackProviders) func aLaneTurnedAwayFailsAndIsUndone(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.rejectsLane = 2
        }
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) { _ = try target.open(lanes: 4, memory) }
        #expect(error?.errno == ECONNREFUSED)
        #expect(error?.description.contains("lane 2") == true)
        #expect(target.seen.requests.last == .close([]))
    }

    @Test func aTargetThatEndsWhileLanesConnectIsNoticed() throws {
        let target = try FakeTarget { $0.endsAtLane = 1 }
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) { _ = try target.open(lanes: 4, memory) }
        checkLost(error)
        #expect(error?.description.contains("lane 1") == true)
    }

    @Test(arguments: loopbackProviders) func aLaneThatNobodyAcceptsTimesOut(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.ignoresLane = 1
        }
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) {
            _ = try target.open(lanes: 2, memory) { $0.laneTimeout = .milliseconds(200) }
        }
        #expect(error?.errno == ETIMEDOUT)
        #expect(error?.description.contains("lane 1") == true)
    }
}
