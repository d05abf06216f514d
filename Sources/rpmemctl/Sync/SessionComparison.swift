import PoolSets
import ReplicaComparison
import RpmemInitiator
import RpmemProtocol

/// Compares a pool on this machine with the one that a session has open on the target (`docs/protocol.md`, section 11.2 (Digests
/// within a session)). The session keeps the target's pool locked, so nobody else writes between two comparisons.
struct SessionComparison {
    let target: InitiatorPool
    /// Before the session was opened.
    let before: Comparison
    /// The target's pool, for messages.
    let place: String
    let bar: ProgressBar
    /// Reads the pool on this machine, as ``LockedPool/read(into:at:)``.
    let read: PoolRead

    /// Checks that the session gives digests of the same blocks.
    init(
        _ target: InitiatorPool, after before: Comparison, place: String, bar: ProgressBar,
        read: @escaping PoolRead
    ) throws {
        guard target.givesDigests, ComparedBytes(size: before.bytes.end, attributes: target.attributes) == before.bytes
        else {
            throw ToolError(
                "\(place): this session gives no digests: install the same version of rpmemd on both machines")
        }
        self.target = target
        self.before = before
        self.place = place
        self.bar = bar
        self.read = read
    }

    /// Compares all blocks: somebody else may have written to the target's pool before the session had it.
    ///
    /// - Throws: When other blocks differ than those that were shown to differ.
    func findDifferences() throws -> DifferingBlocks {
        // Digests of two comparisons are only the same with the same key.
        let differing = try compare(before.key, known: before.localDigests, "compared again") { _ in true }
        guard differing.isSubset(of: before.differing) else {
            throw ToolError(
                "\(place): somebody else wrote to it since it was compared: nothing was written; is a program using it? Start "
                    + "the command again when none does")
        }
        return differing
    }

    /// Compares once more the blocks that were written.
    ///
    /// - Returns: Those that still differ.
    func check(_ written: DifferingBlocks) throws -> DifferingBlocks {
        try compare(DigestKey(), known: nil, "verified", only: written.contains)
    }

    private func compare(
        _ key: DigestKey, known: [UInt8]?, _ what: String, only isWanted: (Int) -> Bool
    ) throws -> DifferingBlocks {
        let library = try DigestLibrary.shared()
        let (bytes, size) = (before.bytes, DigestRequest.digestSize)
        var differing = DifferingBlocks(of: bytes)
        defer { bar.clear() }
        for first in stride(from: 0, to: bytes.blockCount, by: DigestRequest.mostBlocks) {
            let end = min(bytes.blockCount, first + DigestRequest.mostBlocks)
            let blocks = (first..<end).filter(isWanted)
            if blocks.isEmpty { continue }
            // While the target digests.
            let digester = known == nil ? try BlockListDigester(bytes, library, key, of: blocks, read: read) : nil
            var there: [UInt8] = []
            while there.count < blocks.count * size {
                let next = blocks[there.count / size]
                there += try target.digests(
                    DigestRequest(first: first, key: key.bytes) { (next..<end).contains($0) && isWanted($0) })
                bar.show(what, upTo: blocks[there.count / size - 1] + 1, differing, of: bytes)
            }
            let here: [UInt8]
            do throws(ComparisonError) { here = try digester?.takeAll() ?? [] } catch {
                throw ToolError("this machine: \(error)")
            }
            // Known ones are those of all blocks.
            differing.compare(blocks, known?[first * size..<end * size] ?? here[...], there[...])
        }
        return differing
    }
}
