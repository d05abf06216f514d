import SystemPackage

/// Reads the text of pool set files (`docs/media.md`, section 1.1 (Grammar)).
package enum PoolSetFile {
    /// Bytes a pool set file may have.
    package static let maximumSize = 1 << 20
    /// Parts a pool set may have: each takes a descriptor.
    package static let maximumParts = 4096

    /// Bytes a part path may have: Linux opens no longer one (`PATH_MAX` counts the NUL).
    package static let maximumPathLength = 4095

    static let signature = Array("PMEMPOOLSET".utf8)

    /// Whether a file that starts with these bytes is a pool set file rather than a pool.
    static func isPoolSet(_ bytes: some Collection<UInt8>) -> Bool { bytes.starts(with: signature) }

    /// Why a text is no pool set file that a target can use.
    package struct Flaw: Error, Equatable {
        /// Counted from 1.
        package var line: Int
        package var reason: String
    }

    /// Parses any bytes whatever.
    package static func parse(_ bytes: [UInt8]) throws(Flaw) -> PoolSetDescription {
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        guard let first = lines.first, first.elementsEqual(signature), lines.count > 1 else {
            throw Flaw(line: 1, reason: firstLineReason(lines.first ?? []))
        }
        lines.removeFirst()

        var parts: [PoolSetDescription.Part] = []
        var options: PoolSetDescription.Options = []
        for (index, line) in lines.enumerated() {
            let number = index + 2
            let fields = fields(of: line)
            guard let keyword = fields.first else { continue }
            if line.contains(UInt8(ascii: "\r")) {
                throw Flaw(line: number, reason: "has a carriage return: save the file with Unix line ends")
            }
            switch String(decoding: keyword, as: UTF8.self) {
            case "OPTION":
                try options.formUnion(parseOptions(fields.dropFirst(), line: number))
            case "REPLICA":
                throw Flaw(
                    line: number,
                    reason: "a target's pool set must not have replicas: "
                        + "keep the parts of one replica here and name the others in the initiator's pool set")
            default:
                if parts.count == maximumParts {
                    throw Flaw(line: number, reason: "more than \(maximumParts) parts")
                }
                parts.append(try parsePart(fields, line: number))
            }
        }
        if parts.isEmpty {
            throw Flaw(line: lines.count + 1, reason: "no parts: add lines such as `4G /path/to/part`")
        }
        if options.isSuperset(of: [.singleHeader, .noHeaders]) {
            throw Flaw(line: lines.count + 1, reason: "both SINGLEHDR and NOHDRS: keep one of them")
        }
        return PoolSetDescription(parts: parts, options: options)
    }

    private static func firstLineReason(_ line: some Collection<UInt8>) -> String {
        if line.elementsEqual(signature + [UInt8(ascii: "\r")]) {
            return "has a carriage return: save the file with Unix line ends"
        }
        if line.elementsEqual(signature) { return "no parts: add lines such as `4G /path/to/part`" }
        return "the first line must be exactly 'PMEMPOOLSET'"
    }

    /// What is left of the line without its comment, split by blanks and tabs.
    private static func fields(of line: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        line.prefix { $0 != UInt8(ascii: "#") }
            .split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    }

    /// What a message shows of a field: a field may be as long as the file.
    static func excerpt(_ field: some Collection<UInt8>) -> String {
        let most = 64
        return String(decoding: field.prefix(most), as: UTF8.self) + (field.count > most ? "..." : "")
    }

    private static func parseOptions(
        _ names: ArraySlice<ArraySlice<UInt8>>, line: Int
    ) throws(Flaw) -> PoolSetDescription.Options {
        if names.isEmpty { throw Flaw(line: line, reason: "OPTION without a name: SINGLEHDR or NOHDRS") }
        var options: PoolSetDescription.Options = []
        for name in names {
            switch String(decoding: name, as: UTF8.self) {
            case "SINGLEHDR": options.insert(.singleHeader)
            case "NOHDRS": options.insert(.noHeaders)
            default:
                throw Flaw(line: line, reason: "unknown option '\(excerpt(name))': SINGLEHDR or NOHDRS")
            }
        }
        return options
    }

    private static func parsePart(
        _ fields: [ArraySlice<UInt8>], line: Int
    ) throws(Flaw) -> PoolSetDescription.Part {
        let shown = fields.prefix(3).map { excerpt($0) }
        guard fields.count == 2 else {
            throw Flaw(
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
            case .failure(let reason): throw Flaw(line: line, reason: "'\(shown[0])' \(reason.text)")
            }
        }
        let path = fields[1]
        guard path.first == UInt8(ascii: "/") else {
            throw Flaw(line: line, reason: "part path '\(shown[1])' is not absolute")
        }
        guard !path.contains(0) else { throw Flaw(line: line, reason: "part path has a NUL byte") }
        guard path.count <= maximumPathLength else {
            throw Flaw(
                line: line, reason: "part path has \(path.count) bytes: a path has at most \(maximumPathLength)")
        }
        return PoolSetDescription.Part(line: line, size: size, path: FilePath(bytes: path))
    }
}

extension FilePath {
    /// A path of these bytes, which must not contain NUL; they need not be UTF-8.
    init(bytes: some Collection<UInt8>) {
        self.init(platformString: bytes.map { CChar(bitPattern: $0) } + [0])
    }
}
