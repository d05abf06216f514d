import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// A pool of two parts on this machine and its replica on a target behind a real sshd. The set files are local.set and a.set.
final class ReplicaPair {
    let target: OperatedTarget
    /// The directory of the local parts.
    let place = TemporaryDirectory("replica")
    var localSet: String { place.file("local.set") }

    static let partSize = 8 << 20
    /// Of either replica: the second header page does not count.
    static let size = 2 * partSize - 4096
    private static let set = UUIDBytes.random()
    private static let ids = [UUIDBytes.random(), UUIDBytes.random()]

    init(_ target: OperatedTarget) throws {
        self.target = target
        try write(
            "PMEMPOOLSET\n8M \(place.file("l0"))\n8M \(place.file("l1"))\nREPLICA \(target.address) a.set\n",
            to: localSet)
        try target.addSet("a.set", "8M @/a0", "8M @/a1")
        // A target's pool set has no lines REPLICA.
        try write("PMEMPOOLSET\n8M \(place.file("l0"))\n8M \(place.file("l1"))\n", to: place.file("plain.set"))
        try PoolStore(directory: place.path).create(
            descriptor: PoolDescriptor(validating: "plain.set"), attributes: Self.attributes(0), requestedSize: 0
        ).close()
        try target.store().create(
            descriptor: PoolDescriptor(validating: "a.set"), attributes: Self.attributes(1), requestedSize: 0
        ).close()
        var generator = SeededGenerator(seed: 16)
        for offset in stride(from: 4096, to: Self.size - 8, by: 20_011) {
            let bytes = (0..<8).map { _ in UInt8.random(in: 0...255, using: &generator) }
            try put(bytes, at: offset)
            try putOnTarget(bytes, at: offset)
        }
    }

    /// - Parameter replica: 0 for the local one, 1 for the target's.
    static func attributes(_ replica: Int) -> PoolAttributes {
        PoolAttributes(
            signature: SIMD8("OPERATED".utf8), major: 1, incompatFeatures: 6, poolsetUUID: set, uuid: ids[replica],
            nextUUID: ids[1 - replica], previousUUID: ids[1 - replica])
    }

    // MARK: Bytes

    /// The part and the offset in it of an offset in the pool, and how many bytes of the range are there.
    private func split(_ range: Range<Int>) -> [(part: Int, offset: Int, range: Range<Int>)] {
        let border = Self.partSize
        var pieces: [(part: Int, offset: Int, range: Range<Int>)] = []
        let first = range.clamped(to: 0..<border)
        if !first.isEmpty { pieces.append((0, first.lowerBound, first)) }
        let second = range.clamped(to: border..<Self.size)
        if !second.isEmpty { pieces.append((1, second.lowerBound - border + 4096, second)) }
        return pieces
    }

    private func overwrite(_ bytes: [UInt8], at offset: Int, _ stem: String) throws {
        for piece in split(offset..<offset + bytes.count) {
            let file = try Descriptor.open("\(stem)\(piece.part)", O_WRONLY)
            let part = Array(bytes[(piece.range.lowerBound - offset)..<(piece.range.upperBound - offset)])
            guard pwrite(file.number, part, part.count, off_t(piece.offset)) == part.count else {
                throw SystemCallError.last("pwrite")
            }
        }
    }

    /// Writes to the local replica, at an offset in the pool.
    func put(_ bytes: [UInt8], at offset: Int) throws { try overwrite(bytes, at: offset, place.file("l")) }

    /// Writes to the target's replica, behind the back of everybody.
    func putOnTarget(_ bytes: [UInt8], at offset: Int) throws { try overwrite(bytes, at: offset, "\(target.parts)/a") }

    private func contents(_ stem: String) throws -> [UInt8] {
        try (0..<2).flatMap { part in
            try readFile(Descriptor.open("\(stem)\(part)", O_RDONLY), limit: 1 << 26)[(part == 0 ? 0 : 4096)...]
        }
    }

    /// The bytes behind the header page.
    func local() throws -> ArraySlice<UInt8> { try contents(place.file("l"))[4096...] }
    func remote() throws -> ArraySlice<UInt8> { try contents("\(target.parts)/a")[4096...] }

    func localHeader() throws -> PoolHeader {
        try #require(PoolHeader(bytes: Array(contents(place.file("l"))[..<4096])))
    }
    func remoteHeader() throws -> PoolHeader {
        try #require(PoolHeader(bytes: Array(contents("\(target.parts)/a")[..<4096])))
    }

    /// Size, inode and time of the last change of all files.
    func files() -> [String: [Int]] {
        var found = target.files()
        for name in TemporaryDirectory.entries(of: place.path) {
            var status = stat()
            guard lstat(place.file(name), &status) == 0 else { continue }
            found[name] = [Int(status.st_size), Int(status.st_ino), status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
        }
        return found
    }

    // MARK: rpmemctl

    var words: [String] { [localSet, target.address, "a.set"] }

    func verify(_ options: String...) throws -> (report: ReportedComparison, outcome: OperatedTarget.Outcome) {
        let outcome = try target.run(["verify"] + words + ["--json"] + options)
        return (try outcome.document(PoolVerifyReport.self).comparison, outcome)
    }

    func sync(_ options: String...) throws -> OperatedTarget.Outcome { try target.run(["sync"] + words + options) }

    /// Expects that both replicas have the same bytes, that their headers are those of a closed pool, and that verify says so.
    func expectSame(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let isSame = try local() == remote()
        #expect(isSame, sourceLocation: sourceLocation)
        for (header, replica) in [(try localHeader(), 0), (try remoteHeader(), 1)] {
            #expect(header.isChecksumValid, sourceLocation: sourceLocation)
            #expect(header.incompatFeatures == 6 && header.uuid == Self.ids[replica], sourceLocation: sourceLocation)
            // The dirty mark of the shutdown state.
            #expect(header.bytes[4024 + 16] == 0, sourceLocation: sourceLocation)
        }
        let (report, outcome) = try verify()
        #expect(outcome.ending == .exited(0) && report.same, "\(outcome)", sourceLocation: sourceLocation)
    }
}
