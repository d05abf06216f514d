import RpmemProtocol

/// Compares the headers of a pool's parts, and mends those that have one right form.
///
/// One answer is right where the other headers, or the header's own checksum, prove it:
///
/// - A header with a wrong checksum whose checksum is right for another shutdown state: PMDK rewrites the state and not the
///   checksum (`docs/media.md`, section 11 (Differences from PMDK 1.12.1)).
/// - A header with a wrong checksum that its pool set uuid, and the links of both neighbours to its uuid, still prove to be
///   this part's. The headers of the other parts give its fields.
/// - A link of the ring that is wrong on one side, while the part at its other end links back.
struct HeaderDiagnosis {
    private(set) var findings: [PoolFinding] = []
    /// The headers with all repairs made.
    private(set) var repaired: [PoolHeader]
    /// Whether ``repaired`` headers are a whole pool's.
    private(set) var isComplete = true

    private let paths: [String]
    private let count: Int

    /// - Parameters:
    ///   - headers: At least one; none of them zero or a creation record.
    ///   - paths: Of all parts.
    init(_ headers: [PoolHeader], paths: [String]) {
        repaired = headers
        self.paths = paths
        count = headers.count
        mendChecksums(headers)
        if repaired.allSatisfy(\.isChecksumValid) && compareSharedFields() { mendRing() }
        isComplete = isComplete && !findings.contains { $0.severity == .error && $0.repair == nil }
    }

    private mutating func fail(
        _ code: PoolFinding.Code, _ index: Int, _ message: String, remedy: String? = nil, repair: String? = nil
    ) {
        findings.append(PoolFinding(.error, code, part: paths[index], message, remedy: remedy, repair: repair))
    }

    private func previous(_ index: Int) -> Int { (index + count - 1) % count }
    private func next(_ index: Int) -> Int { (index + 1) % count }

    // MARK: Checksums

    private mutating func mendChecksums(_ headers: [PoolHeader]) {
        for (index, header) in headers.enumerated() where !header.isChecksumValid {
            if let sealed = header.sealedForEarlierState() {
                repaired[index] = sealed
                fail(
                    .headerChecksum, index,
                    "its checksum is that of the header before its shutdown state was written, as PMDK leaves it",
                    remedy: "rpmemctl check --repair", repair: "renew the checksum")
            } else if let (rebuilt, changes) = rebuild(index, headers) {
                repaired[index] = rebuilt
                let what = (changes + ["the checksum"]).joined(separator: ", ")
                fail(
                    .headerChecksum, index, "its pool header has a wrong checksum; the other headers tell what it had",
                    remedy: "rpmemctl check --repair", repair: "renew \(what)")
            } else {
                fail(
                    .headerChecksum, index,
                    "its pool header has a wrong checksum, and nothing proves what it had: not a pool, or damaged",
                    remedy: "restore this replica from another one with `pmempool sync`, or remove the pool")
            }
        }
    }

    /// The header of a part as its neighbours and the other headers say; nil when they do not prove it.
    private func rebuild(_ index: Int, _ headers: [PoolHeader]) -> (PoolHeader, changes: [String])? {
        guard count > 1 else { return nil }
        let others = headers.indices.filter { $0 != index && headers[$0].isChecksumValid }
        let (before, after) = (headers[previous(index)], headers[next(index)])
        guard let model = others.first.map({ headers[$0] }), before.isChecksumValid, after.isChecksumValid,
            others.allSatisfy({ headers[$0].hasSameSharedFields(as: model) })
        else { return nil }
        let header = headers[index]
        guard header.poolsetUUID == model.poolsetUUID, !header.uuid.isZero, before.nextPartUUID == header.uuid,
            after.previousPartUUID == header.uuid
        else { return nil }
        var rebuilt = header
        rebuilt.setAttributes(model.attributes)
        rebuilt.previousPartUUID = before.uuid
        rebuilt.nextPartUUID = after.uuid
        let changes = SharedField.allCases.filter { $0.text(header) != $0.text(rebuilt) }.map(\.rawValue)
        let links = header.previousPartUUID != before.uuid || header.nextPartUUID != after.uuid
        rebuilt.seal()
        return (rebuilt, changes + (links ? ["the links to its neighbours"] : []))
    }

    // MARK: Shared fields

