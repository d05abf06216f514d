import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

/// A directory that a pool set lists in the place of parts. Its parts are files `000000.pmem`, `000001.pmem` and so on,
/// numbered through all directories of the set.
struct GrowthDirectory: Equatable {
    var path: FilePath
    /// Of the pool set file.
    var line: Int
    /// Bytes of address space that the set reserves for it.
    var reservation: UInt64

    /// Bytes of the files a pool grows by (`docs/media.md`, section 9 (Directories)).
    static let growth: UInt64 = 128 << 20

    /// The name of the part with this number.
    static func fileName(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".pmem"
    }

    /// The number in a part's name; nil for other files.
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
        /// Ends in `.pmem`, but is not named by a number.
        case notANumber
    }

    /// Names of the entries, sorted.
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
            names.append(name)
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }
}

extension ResolvedSet {
    /// Fills in the directories and the parts that are in them.
    mutating func resolveDirectories(
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
                    place: place, reason: "AUTO is for Device DAX: write how far the pool may grow here")
            }
            guard description.options.contains(.singleHeader) else {
                throw .badConfiguration(
                    place: place, reason: "\(part.path) is a directory: that needs `OPTION SINGLEHDR`")
            }
            if let other = directories.first(where: { Self.isSame($0.path, part.path) }) {
                throw .badConfiguration(
                    place: place, reason: "directory \(part.path) is on line \(other.line) already")
            }
            directories.append(GrowthDirectory(path: part.path, line: part.line, reservation: reservation))
        }

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

    private static func isSame(_ one: FilePath, _ other: FilePath) -> Bool {
        var first = stat()
        var second = stat()
        return one.withPlatformString { stat($0, &first) } == 0
            && other.withPlatformString { stat($0, &second) } == 0
            && PartFile.Identity(first) == PartFile.Identity(second)
    }

    /// Bytes that all directories may hold.
    var reservation: UInt64 {
        directories.reduce(0) { sum, directory in
            let (total, overflow) = sum.addingReportingOverflow(directory.reservation & ~(PoolGeometry.pageSize - 1))
            return overflow ? .max : total
        }
    }

    /// Sizes and places of the files that the set's directories lack for a pool of `requestedSize`.
    ///
    /// - Parameter present: Bytes that are there.
    func growth(to requestedSize: UInt64, present: UInt64) throws(PoolError) -> [(path: FilePath, size: UInt64)] {
        guard !directories.isEmpty else { return [] }
        // A pool has at least one part, whatever is asked for.
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
            let size = max(min(rest, GrowthDirectory.growth), PoolGeometry.minimumPart)
            let directory = directories[number % directories.count].path
            files.append((directory.appending(GrowthDirectory.fileName(number)), size))
            sum += size
        }
        return files
    }
}
