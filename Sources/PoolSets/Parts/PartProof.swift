import Glibc
import SystemPackage

extension PoolStore {
    /// Refuses to remove a file that is not provably a part of the set:
    ///
    /// - one with a valid pool header, or with what a creation that did not finish has in its place;
    /// - one that the set lists, of exactly the size that it gives, whatever is in it: sets without headers have nothing
    ///   else, and an initiator may have written over a header;
    /// - one that the set lists, smaller and without a byte that is not zero: nothing is lost with it;
    /// - in a directory that the set lists, one with a part's name: the first with a header page of zeros, a later one,
    ///   which has no header, if it is as large as the smallest part.
    ///
    /// A plain file that is itself the pool has to have the header.
    func checkIsPart(_ part: PartFile, _ spec: ResolvedSet.Spec, of set: ResolvedSet) throws(PoolError) {
        let header = part.size < UInt64(PoolHeader.size) ? nil : try part.readHeader()
        if let header, !header.isZero, header.isChecksumValid || CreationRecord(header) != nil { return }
        let found = "has \(part.size) bytes and \(Self.headerText(header))"
        switch spec.size {
        case .auto where part.device != nil: return
        case .auto:
            throw refusal(spec, set, "\(found), and is no Device DAX, which AUTO is for")
        case .exactly(let size):
            if part.size == size { return }
            if part.device == nil, part.size < size, try part.holdsNothing() { return }
            throw refusal(spec, set, "\(found), the set says \(size)")
        case .any where set.isPlain:
            // There is nothing to remove from a device but its header.
            if part.device != nil, let header, header.isZero { return }
            throw refusal(spec, set, found)
        case .any:
            let isFirst = spec.path == set.parts.first?.path && set.missingNumber == nil
            if isFirst ? header?.isZero == true : part.size >= PoolGeometry.minimumPart { return }
            if try part.holdsNothing() { return }
            throw refusal(spec, set, found)
        }
    }

    private static func headerText(_ header: PoolHeader?) -> String {
        guard let header else { return "no pool header" }
        if header.isZero { return "no pool header (its first \(PoolHeader.size) bytes are zero)" }
        let isSet = PoolSetFile.isPoolSet(header.bytes)
        return "no valid pool header" + (isSet ? ", though it starts like a pool set file" : "")
    }

    private func refusal(_ spec: ResolvedSet.Spec, _ set: ResolvedSet, _ found: String) -> PoolError {
        .badConfiguration(
            place: set.place(of: spec),
            reason: "\(spec.line == nil ? "" : "\(spec.path) ")\(found): it is no part of a pool, nothing is removed: "
                + (set.isPlain ? "name a pool set file or a pool" : "correct the set")
                + "; a pool whose initiator wrote over its header is removed with `rm '\(spec.path)'`")
    }
}