    /// - Returns: Whether all headers have the same.
    private mutating func compareSharedFields() -> Bool {
        let first = repaired[0]
        for index in repaired.indices.dropFirst() {
            let header = repaired[index]
            let differing = SharedField.allCases.filter { $0.text(header) != $0.text(first) }
            guard let field = differing.first else { continue }
            fail(
                .headerDiffers, index,
                "its header has \(field.rawValue) \(field.text(header)), the first part has \(field.text(first))"
                    + (differing.count > 1 ? "; \(differing.count - 1) more fields differ" : "")
                    + ": nothing tells which is right",
                remedy: "list the parts of one pool in the set, or restore this replica with `pmempool sync`")
        }
        return findings.allSatisfy { $0.code != .headerDiffers }
    }

    // MARK: Ring

    private mutating func mendRing() {
        let headers = repaired
        var mended: [Int: [String]] = [:]
        var isProven = Set(headers.map(\.uuid)).count == count
        for index in headers.indices {
            let after = next(index)
            let forward = headers[index].nextPartUUID == headers[after].uuid
            let backward = headers[after].previousPartUUID == headers[index].uuid
            if forward && backward { continue }
            if !forward { mended[index, default: []].append("next part") }
            if !backward { mended[after, default: []].append("previous part") }
            if !forward && !backward { isProven = false }
        }
        if mended.isEmpty { return }
        guard isProven else {
            if let order = orderInHeaders() {
                fail(
                    .ringOrder, order.firstIndex(where: { order[$0] != $0 }) ?? 0,
                    "the headers link the parts in another order than the set lists them",
                    remedy: "list them in this order: " + order.prefix(16).map { paths[$0] }.joined(separator: ", "))
            } else {
                for index in mended.keys.sorted() {
                    fail(
                        .ringBroken, index,
                        "its links to the \(list(mended[index])) do not fit the uuids of these parts",
                        remedy: "list the parts of one pool in the set, or restore this replica with `pmempool sync`")
                }
            }
            return
        }
        for (index, links) in mended.sorted(by: { $0.key < $1.key }) {
            repaired[index].nextPartUUID = headers[next(index)].uuid
            repaired[index].previousPartUUID = headers[previous(index)].uuid
            repaired[index].seal()
            fail(
                .ringBroken, index,
                "its link to the \(list(links)) is wrong; the part at the other end links back",
                remedy: "rpmemctl check --repair", repair: "set the link to the \(list(links)) and the checksum")
        }
    }

    private func list(_ links: [String]?) -> String { Set(links ?? []).sorted().joined(separator: " and the ") }

    /// The order in which the headers link the parts, from the first one; nil when they form no ring.
    private func orderInHeaders() -> [Int]? {
        var numbers: [UUIDBytes: Int] = [:]
        for (index, header) in repaired.enumerated() { numbers[header.uuid] = index }
        guard numbers.count == count else { return nil }
        var order = [0]
        while order.count < count {
            guard let next = numbers[repaired[order[order.count - 1]].nextPartUUID], next != 0,
                repaired[next].previousPartUUID == repaired[order[order.count - 1]].uuid
            else { return nil }
            order.append(next)
        }
        guard Set(order).count == count, repaired[order[count - 1]].nextPartUUID == repaired[0].uuid else { return nil }
        return order
    }
}

extension PoolHeader {
    func hasSameSharedFields(as other: PoolHeader) -> Bool {
        SharedField.allCases.allSatisfy { $0.text(self) == $0.text(other) }
    }

    /// The header with a right checksum, if its checksum is right for an earlier shutdown state: none, or this one with another
    /// dirty mark.
    func sealedForEarlierState() -> PoolHeader? {
        guard incompatFeatures & Feature.shutdownState != 0, incompatFeatures & Feature.checksum2K == 0 else {
            return nil
        }
        let state = shutdownState
        guard state.isChecksumValid else { return nil }
        var none = state
        none.bytes = [UInt8](repeating: 0, count: ShutdownState.size)
        for earlier in [none, ShutdownState(state.counts, isDirty: true), ShutdownState(state.counts, isDirty: false)] {
            var header = self
            header.shutdownState = earlier
            guard header.isChecksumValid else { continue }
            header = self
            header.seal()
            return header
        }
        return nil
    }
}
