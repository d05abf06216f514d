import CFabric
import Fabric
import Glibc
import Testing

@testable import RpmemInitiator

/// What libfabric's codes for a single operation become. No provider of a machine without RDMA reports one on a lane that stands.
@Suite(.timeLimit(.minutes(2))) struct LaneErrorTests {
    private func errno(_ code: Int32) throws -> Int32? {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        defer { try? pool.close() }
        return pool.laneSet.describe(.libfabric(.completion, code), lane: 0)?.errno
    }

    @Test(arguments: [
        EACCES, EPERM, EINVAL, ENOMEM, EMSGSIZE, Int32(FI_ETRUNC), Int32(FI_EKEYREJECTED), Int32(FI_ENOKEY),
    ])
    func anOperationThatTheTargetRefuses(code: Int32) throws { #expect(try errno(code) == EREMOTEIO) }

    @Test(arguments: [EIO, ECONNRESET, ENOTCONN]) func aLostConnection(code: Int32) throws {
        #expect(try errno(code) == ECONNRESET)
    }
}
