/// The open parts of a pool, and the header pages that this process wrote on them.
///
/// Unchecked: one call makes or opens a pool and has the parts to itself. The pool then keeps them behind its mutex.
final class PoolParts: @unchecked Sendable {
    /// In order.
    var files: [PartFile] = []
    /// Numbers of the parts.
    var headersWritten: Set<Int> = []

    init(_ files: [PartFile] = []) { self.files = files }

    /// Undoes a creation, the first part last. Until the other parts are undone, the first part's header page has a
    /// ``CreationRecord``, so that after a kill the next CREATE can start again.
    ///
    /// - Returns: The parts that could not be undone.
    func takeBack() -> [PoolError.Leftover] {
        defer { headersWritten = [] }
        if headersWritten.count > 1, let header = try? files[0].readHeader(), header.isChecksumValid, !header.isZero {
            // A failure shows again below, where the page is cleared.
            try? files[0].writeHeader(CreationRecord(poolsetUUID: header.poolsetUUID).bytes)
        }
        return files.indices.reversed().compactMap { index in
            files[index].takeBack(headerWritten: headersWritten.contains(index))
        }
    }
}
