import ReplicaComparison
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TargetReports

/// A run of `rpmemd --digest` on a target. The deinit ends it.
final class TargetDigests {
    private let query: TargetQuery
    private let remote: RemoteCommand
    private let arguments: [String]
    private var decoder: DigestDecoder?

    /// Starts the command.
    ///
    /// - Parameter size: Bytes of the pool on this machine.
    init(_ query: TargetQuery, poolSet: String, size: Int, key: DigestKey) throws {
        self.query = query
        arguments = ["--digest", poolSet, "--length", "\(size)"]
        remote = try query.start(arguments)
        // Not on the command line, which every user of the target sees.
        try remote.send(line: key.digits, within: query.options.operationTimeout)
    }

    deinit { remote.end() }

    /// Reads what the digests are of.
    ///
    /// - Parameter size: Bytes of the pool on this machine.
    /// - Throws: When the target refuses, and when it would not digest what this machine does.
    func readHead(size: Int) throws -> (bytes: ComparedBytes, attributes: PoolAttributes) {
        let line = try readDocument()
        let head = try TargetQuery.decode(line, as: DigestHead.self, of: query.place)
        guard head.frames == DigestFrame.version else {
            throw ToolError(
                "\(query.place): its rpmemd \(escapingControls(head.rpmemd)) digests in another form: install the same version on both machines"
            )
        }
        guard let attributes = PoolAttributes(digits: head.attributes),
            let blockSize = Int(exactly: head.blockSize), (4096...1 << 24).contains(blockSize),
            blockSize.nonzeroBitCount == 1
        else { throw ToolError("\(query.place): its rpmemd sent digests of no pool") }
        let bytes = ComparedBytes(size: size, attributes: attributes, blockSize: blockSize)
        let ignored = bytes.ignored.map { [UInt64($0.lowerBound), UInt64($0.upperBound)] }
        guard head.size == UInt64(size), head.first == UInt64(bytes.first), head.ignored == ignored else {
            throw ToolError(
                "\(query.place): its rpmemd \(escapingControls(head.rpmemd)) digests other bytes: install the same version on both machines"
            )
        }
        decoder = DigestDecoder(blockCount: bytes.blockCount)
        return (bytes, attributes)
    }

    private func readDocument() throws -> String {
        var noise: [UInt8] = []
        do throws(InitiatorError) {
            if let document = try remote.readDocument(&noise, within: query.options.openTimeout, query.place) {
                return document
            }
        } catch {
            guard case .sessionEnded(_, _, let ending) = error else { throw error }
            throw failure(.init(output: noise + remote.unread, ending: ending))
        }
        throw ToolError("\(query.place): rpmemd printed no document within \(RemoteCommand.mostNoiseLines) lines")
    }

    /// Digests of the next `count` blocks. Each of them has to come within the time-out: the target's storage may be slow.
    func take(_ count: Int) throws -> ArraySlice<UInt8> {
        var deadline = Deadline.after(timeout)
        var available = 0
        while true {
            if let digests = decoder?.take(count) { return digests }
            if let whole = decoder?.available, whole > available {
                available = whole
                deadline = .after(timeout)
            }
            guard try readMore(until: deadline) else { throw ToolError("\(query.place): \(stoppedEarly)") }
        }
    }

    private var stoppedEarly: String { "its digests ended before the last block" }

    /// - Returns: False when the command has ended.
    private func readMore(until deadline: Deadline) throws -> Bool {
        switch try remote.readSome(until: deadline, of: timeout) {
        case .bytes(let bytes):
            do throws(DigestStreamError) { try decoder?.append(bytes) } catch {
                throw ToolError("\(query.place): \(error)")
            }
            return true
        case .end(let ending):
            guard case .status(0)? = ending.exit else { throw failure(.init(output: [], ending: ending)) }
            do throws(DigestStreamError) { try decoder?.finish() } catch {
                throw ToolError("\(query.place): \(error)")
            }
            return false
        }
    }

    /// Waits for the command's end, which gives the target's lock back.
    func finish() throws {
        let deadline = Deadline.after(timeout)
        while try readMore(until: deadline) {}
    }

    private var timeout: Duration { query.options.operationTimeout }

    private func failure(_ outcome: RemoteCommand.Outcome) -> ToolError {
        let error = query.failure(outcome, arguments)
        // What no session can open has to be made again.
        let isMissing = ["no such part", "has no pool on it", "did not finish"].contains {
            error.description.contains($0)
        }
        return isMissing
            ? ToolError("\(error); a replica that is missing is made by `pmempool sync` with the local pool set")
            : error
    }
}
