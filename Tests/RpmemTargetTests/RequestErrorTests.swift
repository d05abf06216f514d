import CFabric
import Fabric
import PoolSets
import RpmemProtocol
import SystemSupport
import Testing

@testable import RpmemTarget

/// The status that an initiator gets for an error of the fabric or the pool.
@Suite struct RequestErrorTests {
    @Test(
        arguments: [
            (FabricOperation.getInfo, Int32(FI_ENODATA), Status.providerNotSupported),
            (.loadLibrary, Int32(FI_ENOSYS), .providerNotSupported),
            (.registerMemory, Int32(FI_EACCES), .noAccess),
            (.openDomain, Int32(FI_EPERM), .noAccess),
            (.listen, Int32(FI_EADDRINUSE), .fatalConnection),
            (.openPassiveEndpoint, Int32(FI_EADDRNOTAVAIL), .fatalConnection),
            (.getName, Int32(FI_EADDRNOTAVAIL), .fatalConnection),
            (.registerMemory, Int32(FI_ENOMEM), .fatal),
            (.openCompletionQueue, Int32(FI_EINVAL), .fatal),
        ])
    func fabricFailuresHaveTheirStatus(operation: FabricOperation, code: Int32, status: Status) {
        let error = RequestError(FabricError(operation, code: code), provider: .sockets, poolSize: 1)
        #expect(error.status == status)
        #expect(error.reason.contains(operation.rawValue))
    }

    @Test(
        arguments: [
            (FabricOperation.getInfo, Int32(FI_ENODATA), Status.providerNotSupported, "in-band-address"),
            (.onDemandPaging, Int32(FI_EOPNOTSUPP), .providerNotSupported, "verbs-odp = yes"),
            (.registerMemory, Int32(FI_ENOMEM), .fatal, "the pool has 4096 bytes"),
            (.openEndpoint, Int32(FI_ENOMEM), .fatal, "the pool has 4096 bytes"),
            (.registerMemory, Int32(FI_EOPNOTSUPP), .fatal, "verbs-odp = auto"),
            (.registerMemory, Int32(FI_EFAULT), .fatal, "since Linux 6.5"),
            (.listen, Int32(FI_EADDRINUSE), .fatalConnection, "port-range"),
        ])
    func whatRDMANeedsIsSaid(operation: FabricOperation, code: Int32, status: Status, remedy: String) {
        let error = RequestError(
            FabricError(operation, code: code, detail: "mlx5_0"), provider: .verbs, poolSize: 4096)
        #expect(error.status == status)
        #expect(error.reason.contains(remedy))
        #expect(error.reason.contains("mlx5_0"))
    }

    @Test func poolFailuresKeepTheirStatusAndWords() {
        let poolError = PoolError.busy(path: "/srv/parts/a", holder: nil)
        let error = RequestError(poolError)
        #expect(error.status == .busy)
        #expect(error.reason == "\(poolError)")
    }
}
