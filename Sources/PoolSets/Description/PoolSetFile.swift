import SystemPackage

/// The contents of a pool set file, before any comparison with the disk.
package struct PoolSetDescription: Equatable, Sendable {
    /// At least one.
    package var parts: [Part]
    package var options: Options
    /// Of an initiator's set, the replicas behind the first one; empty for a target's.
    package var otherReplicas: [Replica] = []

    /// A replica behind the first one.
    package enum Replica: Equatable, Sendable {
        /// `REPLICA HOST SET`, on line `line`.
        case remote(line: Int)
        /// `REPLICA` alone, on line `line`, and the sizes of its parts.
        case local(line: Int, sizes: [Size])
    }

    /// A `SIZE PATH` line.
    package struct Part: Equatable, Sendable {
        /// Counted from 1.
        package var line: Int
        package var size: Size
        /// Absolute. Unlike descriptors, part paths are not confined to the pool set directory: whoever can write the
        /// pool set file is trusted with them.
        package var path: FilePath
    }

    package enum Size: Equatable, Sendable {
        /// As written, not rounded.
        case bytes(UInt64)
        /// The whole of a Device DAX.
        case auto
    }

    package struct Options: OptionSet, Sendable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Only the first part has a header.
        package static let singleHeader = Options(rawValue: 1 << 0)
        /// No part has a header.
        package static let noHeaders = Options(rawValue: 1 << 1)

        /// How many of a pool's parts have a header: the first ones.
        package func headerCount(parts: Int) -> Int {
            contains(.noHeaders) ? 0 : contains(.singleHeader) ? min(parts, 1) : parts
        }
    }
}

