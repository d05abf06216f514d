import CFabric
import Fabric
import PoolSets
import RpmemProtocol
import SystemSupport
import Testing

@testable import RpmemTarget

/// What went wrong, and the status that an initiator gets for it.
@Suite struct RefusalTests {
    @Test(
        arguments: [
            ("fi_getinfo", Int32(FI_ENODATA), Status.providerNotSupported),
            ("loading libfabric.so.1", Int32(FI_ENOSYS), .providerNotSupported),
            ("fi_mr_reg", Int32(FI_EACCES), .noAccess),
            ("fi_domain", Int32(FI_EPERM), .noAccess),
            ("fi_listen", Int32(FI_EADDRINUSE), .fatalConnection),
            ("fi_passive_ep", Int32(FI_EADDRNOTAVAIL), .fatalConnection),
            ("fi_getname", Int32(FI_EADDRNOTAVAIL), .fatalConnection),
            ("fi_mr_reg", Int32(FI_ENOMEM), .fatal),
            ("fi_cq_open", Int32(FI_EINVAL), .fatal),
        ])
    func fabricFailuresHaveTheirStatus(operation: String, code: Int32, status: Status) {
        let refusal = Refusal(FabricError(operation, code: code), provider: .sockets, poolSize: 1)
        #expect(refusal.status == status)
        #expect(refusal.reason.contains(operation))
    }

    @Test(
        arguments: [
            ("fi_getinfo", Int32(FI_ENODATA), Status.providerNotSupported, "in-band-address"),
            ("on-demand paging", Int32(FI_EOPNOTSUPP), .providerNotSupported, "verbs-odp = yes"),
            ("fi_mr_reg", Int32(FI_ENOMEM), .fatal, "the pool has 4096 bytes"),
            ("fi_endpoint", Int32(FI_ENOMEM), .fatal, "the pool has 4096 bytes"),
            ("fi_mr_reg", Int32(FI_EOPNOTSUPP), .fatal, "verbs-odp = auto"),
            ("fi_mr_reg", Int32(FI_EFAULT), .fatal, "since Linux 6.5"),
            ("fi_listen", Int32(FI_EADDRINUSE), .fatalConnection, "port-range"),
        ])
    func whatRDMANeedsIsSaid(operation: String, code: Int32, status: Status, remedy: String) {
        let refusal = Refusal(
            FabricError(operation, code: code, detail: "mlx5_0"), provider: .verbs, poolSize: 4096)
        #expect(refusal.status == status)
        #expect(refusal.reason.contains(remedy))
        #expect(refusal.reason.contains("mlx5_0"))
    }

    @Test func poolFailuresKeepTheirStatusAndWords() {
        let error = PoolError.busy(path: "/srv/parts/a", holder: nil)
        let refusal = Refusal(error)
        #expect(refusal.status == .busy)
        #expect(refusal.reason == "\(error)")
    }
}
