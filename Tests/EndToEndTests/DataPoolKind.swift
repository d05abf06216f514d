import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The kinds of pools that a target can have.
enum PoolKind: CaseIterable {
    case onePart
    /// Of different sizes, and one of them not of whole pages.
    case threeParts
    /// `OPTION SINGLEHDR`.
    case singleHeader
    /// `OPTION NOHDRS`.
    case noHeaders
    /// No pool set file: the descriptor names the pool itself.
    case plainFile

    /// Makes the pool set file, or the plain file.
    func prepare(on target: Target) throws -> PoolPlan {
        switch self {
        case .onePart: return try PoolPlan(on: target, "pool.set", partSizes: [4 << 20])
        case .threeParts: return try PoolPlan(on: target, "pool.set", partSizes: [3 << 20, (2 << 20) + 5000, 5 << 20])
        case .singleHeader:
            return try PoolPlan(on: target, "pool.set", partSizes: [2 << 20, 3 << 20, 2 << 20], option: "SINGLEHDR")
        case .noHeaders:
            return try PoolPlan(on: target, "pool.set", partSizes: [3 << 20, 2 << 20], option: "NOHDRS")
        case .plainFile: return try PoolPlan(on: target, plainFile: "plain.pool", size: 4 << 20)
        }
    }
}

/// A pool that can be created on a target, and the place of its bytes, computed from `docs/media.md`, section 2 (Sizes and
/// geometry), not by the target's code.
struct PoolPlan {
    /// Its name in CREATE and OPEN.
    let descriptor: String
    /// The largest pool size that CREATE and OPEN accept, in bytes.
    let size: Int
    /// The attributes to create it with.
    let attributes: PoolAttributes
    let pieces: [Piece]

    /// A part, and its range of the pool.
    struct Piece {
        var path: String
        var fileSize: Int
        /// The start of the part's data: behind the header page. The first part's data starts with its header page, which is the
        /// pool's first page.
        var fileOffset: Int
        var poolOffset: Int
        var length: Int
        var hasHeader: Bool
    }

    private static let page = 4096

    /// The first byte that is data.
    var firstByte: Int { attributes.isNone ? 0 : Self.page }
    /// The offsets of the second and later parts.
    var boundaries: [Int] { pieces.dropFirst().map(\.poolOffset) }
    var paths: [String] { pieces.map(\.path) }

    init(on target: Target, _ set: String, partSizes: [Int], option: String? = nil, prefix: String = "part") throws {
        let paths = partSizes.indices.map { "\(target.parts)/\(prefix)\($0)" }
        var lines = ["PMEMPOOLSET"]
        if let option { lines.append("OPTION \(option)") }
        lines += zip(partSizes, paths).map { "\($0) \($1)" }
        try write(lines.map { $0 + "\n" }.joined(), to: "\(target.sets)/\(set)")
        let attributes: PoolAttributes =
            switch option {
            case "SINGLEHDR": .sampleSingleHeader
            case "NOHDRS": .none
            default: .sample
            }
        self.init(set, Array(zip(paths, partSizes)), attributes, everyPartHasHeader: option == nil)
    }

    /// Makes the file, or gives it this size if it is there.
    init(on target: Target, plainFile: String, size: Int) throws {
        let path = "\(target.sets)/\(plainFile)"
        let file = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.number, off_t(size)) == 0 else { throw SystemCallError.last("ftruncate") }
        self.init(plainFile, [(path, size)], .sample, everyPartHasHeader: true)
    }

    private init(
        _ descriptor: String, _ parts: [(path: String, size: Int)], _ attributes: PoolAttributes,
        everyPartHasHeader: Bool
    ) {
        self.descriptor = descriptor
        self.attributes = attributes
        var poolOffset = 0
        var pieces: [Piece] = []
        for (index, part) in parts.enumerated() {
            let fileOffset = index > 0 && everyPartHasHeader ? Self.page : 0
            let length = part.size / Self.page * Self.page - fileOffset
            pieces.append(
                Piece(
                    path: part.path, fileSize: part.size, fileOffset: fileOffset, poolOffset: poolOffset,
                    length: length, hasHeader: everyPartHasHeader || index == 0 && !attributes.isNone))
            poolOffset += length
        }
        self.pieces = pieces
        size = poolOffset
    }

    // MARK: Contents of the parts

    /// Expects the part files to have exactly the pool's bytes, and zeros where they hold none of it; header pages are
    /// left out.
    func expectOnParts(_ expected: Pages, sourceLocation: SourceLocation = #_sourceLocation) throws {
        for piece in pieces {
            var image = [UInt8](repeating: 0, count: piece.fileSize)
            image.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[piece.fileOffset..<piece.fileOffset + piece.length])
                    .copyMemory(
                        from: UnsafeRawBufferPointer(expected[piece.poolOffset..<piece.poolOffset + piece.length]))
            }
            let found = try readFile(try Descriptor.open(piece.path, O_RDONLY), limit: 1 << 30)
            guard found.count == image.count else {
                Issue.record("\(piece.path) has \(found.count) bytes", sourceLocation: sourceLocation)
                continue
            }
            let start = piece.hasHeader ? Self.page : 0
            let difference = image.withUnsafeBytes { image in
                found.withUnsafeBytes { found in
                    firstDifference(
                        UnsafeRawBufferPointer(rebasing: image[start...]),
                        UnsafeRawBufferPointer(rebasing: found[start...]))
                }
            }
            if let difference {
                let offset = difference + start
                Issue.record(
                    "\(piece.path) at \(offset): \(found[offset]), not \(image[offset])",
                    sourceLocation: sourceLocation)
            }
        }
    }

    /// Expects ranges of the pool to be on the part files; says nothing about the rest.
    func expectOnParts(
        _ expected: Pages, in ranges: [Range<Int>], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        for piece in pieces {
            let file = try Descriptor.open(piece.path, O_RDONLY)
            for range in ranges {
                let part = range.clamped(to: piece.poolOffset..<piece.poolOffset + piece.length)
                if part.isEmpty { continue }
                let offset = part.lowerBound - piece.poolOffset + piece.fileOffset
                var found = [UInt8](repeating: 0, count: part.count)
                let count = pread(file.number, &found, found.count, off_t(offset))
                guard count == found.count else { throw SystemCallError.last("pread", on: piece.path) }
                let difference = found.withUnsafeBytes {
                    firstDifference($0, UnsafeRawBufferPointer(expected[part]))
                }
                if let difference {
                    Issue.record(
                        "\(piece.path) differs at \(offset + difference), in the range \(range) of the pool",
                        sourceLocation: sourceLocation)
                }
            }
        }
    }

    /// The number of part files that exist.
    func partsPresent() -> Int { paths.count { access($0, F_OK) == 0 } }

    /// Expects that no process holds a part's lock.
    func expectUnlocked(sourceLocation: SourceLocation = #_sourceLocation) throws {
        for path in paths where access(path, F_OK) == 0 {
            let file = try Descriptor.open(path, O_RDONLY)
            #expect(
                rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0, "\(path) is locked", sourceLocation: sourceLocation)
        }
    }
}
