import CFabric

/// Where finished operations of one or more endpoints are read. Its entries are `fi_cq_msg_entry`.
///
/// The data planes read it through ``pointer`` themselves, so that libfabric's inline calls stay direct and nothing
/// is retained on the way.
package final class CompletionQueue {
    package let pointer: UnsafeMutablePointer<fid_cq>
    private let domain: FabricDomain

    /// - Parameter size: Completions it can hold: at least as many as its endpoints can have under way.
    package init(in domain: FabricDomain, size: Int) throws(FabricError) {
        var attributes = fi_cq_attr()
        attributes.size = size
        attributes.format = FI_CQ_FORMAT_MSG
        attributes.wait_obj = FI_WAIT_FD
        var queue: UnsafeMutablePointer<fid_cq>?
        try check("fi_cq_open", fi_cq_open(domain.domain, &attributes, &queue, nil), detail: "\(size) entries")
        pointer = queue!
        self.domain = domain
    }

    deinit { close(pointer) }

    /// Ends a wait in `fi_cq_sread` on another thread, or the next one when there is none.
    package func wake() { Self.wake(pointer) }

    /// See ``wake()``.
    package static func wake(_ queue: UnsafeMutablePointer<fid_cq>) {
        _ = fi_cq_signal(queue)
    }

    /// The reason for an FI_EAVAIL, and the context of the operation that failed.
    package static func readError(
        _ queue: UnsafeMutablePointer<fid_cq>
    ) -> (error: FabricError, context: UnsafeMutableRawPointer?)? {
        var entry = fi_cq_err_entry()
        guard fi_cq_readerr(queue, &entry, 0) > 0 else { return nil }
        return (error(entry, of: queue), entry.op_context)
    }

    /// What an entry that `fi_cq_readerr` filled in says.
    package static func error(_ entry: fi_cq_err_entry, of queue: UnsafeMutablePointer<fid_cq>) -> FabricError {
        let words = fi_cq_strerror(queue, entry.prov_errno, entry.err_data, nil, 0).map { String(cString: $0) }
        return FabricError("operation", code: entry.err, detail: words)
    }

    /// What poll(2) waits on for completions and errors, after reads that found none; -1 where there is none.
    package var waitDescriptor: Int32 {
        var descriptor: Int32 = -1
        return fi_control(asFid(pointer), Int32(FI_GETWAIT), &descriptor) == 0 ? descriptor : -1
    }
}
