import CFabric
import Fabric
import PoolSets
import RpmemProtocol
import SystemSupport

/// A CREATE, OPEN or SET_ATTR that failed: the status for the answer, and the reason for the log.
struct RequestError: Error {
    let status: Status
    let reason: String

    init(_ status: Status, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    /// The status for an error of libfabric.
    ///
    /// - Parameter poolSize: Bytes of the pool's memory region.
    init(_ error: FabricError, provider: Provider, poolSize: Int) {
        if provider == .verbs, let specific = Self.verbs(error, poolSize: poolSize) {
            self = specific
            return
        }
        switch error.code {
        case Int32(FI_ENODATA), Int32(FI_ENOSYS), Int32(FI_ENOPROTOOPT):
            self.init(
                .providerNotSupported,
                "libfabric has no provider \(provider.name) here: \(error): `fi_info -p \(provider.name) -t FI_EP_MSG` lists "
                    + "the networks that it has, in-band-address selects another one")
        case Int32(FI_EACCES), Int32(FI_EPERM):
            self.init(.noAccess, "in-band connection: \(error)")
        default:
            switch error.operation {
            case .listen, .openPassiveEndpoint, .bindPassiveEndpoint, .getName, .accept:
                self.init(.fatalConnection, "in-band connection: \(error): see in-band-address and port-range")
            default:
                self.init(.fatal, "in-band connection: \(error)")
            }
        }
    }

    /// Errors that have a special cause with RDMA devices, and the remedy; nil for all others.
    private static func verbs(_ error: FabricError, poolSize: Int) -> RequestError? {
        switch (error.operation, error.code) {
        case (.getInfo, Int32(FI_ENODATA)):
            // libfabric makes a queue pair on each device to try it, and that needs locked memory.
            let limit = LockedMemory.limit.map {
                $0 < 1 << 20 ? "; this session may lock \($0) bytes only (ulimit -l)" : ""
            }
            return RequestError(
                .providerNotSupported,
                "no provider verbs, since no RDMA device has the address for lanes: \(error): `fi_info -p verbs` lists the devices "
                    + "that libfabric finds, in-band-address selects another address\(limit ?? "")")
        case (.onDemandPaging, _):
            return RequestError(
                .providerNotSupported,
                "verbs-odp = yes: \(error): use an adapter with on-demand paging, or set verbs-odp = no, which pins the pool"
            )
        case (.registerMemory, Int32(FI_ENOMEM)):
            return RequestError(.fatal, "the pool cannot be pinned: \(error): \(LockedMemory.advice(for: poolSize))")
        case (.registerMemory, Int32(FI_EOPNOTSUPP)), (.registerMemory, Int32(FI_EFAULT)),
            (.registerMemory, Int32(FI_EINVAL)):
            return RequestError(
                .fatal,
                "the kernel pins no files on DAX file systems (since Linux 6.5, nor on disks): \(error): use Device DAX, or "
                    + "verbs-odp = auto and a device with on-demand paging"
            )
        case (_, Int32(FI_ENOMEM)):
            return RequestError(.fatal, "in-band connection: \(error): \(LockedMemory.advice(for: poolSize))")
        default: return nil
        }
    }
}

extension RequestError {
    init(_ error: PoolError) {
        self.init(error.status, "\(error)")
    }
}
