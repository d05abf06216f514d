import CFabric

/// The queue of finished operations of one or more endpoints. Its entries are `fi_cq_msg_entry`.
///
/// The data planes call libfabric on ``pointer`` themselves: libfabric's inline functions stay direct calls, and no reference
/// is counted.
package final class CompletionQueue {
    package let pointer: UnsafeMutablePointer<fid_cq>
    private let domain: FabricDomain

    /// - Parameter size: How many completions fit: at least as many as its endpoints can have operations under way.
    package init(in domain: FabricDomain, size: Int) throws(FabricError) {
        var attributes = fi_cq_attr()
        attributes.size = size
        attributes.format = FI_CQ_FORMAT_MSG
        attributes.wait_obj = FI_WAIT_FD
        var queue: UnsafeMutablePointer<fid_cq>?
        try check(.openCompletionQueue, fi_cq_open(domain.domain, &attributes, &queue, nil), detail: "\(size) entries")
        pointer = queue!
        self.domain = domain
    }

    deinit { close(pointer) }

    /// Ends the wait of another thread in `fi_cq_sread`, or the next wait when there is none.
    package func wake() { Self.wake(pointer) }

    /// See ``wake()``.
    package static func wake(_ queue: UnsafeMutablePointer<fid_cq>) {
        _ = fi_cq_signal(queue)
    }

    /// Takes the error that a read announced by FI_EAVAIL; nil when there is none.
    package static func readError(_ queue: UnsafeMutablePointer<fid_cq>) -> FailedOperation? {
        var entry = fi_cq_err_entry()
        return fi_cq_readerr(queue, &entry, 0) > 0 ? FailedOperation(entry, of: queue) : nil
    }

    /// The descriptor on which poll(2) waits for completions and errors, after a read that found none. The queue owns it.
    package func waitDescriptor() throws(FabricError) -> Int32 {
        var descriptor: Int32 = -1
        try check(.control, fi_control(asFid(pointer), Int32(FI_GETWAIT), &descriptor), detail: "FI_GETWAIT")
        return descriptor
    }
}

/// An operation that completed in error.
package struct FailedOperation {
    package let error: FabricError
    /// The context that the operation was posted with.
    package let context: UnsafeMutableRawPointer?
    /// FI_RECV, FI_SEND and others: the kind of the operation. Providers may leave it 0.
    package let flags: UInt64

    /// - Parameters:
    ///   - entry: Filled in by `fi_cq_readerr`.
    ///   - queue: The queue that it was read from.
    package init(_ entry: fi_cq_err_entry, of queue: UnsafeMutablePointer<fid_cq>) {
        let text = fi_cq_strerror(queue, entry.prov_errno, entry.err_data, nil, 0)
        error = FabricError(
            .completion, code: entry.err,
            detail: FabricError.providerReason(entry.prov_errno, text, code: entry.err))
        context = entry.op_context
        flags = entry.flags
    }
}
