import CFabric
import Fabric
import PoolSets
import RpmemProtocol

/// Why CREATE, OPEN or SET_ATTR was not done: the status that the initiator gets and the reason that the log gets.
struct Refusal: Error {
    let status: Status
    let reason: String

    init(_ status: Status, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    /// The one place where what libfabric says becomes a status.
    init(_ error: FabricError, provider: Provider) {
        switch error.code {
        case Int32(FI_ENODATA), Int32(FI_ENOSYS), Int32(FI_ENOPROTOOPT):
            self.init(
                .providerNotSupported,
                "libfabric offers no provider \(provider.name) at the session's address: \(error). "
                    + "`fi_info -p \(provider.name) -t FI_EP_MSG` shows what there is; for verbs the limit on locked memory "
                    + "(ulimit -l) must be as large as the pool; in-band-address selects another network")
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
}

extension Refusal {
    init(_ error: PoolError) {
        self.init(error.status, "\(error)")
    }
}
