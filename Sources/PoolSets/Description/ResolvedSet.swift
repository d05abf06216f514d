import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// What a descriptor names, looked up on disk. No part is open yet.
struct ResolvedSet {
    /// The pool set file, or the plain file or device that is the pool; for messages.
    let path: String
    private(set) var options: PoolSetDescription.Options
    var parts: [Spec] = []
    /// Directories in which CREATE makes the parts that the pool needs; empty unless the set lists directories.
    var directories: [GrowthDirectory] = []
    /// The pool is a plain file or a Device DAX: there is no pool set file.
    let isPlain: Bool
    /// Of the pool set file that was read; nil for a plain pool.
    let identity: FileIdentity?
    /// Why a plain file can be no pool, since it is too small. It is meant to be a pool set file, then.
    var plainObstacle: PoolError?
    /// Of an initiator's set; see ``PoolSetDescription/otherReplicas``.
    var otherReplicas: [PoolSetDescription.Replica] = []
    /// The part that is missing in ``directories``. CREATE and OPEN refuse such a set, a removal takes the other parts.
    var missingNumber: PoolError?

    /// A part, as the set describes it.
    struct Spec: Equatable {
        let location: PartLocation
        /// For messages.
        let path: String
        /// Of the pool set file; nil for parts that it does not list.
        let line: Int?
        let size: ExpectedSize

        enum ExpectedSize: Equatable {
            case exactly(UInt64)
            /// The whole of a Device DAX.
            case auto
            /// Any size: a plain file, or a part in a directory.
            case any
        }
    }

    /// Looks the descriptor up and reads the pool set file.
    init(
        _ descriptor: PoolDescriptor, in directory: PoolSetDirectory, of side: PoolSetFile.Side = .target
    ) throws(PoolError) {
        let path = directory.path(of: descriptor)
        let file: Descriptor
        do throws(SystemCallError) {
            file = try directory.open(descriptor, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY)
        } catch {
            throw directory.lookupError(error, descriptor)
        }
        var status = stat()
        if fstat(file.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
        guard try Self.isPoolSetFile(file, status, path) else {
            self.init(plain: descriptor, path)
            plainObstacle = Self.findPlainObstacle(file, status, path)
            return
        }
        let text: [UInt8]
        do throws(SystemCallError) { text = try readFile(file, limit: PoolSetFile.maximumSize) } catch {
            if error.errno == .fileTooLarge {
                throw .badConfiguration(
                    place: "pool set \(path)", reason: "is longer than \(PoolSetFile.maximumSize) bytes")
            }
            throw .system(SystemCallError(error.call, on: path, errno: error.errno))
        }
        let description: PoolSetDescription
        do throws(PoolSetFile.SyntaxError) { description = try PoolSetFile.parse(text, of: side) } catch {
            throw .badConfiguration(place: "pool set \(path):\(error.line)", reason: error.reason)
        }
        try self.init(description, path: path, identity: FileIdentity(status))
    }

    /// - Returns: false for a plain pool.
    private static func isPoolSetFile(
        _ file: borrowing Descriptor, _ status: stat, _ path: String
    ) throws(PoolError) -> Bool {
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFCHR: return false
        case S_IFDIR:
            throw .badConfiguration(
                place: path, reason: "is a directory: name a pool set file, or a plain file as big as the pool")
        default:
            throw .badConfiguration(place: path, reason: "is neither a pool set file nor a plain file or Device DAX")
        }
        var start = [UInt8](repeating: 0, count: PoolSetFile.signature.count)
        let count = pread(file.number, &start, start.count, 0)
        if count < 0 { throw .system(.last("read", on: path)) }
        guard PoolSetFile.isPoolSet(start[..<count]) else { return false }
        // No pool set file is as large as a part: this is a pool whose initiator wrote these bytes over its header.
        return UInt64(clamping: status.st_size) < PoolGeometry.minimumPart
    }

