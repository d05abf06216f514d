import RpmemProtocol

/// Why header pages were not replaced.
struct HeaderReplacementFailure: Error {
    let cause: PoolError
    /// Parts whose header page is not known to be the old one, since it could not be written back; the others have theirs.
    let left: [PoolError.Leftover]
}

extension [PartFile] {
    /// Replaces header pages, each durably, the first part's last. When one cannot be written, those that were get their old
    /// contents back.
    ///
    /// - Parameters:
    ///   - old: The pages of the first parts, as they are now.
    ///   - new: New pages, by number of the part.
    func replaceHeaders(_ old: [PoolHeader], with new: [Int: PoolHeader]) throws(HeaderReplacementFailure) {
        var written: [Int] = []
        do throws(PoolError) {
            for (index, page) in new.sorted(by: { $0.key > $1.key }) {
                // Noted before the write: a write that fails may have changed the page.
                written.append(index)
                try self[index].writeHeader(page.bytes)
            }
        } catch {
            var left: [PoolError.Leftover] = []
            for index in written {
                do throws(PoolError) { try self[index].writeHeader(old[index].bytes) } catch {
                    left.append(PoolError.Leftover(path: self[index].path, errno: error.errno))
                }
            }
            throw HeaderReplacementFailure(cause: error, left: left)
        }
    }
}
