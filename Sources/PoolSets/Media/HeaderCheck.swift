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
            try equal(index, "signature", signatureText(header.signature), signatureText(first.signature))
            try equal(index, "major version", "\(header.major)", "\(first.major)")
            try equal(index, "compat features", hex(header.compatFeatures), hex(first.compatFeatures))
            try equal(index, "incompat features", hex(header.incompatFeatures), hex(first.incompatFeatures))
            try equal(index, "ro_compat features", hex(header.roCompatFeatures), hex(first.roCompatFeatures))
            try equal(index, "pool set uuid", header.poolsetUUID.text, first.poolsetUUID.text)
            try equal(
                index, "previous replica's uuid", header.previousReplicaUUID.text, first.previousReplicaUUID.text)
            try equal(index, "next replica's uuid", header.nextReplicaUUID.text, first.nextReplicaUUID.text)
            try equal(index, "arch flags", header.archFlags.text, first.archFlags.text)
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
            "its header has \(field) \(found.text), but part \(paths[neighbour]) has uuid \(expected.text): "
                + "are the parts listed in the order they were created in?")
    }

    private func error(_ index: Int, _ reason: String) -> PoolError {
        let line = index < set.parts.count ? set.parts[index].line : nil
        return .badConfiguration(
            place: line.map { "pool set \(set.path):\($0): \(paths[index])" } ?? paths[index],
            reason: reason)
    }

    private func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
}
