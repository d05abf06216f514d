import SystemSupport
import TestSupport

/// The text of a manual page as a person reads it, its lines and blanks as single blanks.
struct ManualPage {
    let text: String

    /// - Parameter name: Such as `rpmemd.1`.
    init(_ name: String) throws {
        let outcome = try Command([
            "/usr/bin/groff", "-man", "-Tascii", "-P-cbou", "-rLL=4000n", "\(Binaries.packageDirectory)/man/\(name)",
        ])
        guard outcome.isSuccess else { throw TestSupportError("\(outcome)") }
        text = Self.normalized(outcome.output)
    }

    /// A section, from its heading in capitals to the next heading; nil when there is none.
    static func section(_ heading: String, of name: String) throws -> [String] {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/\(name)", 0)
        let lines = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self).split(separator: "\n")
        guard let start = lines.firstIndex(where: { $0 == ".SH \(heading)" }) else {
            throw TestSupportError("\(name) has no section \(heading)")
        }
        return lines[(start + 1)...].prefix { !$0.hasPrefix(".SH") }.map(String.init)
    }

    /// The tag of each tagged paragraph of a section, without roff's marks.
    static func tags(_ heading: String, of name: String) throws -> [String] {
        let lines = try section(heading, of: name)
        return lines.indices.dropLast().filter { lines[$0] == ".TP" }.map { index in
            lines[index + 1].replacing(#/^\.[A-Z]+ /#, with: "").replacing("\"", with: "")
        }
    }

    static func normalized(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    static let isReadable = TemporaryDirectory.entries(of: "/usr/bin").contains("groff")
}
