import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// The table of docs/doctor.md: set-ups that are broken, what `rpmemctl doctor` says of them, and how its remedy was followed.
enum DoctorDocument {
    struct Row: Hashable, CustomStringConvertible {
        /// What is broken: the words of the test's name, or the name of a case of virtual machines.
        var name: String
        var check: String
        /// The verdict, and what is found.
        var found: String
        var remedy: String
        var followed: String

        var description: String {
            let cells = [name, check, "`` \(found) ``", remedy, followed]
            return "| \(cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ")) |"
        }
    }

    static let path = "\(Binaries.packageDirectory)/docs/doctor.md"

    static let rows: [Row] = {
        guard let file = try? Descriptor.open(path, O_RDONLY), let bytes = try? readFile(file, limit: 1 << 20) else {
            return []
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let cells = line.replacing("\\|", with: "\u{1}").split(separator: "|").map { cell in
                String(cell.replacing("\u{1}", with: "|").drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
            }
            guard cells.count == 5, cells[2].hasPrefix("`` ") else { return nil }
            return Row(
                name: cells[0], check: cells[1], found: String(cells[2].dropFirst(3).dropLast(3)), remedy: cells[3],
                followed: cells[4])
        }
    }()

    /// Expects that the table has the row.
    ///
    /// - Parameters:
    ///   - test: The name of the test's function.
    ///   - runsCommand: Whether the test runs the remedy's command as it stands.
    static func expectRow(
        _ test: String, _ check: ReportedCheck, _ patient: DoctorPatient, runsCommand: Bool, _ location: SourceLocation
    ) {
        // Names of users and owners are root's.
        if geteuid() != 0 { return }
        let row = Row(
            name: words(of: test), check: "\(check.check), \(check.machine.rawValue)",
            found: "\(check.verdict.rawValue): \(patient.usual(check.found))",
            remedy: patient.usual(check.remedy ?? ""),
            followed: runsCommand ? "the command is run" : "what it says is done")
        #expect(rows.contains(row), "docs/doctor.md lacks this row:\nROW \(row)", sourceLocation: location)
    }

    /// `aClosedPort()` is "a closed port".
    static func words(of test: String) -> String {
        var words = ""
        var last: Character = "A"
        for character in test.prefix(while: { $0 != "(" }) {
            if character.isUppercase, !last.isUppercase { words += " " }
            words.append(character)
            last = character
        }
        // Abbreviations stay in capitals.
        return words.split(separator: " ").map {
            $0.allSatisfy(\.isUppercase) && $0.count > 1 ? "\($0)" : $0.lowercased()
        }
        .joined(separator: " ")
    }
}

extension DoctorPatient {
    /// A text with the paths and numbers of the documentation.
    func usual(_ text: String) -> String {
        var text = text
        for (own, usual) in [
            (target.sets, "/srv/pools"), (target.parts, "/srv/parts"),
            (target.directory.file("conf"), "/etc/rpmemd/rpmemd.conf"), (target.log, "/var/log/rpmemd.log"),
            (target.directory.path, "/home/user"), (Binaries.rpmemd, "rpmemd"),
        ] { text = text.replacing(own, with: usual) }
        text = text.replacing(#/XDG_RUNTIME_DIR=[^ ]+ /#, with: "").replacing("/usr/bin/env ", with: "")
        text = text.replacing(/port \d{4,5}/, with: "port 41234").replacing(#/-p \d{5}/#, with: "-p 2222")
        text = text.replacing(#/:\d{5}\b/#, with: ":2222").replacing(
            /port-range \d{5}-\d{5}/, with: "port-range 7700-7700")
        text = text.replacing(#/\d+ are free/#, with: "1073741824 are free")
        text = text.replacing(#/3[56]\d{5} ms ahead, within \d+ ms/#, with: "3600000 ms ahead, within 2 ms")
        text = text.replacing(#/SHA256:[A-Za-z0-9+\/]{43}/#, with: "SHA256:...")
        text = text.replacing(
            #/sessions log to (the journal|syslog) instead/#, with: "sessions log to standard error instead")
        return text
    }
}

/// The rows that no test of ``DoctorTests`` makes.
@Suite struct DoctorDocumentTests {
    /// Rows of virtual machines have the name of a case, whose script has the texts.
    @Test func eachRowHasATest() throws {
        let source = String(
            decoding: try readFile(
                Descriptor.open("\(Binaries.packageDirectory)/Tests/RpmemctlTests/DoctorTests.swift", O_RDONLY),
                limit: 1 << 20), as: UTF8.self)
        let names = Set(source.matches(of: /func (\w+)\(\)/).map { DoctorDocument.words(of: String($0.1)) })
        for row in DoctorDocument.rows where !names.contains(row.name) {
            let script = "\(Binaries.packageDirectory)/Tests/VM/cases/\(row.name.split(separator: ":")[0]).sh"
            guard let file = try? Descriptor.open(script, O_RDONLY), let bytes = try? readFile(file, limit: 1 << 20)
            else {
                Issue.record("no test makes \(row)")
                continue
            }
            let text = String(decoding: bytes, as: UTF8.self)
            for cell in [row.found, row.remedy] {
                // Behind the verdict, and between what differs from machine to machine.
                for piece in cell.split(separator: ": ", maxSplits: 1).last!.split(separator: "…") {
                    #expect(text.contains(piece), "\(script): \(piece)")
                }
            }
        }
        #expect(DoctorDocument.rows.count >= 25)
        let checks = Set(DoctorDocument.rows.map { String($0.check.prefix { $0 != "," }) })
        let known = Set(ReportedCheck.Name.allCases.map(\.rawValue))
        #expect(checks.isSubset(of: known), "\(checks.subtracting(known))")
    }
}
