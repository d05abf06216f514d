import RpmemProtocol

/// Headers that differ because the target was killed, or lost its power, while SET_ATTR wrote them
/// (`docs/media.md`, section 7.3 (SET_ATTR)).
///
/// Parts of different pools are told from these by the uuids that CREATE drew for the parts behind the first one: SET_ATTR
/// never changes them, and each part has those of its neighbours.
struct InterruptedAttributes {
    /// Numbers of the parts with other attributes than the first part.
    let parts: [Int]
    /// The headers of all parts, with the first part's attributes.
    let headers: [PoolHeader]

    /// - Returns: nil when the headers do not differ, or differ in another way.
    init?(_ found: [PoolHeader]) {
        guard found.count > 1, let first = found.first, found.allSatisfy({ $0.isChecksumValid && !$0.isZero }),
            Self.areNeighbours(found)
        else { return nil }
        // A pool whose attributes change is open.
        if first.incompatFeatures & Feature.shutdownState != 0 {
            guard first.shutdownState.isChecksumValid, first.shutdownState.isDirty else { return nil }
        }
        let headers = found.indices.map { index in
            var header = found[index]
            header.setAttributes(first.attributes)
            header.linkToFirst(first.uuid, index, of: found.count)
            header.seal()
            return header
        }
        self.headers = headers
        let differing = found.indices.filter { headers[$0].bytes != found[$0].bytes }
        parts = differing
        guard let other = differing.first, other > 0 else { return nil }
        // One SET_ATTR wrote all of them: with its attributes, each of them is as it is.
        var attributes = found[other].attributes
        attributes.uuid = Self.firstUUID(in: found, differing)
        for index in differing {
            var header = headers[index]
            header.setAttributes(attributes)
            header.linkToFirst(attributes.uuid, index, of: found.count)
            header.seal()
            if header.bytes != found[index].bytes { return nil }
        }
    }

    /// Whether the parts behind the first one are neighbours, and the first part is between the ends of their row.
    private static func areNeighbours(_ headers: [PoolHeader]) -> Bool {
        let count = headers.count
        guard headers[0].nextPartUUID == headers[1].uuid, headers[0].previousPartUUID == headers[count - 1].uuid else {
            return false
        }
        return (1..<count - 1).allSatisfy {
            headers[$0].nextPartUUID == headers[$0 + 1].uuid && headers[$0 + 1].previousPartUUID == headers[$0].uuid
        }
    }

    /// The first part's uuid in the changed headers; the present one if none of them has a link to the first part.
    private static func firstUUID(in headers: [PoolHeader], _ differing: [Int]) -> UUIDBytes {
        if differing.contains(1) { return headers[1].previousPartUUID }
        if differing.contains(headers.count - 1) { return headers[headers.count - 1].nextPartUUID }
        return headers[0].uuid
    }
}

extension PoolHeader {
    /// Sets the links of part `index` to the first part.
    mutating func linkToFirst(_ uuid: UUIDBytes, _ index: Int, of count: Int) {
        if index == count - 1 { nextPartUUID = uuid }
        if index == 1 % count { previousPartUUID = uuid }
    }
}
