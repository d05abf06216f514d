import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import Testing

/// Answers that belong to no request of their lane.
@Suite(.timeLimit(.minutes(2))) struct AnswerTests {
    @Test(arguments: loopbackProviders) func anAnswerForAnotherLaneIsAViolation(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.reaction = { $0 == 1 ? .answerForAnotherLane : .answer }
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        try pool.persist(offset: 8192, length: 8, lane: 0)
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        #expect(error?.errno == EPROTO)
        #expect(error?.description.contains("lane 0") == true)
        #expect(error?.description.contains("lane 1") == true)
        // The whole pool has failed, its other lanes too.
        let later = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 1) }
        #expect(later?.errno == EPROTO)
        try? pool.close()
    }

    /// Without the check, the extra answer would count as the answer to the next request.
    @Test(arguments: Variant.all) func anAnswerThatNoRequestWaitsForIsAViolation(_ variant: Variant) throws {
        let target = try FakeTarget {
            ($0.provider, $0.method) = (variant.provider, variant.method)
            $0.reaction = { $0 == 0 ? .answerTwice : .answer }
        }
        let memory = PoolPages()
        let pool = try target.open(memory)
        defer { try? pool.close() }
        // With the Appliance Persistency Method over sockets, the initiator sends no persist request.
        if variant.provider == .sockets, variant.method == .apm { return }
        // The extra answer takes a moment to arrive.
        let deadline = Deadline.after(milliseconds: 20_000)
        while !deadline.hasPassed {
            do throws(InitiatorError) { try pool.persist(offset: 8192, length: 8, lane: 0) } catch {
                #expect(error.errno == EPROTO)
                #expect(error.description.contains("no request"))
                return
            }
            usleep(1000)
        }
        Issue.record("the extra answer went unnoticed")
    }
}
