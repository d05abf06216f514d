import CFabric
import Glibc
import SystemSupport

/// A provider's description of one address: libfabric's `fi_info`, owned.
package final class FabricInfo {
    package let pointer: UnsafeMutablePointer<fi_info>
    private let library: FabricLibrary

    /// Takes over `pointer`.
    init(owning pointer: UnsafeMutablePointer<fi_info>, library: FabricLibrary) {
        self.pointer = pointer
        self.library = library
    }

    deinit { library.freeInfo(pointer) }

    /// Asks libfabric for a provider with the endpoints, ordering and memory registration that rpmem's wire needs
    /// (`docs/protocol.md`, section 3 (Fabric set-up)).
    ///
    /// - Parameters:
    ///   - provider: libfabric's name for it: `verbs`, `sockets`, `tcp`.
    ///   - node: An address or host name: the target's when connecting, this machine's own when listening.
    ///   - service: A port; nil leaves it open, which only a listener may.
    ///   - listening: Whether `node` is this machine's own address.
    ///   - committing: Whether WRITEs must be able to complete once they are durable (FI_COMMIT_COMPLETE).
    ///
    /// A listener's regions have keys that cannot be guessed, if the provider is one that lets the application choose: `tcp` and
    /// `sockets` themselves number them from 1 on.
    package static func query(
        provider: String, node: String, service: String?, listening: Bool, committing: Bool = false
    ) throws(FabricError) -> FabricInfo {
        if listening, !committing, provider != "verbs" {
            do throws(FabricError) {
                return try query(
                    provider: provider, node: node, service: service, listening: true, committing: false, ownKeys: true)
            } catch {
                // Any other error must not cost the session its key.
                if error.code != Int32(FI_ENODATA) { throw error }
            }
        }
        return try query(
            provider: provider, node: node, service: service, listening: listening, committing: committing,
            ownKeys: false)
    }

    private static func query(
        provider: String, node: String, service: String?, listening: Bool, committing: Bool, ownKeys: Bool
    ) throws(FabricError) -> FabricInfo {
        let library = try FabricLibrary.shared()
        let query = "provider \(provider), address \(node)\(service.map { ", port \($0)" } ?? "")"
        // fi_dupinfo(nil) is libfabric's fi_allocinfo.
        guard let hints = library.duplicateInfo(nil) else { throw FabricError(.allocateInfo, code: Int32(FI_ENOMEM)) }
        defer { library.freeInfo(hints) }
        hints.pointee.caps = UInt64(FI_MSG | FI_RMA) | (committing ? rpmem_fi_pmem : 0)
        hints.pointee.mode = ownKeys ? rpmem_fi_own_keys_mode : rpmem_fi_mode
        hints.pointee.addr_format = UInt32(FI_SOCKADDR)
        // The sockets provider names the ability for FI_EP_RDM only. The code behind it is that of all its endpoints.
        hints.pointee.ep_attr.pointee.type = committing && provider == "sockets" ? FI_EP_RDM : FI_EP_MSG
        hints.pointee.domain_attr.pointee.threading = FI_THREAD_SAFE
        hints.pointee.domain_attr.pointee.mr_mode = ownKeys ? rpmem_fi_own_keys_mr_mode : rpmem_fi_mr_mode
        hints.pointee.tx_attr.pointee.msg_order = rpmem_fi_msg_order
        // fi_freeinfo frees the name with free(3).
        hints.pointee.fabric_attr.pointee.prov_name = strdup(provider)
        var found: UnsafeMutablePointer<fi_info>?
        let result = library.getInfo(
            ownKeys ? rpmem_fi_own_keys_api_version : rpmem_fi_api_version, node, service,
            listening ? rpmem_fi_source : 0, hints, &found)
        try check(.getInfo, result, detail: query)
        guard let found else { throw FabricError(.getInfo, code: Int32(FI_ENODATA), detail: query) }
        // Providers whose memory needs no mode clear all modes, and would count addresses from the region's start.
        if ownKeys { found.pointee.domain_attr.pointee.mr_mode |= rpmem_fi_own_keys_mr_mode }
        return FabricInfo(owning: found, library: library)
    }

    /// Whether a provider makes WRITEs durable by itself on this machine: it is one that stores their data with the CPU, and this
    /// CPU can write its caches back. The target's side does that, before it acknowledges a WRITE with FI_COMMIT_COMPLETE. It
    /// knows of persistent memory only, not of files. Both sides must ask: one that cannot might take any WRITE for durable.
    package static func commitsWrites(provider: String, node: String, listening: Bool) -> Bool {
        (try? query(
            provider: provider, node: node, service: listening ? nil : "1", listening: listening, committing: true))
            != nil
    }

    /// Whether the application chooses the keys of its regions.
    var choosesKeys: Bool {
        let mode = pointer.pointee.domain_attr.pointee.mr_mode
        return mode != rpmem_fi_mr_mode && mode & Int32(FI_MR_PROV_KEY) == 0
            && pointer.pointee.domain_attr.pointee.mr_key_size >= MemoryLayout<UInt64>.size
    }

    /// libfabric's name for the provider that answered.
    package var providerName: String {
        pointer.pointee.fabric_attr.pointee.prov_name.map { String(cString: $0) } ?? ""
    }

    /// The provider's name for the device behind the address. With verbs it is libibverbs' name, such as `rxe0`.
    package var deviceName: String {
        pointer.pointee.domain_attr.pointee.name.map { String(cString: $0) } ?? ""
    }

    /// The most lanes the provider's domain has queues for.
    package var laneLimit: Int {
        let domain = pointer.pointee.domain_attr.pointee
        return min(limit(domain.tx_ctx_cnt), limit(domain.rx_ctx_cnt), limit(domain.cq_cnt))
    }

    /// The longest message or RDMA operation, in bytes.
    package var maximumMessageSize: Int { limit(pointer.pointee.ep_attr.pointee.max_msg_size) }

    /// The longest message for `fi_inject`, in bytes. The caller may reuse the buffer of an injected message at once.
    package var injectSize: Int { pointer.pointee.tx_attr.pointee.inject_size }

    /// Operations that an endpoint made from this can have under way; settable before it is made.
    package var queueSizes: (transmit: Int, receive: Int) {
        get { (pointer.pointee.tx_attr.pointee.size, pointer.pointee.rx_attr.pointee.size) }
        set {
            pointer.pointee.tx_attr.pointee.size = newValue.transmit
            pointer.pointee.rx_attr.pointee.size = newValue.receive
        }
    }

    /// The remote side's address, in the information of a connection request.
    package var peerAddress: NetworkAddress? {
        guard let address = pointer.pointee.dest_addr else { return nil }
        return NetworkAddress(
            socketAddress: UnsafeRawBufferPointer(start: address, count: pointer.pointee.dest_addrlen))
    }
}

/// A limit that libfabric gives as size_t. Swift imports it as Int: no limit is SIZE_MAX or a little less, so it is negative.
private func limit(_ value: Int) -> Int { value < 0 ? .max : value }