/// Parses pool set files (`docs/media.md`, section 1.1 (Grammar)).
package enum PoolSetFile {
    /// The most bytes that a pool set file may have.
    package static let maximumSize = 1 << 20
    /// The most parts that a pool set may have: each part takes a file descriptor.
    package static let maximumParts = 4096

    /// The most bytes that a part path may have: Linux opens no longer path (`PATH_MAX` counts the NUL).
    package static let maximumPathLength = 4095

    static let signature = Array("PMEMPOOLSET".utf8)

    /// Whether a file that starts with these bytes is a pool set file rather than a pool.
    static func isPoolSet(_ bytes: some Collection<UInt8>) -> Bool { bytes.starts(with: signature) }

    /// Why a target cannot use a text as a pool set file.
    package struct SyntaxError: Error, Equatable {
        /// Counted from 1.
        package var line: Int
        package var reason: String
    }

    /// The machine whose pool set file is parsed.
    package enum Side: Sendable {
        /// The set is one replica.
        case target
        /// The first replica of the set is taken, as libpmemobj does; the lines `REPLICA` are behind it.
        case initiator
    }

    /// Parses a pool set file, whatever its bytes are.
    package static func parse(_ bytes: [UInt8], of side: Side = .target) throws(SyntaxError) -> PoolSetDescription {
        // As with PMDK, a line may end with a carriage return and a newline, and the file may be padded with NUL.
        let text = bytes.prefix((bytes.lastIndex { $0 != 0 } ?? -1) + 1)
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0 }
        guard let first = lines.first, first.elementsEqual(signature), lines.count > 1 else {
            throw SyntaxError(line: 1, reason: firstLineReason(lines.first ?? []))
        }
        lines.removeFirst()

        var parts: [PoolSetDescription.Part] = []
        var options: PoolSetDescription.Options = []
        var others: [PoolSetDescription.Replica] = []
        for (index, line) in lines.enumerated() {
            let number = index + 2
            let fields = fields(of: line)
            guard let keyword = fields.first else { continue }
            if line.contains(UInt8(ascii: "\r")) {
                throw SyntaxError(line: number, reason: "has a carriage return that does not end the line: remove it")
            }
            switch String(decoding: keyword, as: UTF8.self) {
            case "OPTION":
                try options.formUnion(parseOptions(fields.dropFirst(), line: number))
            case "REPLICA" where side == .initiator:
                others.append(try parseReplica(fields, line: number))
            case "REPLICA":
                throw SyntaxError(
                    line: number,
                    reason: "a target's pool set must not have replicas: "
                        + "keep the parts of one replica here and name the others in the initiator's pool set")
            default:
                if parts.count == maximumParts {
                    throw SyntaxError(line: number, reason: "more than \(maximumParts) parts")
                }
                let part = try parsePart(fields, line: number)
                switch others.last {
                case nil: parts.append(part)
                case .local(let line, let sizes)?:
                    others[others.count - 1] = .local(line: line, sizes: sizes + [part.size])
                case .remote?:
                    throw SyntaxError(line: number, reason: "a part behind a replica on another machine")
                }
            }
        }
        if parts.isEmpty {
            throw SyntaxError(line: lines.count + 1, reason: "no parts: add lines such as `4G /path/to/part`")
        }
        if options.isSuperset(of: [.singleHeader, .noHeaders]) {
            throw SyntaxError(
                line: lines.count + 1,
                reason: "both SINGLEHDR and NOHDRS: keep one of them: SINGLEHDR if the "
                    + "initiator's pool set has it, NOHDRS if its program gives no attributes; else neither")
        }
        return PoolSetDescription(parts: parts, options: options, otherReplicas: others)
    }

    private static func parseReplica(
        _ fields: [ArraySlice<UInt8>], line: Int
    ) throws(SyntaxError) -> PoolSetDescription.Replica {
        switch fields.count {
        case 1: .local(line: line, sizes: [])
        case 3: .remote(line: line)
        default:
            throw SyntaxError(line: line, reason: "REPLICA stands alone, or with a host and a pool set behind it")
        }
    }

    private static func firstLineReason(_ line: some Collection<UInt8>) -> String {
        if line.elementsEqual(signature) { return "no parts: add lines such as `4G /path/to/part`" }
        return "the first line must be exactly 'PMEMPOOLSET'"
    }

    /// Cuts the comment off a line and splits the rest at blanks and tabs.
    private static func fields(of line: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        line.prefix { $0 != UInt8(ascii: "#") }
            .split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    }

    /// The start of a field, for messages: a field may be as long as the file.
    static func excerpt(_ field: some Collection<UInt8>) -> String {
        let most = 64
        return String(decoding: field.prefix(most), as: UTF8.self) + (field.count > most ? "..." : "")
    }

    private static func parseOptions(
        _ names: ArraySlice<ArraySlice<UInt8>>, line: Int
    ) throws(SyntaxError) -> PoolSetDescription.Options {
        if names.isEmpty {
            throw SyntaxError(
                line: line, reason: "OPTION without a name: remove the line, or write SINGLEHDR or NOHDRS")
        }
        var options: PoolSetDescription.Options = []
        for name in names {
            switch String(decoding: name, as: UTF8.self) {
            case "SINGLEHDR": options.insert(.singleHeader)
            case "NOHDRS": options.insert(.noHeaders)
            default:
                throw SyntaxError(
                    line: line, reason: "unknown option '\(excerpt(name))': remove it; there are SINGLEHDR and NOHDRS")
            }
        }
        return options
    }

    private static func parsePart(
        _ fields: [ArraySlice<UInt8>], line: Int
    ) throws(SyntaxError) -> PoolSetDescription.Part {
        let shown = fields.prefix(3).map { excerpt($0) }
        guard fields.count == 2 else {
            throw SyntaxError(
                line: line,
                reason: fields.count == 1
                    ? "'\(shown[0])' alone: a part is a size and an absolute path"
                    : "'\(shown[2])' after the path: a part is a size and a path without blanks")
        }
        let size: PoolSetDescription.Size
        if fields[0].elementsEqual("AUTO".utf8) {
            size = .auto
        } else {
            switch PoolSetSize.parse(fields[0]) {
            case .success(let bytes): size = .bytes(bytes)
            case .failure(let error): throw SyntaxError(line: line, reason: "'\(shown[0])' \(error.reason)")
            }
        }
        let path = fields[1]
        guard path.first == UInt8(ascii: "/") else {
            throw SyntaxError(line: line, reason: "part path '\(shown[1])' is not absolute: begin it with /")
        }
        guard !path.contains(0) else { throw SyntaxError(line: line, reason: "part path has a NUL byte") }
        guard path.count <= maximumPathLength else {
            throw SyntaxError(
                line: line, reason: "part path has \(path.count) bytes: a path has at most \(maximumPathLength)")
        }
        return PoolSetDescription.Part(line: line, size: size, path: FilePath(bytes: path))
    }
}

extension FilePath {
    /// A path of these bytes, which must not contain NUL; they need not be UTF-8.
    init(bytes: some Collection<UInt8>) {
        self.init(platformString: bytes.nulTerminated)
    }
}

extension Collection<UInt8> {
    /// For system calls. C's char has a sign on x86-64 and none on aarch64.
    var nulTerminated: [CChar] { map { CChar(truncatingIfNeeded: $0) } + [0] }
}
