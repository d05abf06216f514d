import PoolSets
import ReplicaComparison
import RpmemProtocol
import SystemSupport

/// Answers DIGEST: digests of blocks of a session's pool, on all processors (`docs/protocol.md`, section 11.2 (Digests within a
/// session)). The pool is locked by the session, so nobody else writes between two requests.
struct SessionDigests {
    private let library: DigestLibrary
    private let log: SessionLog
    /// Bytes of the pool that the initiator has asked for.
    private let size: Int

    /// Milliseconds after which an answer has only the digests that are there, and the initiator asks again for the others. It waits
    /// for an answer for a limited time, however slow this storage is.
    private static let answerTime: UInt64 = 1000

    /// Loads the library, which a confined process cannot.
    ///
    /// - Returns: nil with an initiator that does not ask for digests, and without the library, of which the log has a warning.
    init?(_ request: PoolRequest, size: Int, _ log: SessionLog) {
        guard request.offersDigests else { return nil }
        do throws(DigestLibrary.Unavailable) { library = try DigestLibrary.shared() } catch {
            log.warning("\(error)")
            return nil
        }
        self.size = size
        self.log = log
    }

    /// - Returns: Digests of the first blocks that are asked for, at least one; nil when a block lies behind the pool's end.
    func answer(_ request: DigestRequest, of pool: Pool) -> Response? {
        let bytes = ComparedBytes(size: size, attributes: pool.attributes)
        guard let blocks = request.blocks(below: bytes.blockCount) else { return nil }
        do throws(ComparisonError) { return .digest(try make(bytes, blocks, DigestKey(of: request), of: pool)) } catch {
            log.error("DIGEST request: \(error)")
            return .refused(.digest, .fatal)
        }
    }

    private func make(
        _ bytes: ComparedBytes, _ blocks: [Int], _ key: DigestKey, of pool: Pool
    ) throws(ComparisonError) -> [UInt8] {
        let reader: PoolReader
        do throws(PoolError) { reader = try pool.makeReader() } catch { throw .pool(error) }
        let digester: BlockListDigester
        do throws(SystemCallError) {
            digester = try BlockListDigester(
                bytes, library, key, of: blocks, until: .after(milliseconds: Self.answerTime)
            ) {
                (buffer, offset) throws(PoolError) in try reader.read(into: buffer, at: offset)
            }
        } catch { throw .system(error) }
        return try digester.takeAll()
    }
}
