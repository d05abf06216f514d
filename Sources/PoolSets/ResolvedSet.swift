import CLinux
import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

/// What a descriptor names, looked up on disk; no part is open yet.
struct ResolvedSet {
    /// The pool set file, or the plain file or device that is the pool; for messages.
    var path: String
    var options: PoolSetDescription.Options
    var parts: [Spec]
    /// Where parts are made as they are needed; empty unless the set lists directories.
    var directories: [GrowthDirectory] = []
    /// A plain file or Device DAX, not a pool set file.
    var isPlain = false
    /// Of the pool set file that was read; nil for a plain file.
    var identity: PartFile.Identity?
    /// What is wrong with the numbers of the parts in ``directories``; only a removal goes on then.
    var missingNumber: PoolError?

    /// A part as the set wants it.
    struct Spec: Equatable {
        var location: PartLocation
        /// For messages.
        var path: String
        /// Of the pool set file; nil for parts that it does not list.
        var line: Int?
        var size: Size

        enum Size: Equatable {
            case exactly(UInt64)
            /// The whole of a Device DAX.
            case auto
            /// As big as it is: a plain file, or a part in a directory.
            case any
        }
    }

    /// Refuses to make or open a pool of which a part in a directory is missing.
    func checkNumbers() throws(PoolError) {
        if let missingNumber { throw missingNumber }
    }

    /// `path:line` of a part, or the path where no line speaks of it.
    func place(of spec: Spec) -> String { spec.line.map { "pool set \(path):\($0)" } ?? spec.path }
}

extension PoolStore {
    /// Looks the descriptor up and reads what it names.
    func resolve(_ descriptor: [UInt8]) throws(PoolError) -> ResolvedSet {
        let path = try checkedPath(descriptor)
        let file: Descriptor
        do throws(SystemCallError) {
            file = try openBeneath(
                directory.number, descriptor, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY, shown: path)
        } catch {
            throw lookupError(error, descriptor: descriptor, path: path)
        }
        var status = stat()
        if fstat(file.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFCHR: return .plain(descriptor, path)
        case S_IFDIR:
            throw .badConfiguration(
                place: path, reason: "is a directory: name a pool set file, or a plain file as big as the pool")
        default:
            throw .badConfiguration(place: path, reason: "is neither a pool set file nor a plain file or Device DAX")
        }

        var start = [UInt8](repeating: 0, count: PoolSetFile.signature.count)
        let count = pread(file.number, &start, start.count, 0)
        if count < 0 { throw .system(.last("read", on: path)) }
        guard PoolSetFile.isPoolSet(start[..<count]) else { return .plain(descriptor, path) }
        // Larger than any pool set file: a pool whose initiator wrote this over its header.
        if UInt64(clamping: status.st_size) >= PoolGeometry.minimumPart { return .plain(descriptor, path) }

        let text: [UInt8]
        do throws(SystemCallError) { text = try readFile(file, limit: PoolSetFile.maximumSize) } catch {
            if error.errno == .fileTooLarge {
                throw .badConfiguration(
                    place: "pool set \(path)", reason: "longer than \(PoolSetFile.maximumSize) bytes")
            }
            throw .system(SystemCallError(error.call, on: path, errno: error.errno))
        }
        let description: PoolSetDescription
        do throws(PoolSetFile.Flaw) { description = try PoolSetFile.parse(text) } catch {
            throw .badConfiguration(place: "pool set \(path):\(error.line)", reason: error.reason)
        }
        var set = try ResolvedSet(description, path: path)
        set.identity = PartFile.Identity(status)
        return set
    }

    /// The rules for descriptors that need no look at the disk.
    ///
    /// - Returns: The whole path, for messages.
    func checkedPath(_ descriptor: [UInt8]) throws(PoolError) -> String {
        let shown = String(decoding: descriptor, as: UTF8.self)
        if descriptor.isEmpty { throw .badName(descriptor: shown, reason: "is empty: name a pool set file") }
        if descriptor.contains(0) { throw .badName(descriptor: shown, reason: "has a NUL byte inside") }
        if descriptor.first == UInt8(ascii: "/") {
            throw .badName(
                descriptor: shown,
                reason: "is absolute: it is looked up in the pool set directory \(path), so name it relative to that")
        }
        return "\(path)/\(shown)"
    }

    private func lookupError(_ error: SystemCallError, descriptor: [UInt8], path: String) -> PoolError {
        let shown = String(decoding: descriptor, as: UTF8.self)
        switch error.errno {
        case .improperLink:
            return .badName(descriptor: shown, reason: "leads out of the pool set directory \(self.path)")
        case .fileNameTooLong: return .badName(descriptor: shown, reason: "is longer than a path can be")
        case .tooManySymbolicLinkLevels:
            return .badName(descriptor: shown, reason: "leads through too many or forbidden symbolic links")
        case .noSuchFileOrDirectory, .notDirectory: return .notFound(what: .poolSet, path: path, set: nil)
        case .noSuchAddressOrDevice, .operationNotSupportedByDevice:
            return .badConfiguration(
                place: path, reason: "is neither a pool set file nor a plain file or Device DAX")
        default: return .from(error, path: path)
        }
    }
}

extension ResolvedSet {
    fileprivate static func plain(_ descriptor: [UInt8], _ path: String) -> ResolvedSet {
        ResolvedSet(
            path: path, options: [],
            parts: [Spec(location: .beneath(descriptor), path: path, line: nil, size: .any)], isPlain: true)
    }

    private init(path: String, options: PoolSetDescription.Options, parts: [Spec], isPlain: Bool) {
        self.path = path
        self.options = options
        self.parts = parts
        self.isPlain = isPlain
    }

    fileprivate init(_ description: PoolSetDescription, path: String) throws(PoolError) {
        self.init(path: path, options: description.options, parts: [], isPlain: false)
        var isDirectory: [Bool] = []
        for part in description.parts {
            var status = stat()
            let found = part.path.withPlatformString { stat($0, &status) } == 0
            isDirectory.append(found && status.st_mode & S_IFMT == S_IFDIR)
        }
        if isDirectory.contains(true) {
            try resolveDirectories(description, isDirectory)
            return
        }
        for part in description.parts {
            let size: Spec.Size =
                switch part.size {
                case .bytes(let bytes): .exactly(bytes)
                case .auto: .auto
                }
            parts.append(
                Spec(location: .absolute(part.path), path: part.path.string, line: part.line, size: size))
        }
        try checkParts()
    }

    /// What can be said before a part is opened: no part twice, none too small.
    private func checkParts() throws(PoolError) {
        var lines: [PartLocation: Int] = [:]
        for spec in parts {
            if let other = lines.updateValue(spec.line ?? 0, forKey: spec.location) {
                throw .badConfiguration(
                    place: place(of: spec), reason: "part \(spec.path) is on line \(other) already")
            }
            if case .exactly(let size) = spec.size, size < PoolGeometry.minimumPart {
                throw .badConfiguration(
                    place: place(of: spec),
                    reason: "part \(spec.path) has \(size) bytes: a part has at least \(PoolGeometry.minimumPart)")
            }
        }
    }
}
