import Glibc
import SystemSupport
import TestSupport
import Testing

/// `docs/troubleshooting.md`: each mistake of its tables is made with the real programs, and the line that the user sees is the
/// row's. Then the test follows each remedy of the line, and the same command has to succeed.
@Suite(
    "docs/troubleshooting.md",
    .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct TroubleshootingTests {
    @Test("a mistake shows the documented line, and its remedy works", arguments: Mistake.all)
    func row(mistake: Mistake) throws {
        if mistake.needsRoot && geteuid() != 0 || !mistake.isPossible { return }
        // The line may leave a choice: each remedy has a machine of its own.
        for (number, follow) in mistake.remedies.enumerated() {
            let scene = try Scene()
            try mistake.make(scene)
            let line = try scene.lineSeen(by: mistake)
            #expect(
                line != nil && line == Self.rows[mistake.name],
                "\(mistake.name)\nROW | \(mistake.name) | `\(line ?? "nothing")` |")
            guard let line else { return }
            try follow(scene, line)
            let again = try scene.lineSeen(by: mistake)
            #expect(again == nil, "remedy \(number + 1) does not work: \(again ?? "")")
        }
    }

    @Test("each row has a test, and there are at least 60")
    func everyRowHasATest() {
        #expect(Set(Self.rows.keys) == Set(Mistake.all.map(\.name)))
        #expect(Self.rows.count >= 60)
    }

    /// The lines, by mistake.
    private static let rows: [String: String] = {
        guard let file = try? Descriptor.open("\(Binaries.packageDirectory)/docs/troubleshooting.md", O_RDONLY),
            let bytes = try? readFile(file, limit: 1 << 20)
        else { return [:] }
        var rows: [String: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            // A bar inside a cell has a backslash in front of it.
            let cells = line.replacing("\\|", with: "\u{1}").split(separator: "|")
                .map {
                    String($0.replacing("\u{1}", with: "|").drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
                }
            guard cells.count == 2 else { continue }
            // A line with a backtick in it is between two of them.
            for mark in ["`` ", "`"] where cells[1].hasPrefix(mark) {
                rows[cells[0]] = String(cells[1].dropFirst(mark.count).dropLast(mark.count))
                break
            }
        }
        return rows
    }()
}

/// A mistake that users make.
struct Mistake: Sendable, CustomTestStringConvertible {
    /// As in the table.
    let name: String
    var needsRoot = false
    /// Whether this machine, and this build, show the mistake's line.
    var isPossible = true
    /// The command whose output the user looks at.
    let command: Command
    /// Makes the mistake.
    let make: @Sendable (Scene) throws -> Void
    /// Each does what the line says, for the same command to succeed.
    let remedies: [Remedy]

    typealias Remedy = @Sendable (Scene, _ line: String) throws -> Void

    enum Command: Sendable {
        /// `pmempool create` of a pool of 16 MiB with a replica on the target.
        case create
        /// A program that opens a pool of 4 MiB, or of ``Scene/size``, on the target.
        case open
        /// `rpmemd` with these arguments, or with ``Scene/arguments``; `@` stands for the configuration file.
        case rpmemd([String])
        /// `rpmem_remove` of the pool.
        case remove
    }

    var testDescription: String { name }

    init(
        _ name: String, _ command: Command, root needsRoot: Bool = false, possible isPossible: Bool = true,
        _ make: @escaping @Sendable (Scene) throws -> Void,
        remedy: @escaping Remedy, or other: Remedy? = nil
    ) {
        self.name = name
        self.command = command
        self.needsRoot = needsRoot
        self.isPossible = isPossible
        self.make = make
        remedies = [remedy] + (other.map { [$0] } ?? [])
    }

    static let all = sets + pools + settings + connections
}

/// What Debian's packages are needed for here, and is missing; nil when all is there.
private let missingPackage: String? =
    access("/usr/include/libpmemobj.h", F_OK) == 0 ? missingPrograms("gcc", "pmempool") : "libpmemobj.h"
