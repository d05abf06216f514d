import RpmemProtocol

/// The rules of OPEN for the headers of a pool's parts (`docs/media.md`, section 7.2 (OPEN)).
struct HeaderCheck {
    let set: ResolvedSet
    /// Of the pool's parts, in order.
    let paths: [String]

    func check(_ headers: [PoolHeader]) throws(PoolError) {
        for (index, header) in headers.enumerated() {
            if header.isZero {
                throw error(index, "has no pool on it (its header page is zero): create the pool first")
            }
            if CreationRecord(header) != nil {
                throw error(index, "the creation of its pool did not finish: create the pool again")
            }
            if !header.isChecksumValid {
                throw error(
                    index,
                    "its pool header has a wrong checksum: not a pool, or damaged; restore it, or remove the pool")
            }
        }
        guard let first = headers.first else { return }
        for (index, header) in headers.enumerated().dropFirst() {
            for field in SharedField.allCases {
                try equal(index, field.rawValue, field.text(header), field.text(first))
            }
        }
        let count = headers.count
        for (index, header) in headers.enumerated() {
            let previous = (index + count - 1) % count
            let next = (index + 1) % count
            try linked(index, "previous part's uuid", header.previousPartUUID, to: previous, headers[previous].uuid)
            try linked(index, "next part's uuid", header.nextPartUUID, to: next, headers[next].uuid)
        }
    }

    private func equal(_ index: Int, _ field: String, _ found: String, _ expected: String) throws(PoolError) {
        if found == expected { return }
        throw error(
            index,
            "its header has \(field) \(found), the first part \(paths[0]) has \(expected): parts of different pools?")
    }

    private func linked(
        _ index: Int, _ field: String, _ found: UUIDBytes, to neighbour: Int, _ expected: UUIDBytes
    ) throws(PoolError) {
        if found == expected { return }
        throw error(
            index,
            "its header has \(field) \(found), but part \(paths[neighbour]) has uuid \(expected): "
                + "are the parts listed in the order they were created in?")
    }

    private func error(_ index: Int, _ reason: String) -> PoolError {
        let line = index < set.parts.count ? set.parts[index].line : nil
        return .badConfiguration(
            place: line.map { "pool set \(set.path):\($0): \(paths[index])" } ?? paths[index],
            reason: reason)
    }
}
