import CFabric
import Fabric
import PoolSets
import RpmemProtocol
import SystemSupport

/// Why CREATE, OPEN or SET_ATTR was not done: the status that the initiator gets and the reason that the log gets.
struct Refusal: Error {
    let status: Status
    let reason: String

    init(_ status: Status, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    /// The one place where what libfabric says becomes a status.
    ///
    /// - Parameter poolSize: Bytes that were to be registered.
    init(_ error: FabricError, provider: Provider, poolSize: Int) {
        if provider == .verbs, let refusal = Self.verbs(error, poolSize: poolSize) {
            self = refusal
            return
        }
        switch error.code {
        case Int32(FI_ENODATA), Int32(FI_ENOSYS), Int32(FI_ENOPROTOOPT):
            self.init(
                .providerNotSupported,
                "libfabric has no provider \(provider.name) here: \(error): `fi_info -p \(provider.name) -t FI_EP_MSG` shows "
                    + "what there is, in-band-address selects another network")
        case Int32(FI_EACCES), Int32(FI_EPERM):
            self.init(.noAccess, "in-band connection: \(error)")
        default:
            switch error.operation {
            case "fi_listen", "fi_passive_ep", "fi_pep_bind", "fi_getname", "fi_accept":
                self.init(.fatalConnection, "in-band connection: \(error): see in-band-address and port-range")
            default:
                self.init(.fatal, "in-band connection: \(error)")
            }
        }
    }

    /// What RDMA devices and the kernel's ways with them are behind.
    private static func verbs(_ error: FabricError, poolSize: Int) -> Refusal? {
        switch (error.operation, error.code) {
        case ("fi_getinfo", Int32(FI_ENODATA)):
            // libfabric tries a queue pair on each device, which takes locked memory, too.
            let limit = LockedMemory.limit.map {
                $0 < 1 << 20 ? "; this session may lock \($0) bytes only (ulimit -l)" : ""
            }
            return Refusal(
                .providerNotSupported,
                "no provider verbs, since no RDMA device has the address for lanes: \(error): `fi_info -p verbs` shows what there "
                    + "is, in-band-address selects another\(limit ?? "")")
        case ("on-demand paging", _):
            return Refusal(
                .providerNotSupported,
                "verbs-odp = yes: \(error): use an adapter with on-demand paging, or verbs-odp = no, which has the pool "
                    + "pinned")
        case ("fi_mr_reg", Int32(FI_ENOMEM)):
            return Refusal(.fatal, "the pool cannot be pinned: \(error): \(LockedMemory.advice(for: poolSize))")
        case ("fi_mr_reg", Int32(FI_EOPNOTSUPP)), ("fi_mr_reg", Int32(FI_EFAULT)), ("fi_mr_reg", Int32(FI_EINVAL)):
            return Refusal(
                .fatal,
                "the kernel pins no files on DAX file systems (since Linux 6.5, nor on disks): \(error): use Device DAX, or "
                    + "verbs-odp = auto and a device that can"
            )
        case (_, Int32(FI_ENOMEM)):
            return Refusal(.fatal, "in-band connection: \(error): \(LockedMemory.advice(for: poolSize))")
        default: return nil
        }
    }
}

extension Refusal {
    init(_ error: PoolError) {
        self.init(error.status, "\(error)")
    }
}
