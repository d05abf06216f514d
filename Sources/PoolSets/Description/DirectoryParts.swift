import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

/// A directory that a pool set lists instead of parts (`docs/media.md`, section 9 (Directories)).
struct GrowthDirectory: Equatable {
    var path: FilePath
    /// Of the pool set file.
    var line: Int
    /// The most bytes that the pool's files in the directory may have together.
    var reservation: UInt64

    /// Bytes of each file that CREATE makes in a directory, except for the last file.
    static let fileSize: UInt64 = 128 << 20

    /// The name of the part with this number.
    static func fileName(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".pmem"
    }

    /// The number in a part's name; nil for files with another suffix.
    static func partNumber(_ name: [UInt8]) -> Number? {
        let suffix = Array(".pmem".utf8)
        guard name.count >= suffix.count, name.suffix(suffix.count).elementsEqual(suffix) else { return nil }
        let stem = name.dropLast(suffix.count)
        guard !stem.isEmpty, stem.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
            let number = Int(String(decoding: stem, as: UTF8.self))
        else { return .notANumber }
        return .part(number)
    }

    enum Number: Equatable {
        case part(Int)
        /// The name ends in `.pmem`, and no number that an Int holds comes before it.
        case notANumber
    }

    /// Names of the entries that end as parts' names do, sorted. More than a pool can have are refused: the directory may be huge.
    func entries() throws(PoolError) -> [[UInt8]] {
        guard let stream = path.withPlatformString({ opendir($0) }) else {
            throw .from(.last("opendir", on: path.string), path: path.string)
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw .system(.last("readdir", on: path.string)) }
                break
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if Self.partNumber(name) == nil { continue }
            names.append(name)
            if names.count > PoolSetFile.maximumParts {
                throw .badConfiguration(
                    place: path.string,
                    reason: "has more than \(PoolSetFile.maximumParts) files that end in .pmem: move them")
            }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }
}

extension ResolvedSet {
    /// Adds the directories of a set, and the parts that are in them.
    ///
    /// - Parameter isDirectory: For each path of the set, whether it is a directory.
    mutating func addDirectories(
        _ description: PoolSetDescription, _ isDirectory: [Bool]
    ) throws(PoolError) {
        for (part, isDirectory) in zip(description.parts, isDirectory) {
            let place = "pool set \(path):\(part.line)"
            guard isDirectory else {
                throw .badConfiguration(
                    place: place,
                    reason: "\(part.path) is no directory, other parts are: use directories for all or for none")
            }
            guard case .bytes(let reservation) = part.size else {
                throw .badConfiguration(
                    place: place,
                    reason: "AUTO is for Device DAX: write the most bytes that the pool may have in this directory")
            }
            guard description.options.contains(.singleHeader) else {
                throw .badConfiguration(
                    place: place,
                    reason: "\(part.path) is a directory: that needs `OPTION SINGLEHDR` here and in the "
                        + "initiator's pool set; or name a file in it")
            }
            let identity = FileIdentity(of: part.path)
            if let identity, let other = directories.first(where: { FileIdentity(of: $0.path) == identity }) {
                throw .badConfiguration(
                    place: place, reason: "directory \(part.path) is on line \(other.line) already: remove one line")
            }
            directories.append(GrowthDirectory(path: part.path, line: part.line, reservation: reservation))
        }
        try findNumberedParts()
    }

    private mutating func findNumberedParts() throws(PoolError) {
        var found: [Int: Spec] = [:]
        for directory in directories {
            for name in try directory.entries() {
                guard let number = GrowthDirectory.partNumber(name) else { continue }
                let file = directory.path.appending(String(decoding: name, as: UTF8.self))
                guard case .part(let number) = number, number < PoolSetFile.maximumParts else {
                    throw .badConfiguration(
                        place: file.string, reason: "is not named as a part of a pool, such as 000000.pmem: move it")
                }
                if let other = found[number] {
                    throw .badConfiguration(place: file.string, reason: "has the same number as \(other.path)")
                }
                found[number] = Spec(location: .absolute(file), path: file.string, line: nil, size: .any)
            }
        }
        if let number = (0..<found.count).first(where: { found[$0] == nil }) {
            missingNumber = .notFound(what: .part, path: GrowthDirectory.fileName(number), set: path)
        }
        parts = found.keys.sorted().compactMap { found[$0] }
    }

    /// The most bytes that the files in all directories may have together.
    var reservation: UInt64 {
        directories.reduce(0) { sum, directory in
            let (total, overflow) = sum.addingReportingOverflow(directory.reservation & ~(PoolGeometry.pageSize - 1))
            return overflow ? .max : total
        }
    }

    /// The files that CREATE has to make in the directories for a pool of `requestedSize`.
    ///
    /// - Parameter present: Bytes of the parts that are there.
    func missingFiles(
        for requestedSize: UInt64, present: UInt64
    ) throws(PoolError) -> [(path: FilePath, size: UInt64)] {
        guard !directories.isEmpty else { return [] }
        // A pool has at least one part, even when the initiator asks for 0 bytes.
        let wanted = max(requestedSize, present == 0 ? PoolGeometry.minimumPart : 0)
        if wanted > reservation {
            throw .tooSmall(
                set: path, asked: wanted, available: reservation,
                hint: "raise the size of the directory on line \(directories[directories.count - 1].line)")
        }
        var files: [(FilePath, UInt64)] = []
        var sum = present
        while sum < wanted {
            let number = parts.count + files.count
            if number >= PoolSetFile.maximumParts {
                throw .badConfiguration(
                    place: "pool set \(path)", reason: "would need more than \(PoolSetFile.maximumParts) parts")
            }
            let rest = (wanted - sum + PoolGeometry.pageSize - 1) & ~(PoolGeometry.pageSize - 1)
            let size = max(min(rest, GrowthDirectory.fileSize), PoolGeometry.minimumPart)
            let directory = directories[number % directories.count].path
            files.append((directory.appending(GrowthDirectory.fileName(number)), size))
            sum += size
        }
        return files
    }
}