    private static func findPlainObstacle(
        _ file: borrowing Descriptor, _ status: stat, _ path: String
    ) -> PoolError? {
        guard status.st_mode & S_IFMT == S_IFREG, UInt64(clamping: status.st_size) < PoolGeometry.minimumPart else {
            return nil
        }
        var start = [UInt8](repeating: 0, count: 64)
        let count = max(0, pread(file.number, &start, start.count, 0))
        let line = start[..<count].prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        let found =
            if count == 0 {
                "the file is empty"
            } else if start.starts(with: [0xef, 0xbb, 0xbf]) {
                "the file begins with a byte order mark (U+FEFF): save it as UTF-8 without one"
            } else {
                "the first line is \(quoted(String(decoding: line, as: UTF8.self)))"
            }
        return .badConfiguration(
            place: path,
            reason: "is no pool set file, since its first line must be exactly 'PMEMPOOLSET': \(found); and with "
                + "\(status.st_size) bytes it is no pool, which has at least \(PoolGeometry.minimumPart)")
    }

    /// Takes a plain file as one without a header.
    mutating func takeAsRaw() throws(PoolError) {
        guard isPlain else {
            throw .badConfiguration(place: place, reason: "is a pool set file, and no raw file")
        }
        options = .noHeaders
    }

    /// A plain file or Device DAX.
    init(plain descriptor: PoolDescriptor, _ path: String) {
        self.path = path
        options = []
        isPlain = true
        identity = nil
        parts = [Spec(location: .beneath(descriptor), path: path, line: nil, size: .any)]
    }

    private init(
        _ description: PoolSetDescription, path: String, identity: FileIdentity
    ) throws(PoolError) {
        self.path = path
        options = description.options
        isPlain = false
        self.identity = identity
        otherReplicas = description.otherReplicas
        let isDirectory = description.parts.map { part in
            var status = stat()
            let found = part.path.withPlatformString { stat($0, &status) } == 0
            return found && status.st_mode & S_IFMT == S_IFDIR
        }
        if isDirectory.contains(true) {
            try addDirectories(description, isDirectory)
            return
        }
        for part in description.parts {
            let size: Spec.ExpectedSize =
                switch part.size {
                case .bytes(let bytes): .exactly(bytes)
                case .auto: .auto
                }
            parts.append(
                Spec(location: .absolute(part.path), path: part.path.string, line: part.line, size: size))
        }
        try checkParts()
    }

    /// Refuses a set that lists a part twice, or one that is too small.
    private func checkParts() throws(PoolError) {
        var lines: [PartLocation: Int] = [:]
        for spec in parts {
            if let other = lines.updateValue(spec.line ?? 0, forKey: spec.location) {
                throw .badConfiguration(
                    place: place(of: spec), reason: "part \(spec.path) is on line \(other) already: remove one line")
            }
            if case .exactly(let size) = spec.size, size < PoolGeometry.minimumPart {
                throw .badConfiguration(
                    place: place(of: spec),
                    reason: "part \(spec.path) has \(size) bytes: write \(PoolGeometry.minimumPart)B or more")
            }
        }
    }

    // MARK: For messages

    /// The pool set file and the line of a part, or the part's path where no line lists it.
    func place(of spec: Spec) -> String { spec.line.map { "pool set \(path):\($0)" } ?? spec.path }

    /// The pool set file, or the plain pool.
    var place: String { isPlain ? path : "pool set \(path)" }

    // MARK: Rules

    /// Refuses a set with a missing part in its directories.
    func checkNumbers() throws(PoolError) {
        if let missingNumber { throw missingNumber }
    }

    /// Refuses SINGLEHDR in the set without SINGLEHDR in the incompat features, and the other way round.
    ///
    /// - Parameter origin: What has the features: `request` or `pool's header`.
    func checkSingleHeader(incompatFeatures: UInt32, origin: String) throws(PoolError) {
        let inSet = options.contains(.singleHeader)
        let inFeatures = incompatFeatures & Feature.singleHeader != 0
        guard inSet != inFeatures, !options.contains(.noHeaders) else { return }
        let features = "incompat features 0x\(String(incompatFeatures, radix: 16))"
        throw .badConfiguration(
            place: place,
            reason: inSet
                ? "the set has SINGLEHDR, the \(origin) does not (\(features)): remove the option, "
                    + "or give the initiator's pool set the same one"
                : "the \(origin) has SINGLEHDR (\(features)), the set does not: add `OPTION SINGLEHDR`")
    }
}
