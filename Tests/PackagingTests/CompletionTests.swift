import RpmemTarget
import SystemSupport
import TestSupport
import Testing

/// The shells' completions of rpmemd, which are written by hand, against the tables of options.
@Suite("completions of rpmemd") struct CompletionTests {
    private static let directory = "\(Binaries.packageDirectory)/config/completions"

    private func lines(_ name: String) throws -> [Substring] {
        let file = try Descriptor.open("\(Self.directory)/\(name)", 0)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self).split(separator: "\n")
    }

    /// The words that a setting's value may be, such as `yes`; without those for any number or name.
    private func words(_ key: SettingKey) -> [String] {
        key.valueSyntax.split(separator: "|").map(String.init).filter { word in
            word.allSatisfy { $0.isLowercase || $0 == "-" }
        }
    }

    @Test("of bash have each option, each letter and each word of a value, and no others")
    func bash() throws {
        // Stands in for the package bash-completion. What follows is asked of the function as bash does it.
        func completions(_ typed: String...) throws -> Set<String> {
            let script = """
                _init_completion() { words=("${typed[@]}"); cur=${typed[-1]}; prev=${typed[-2]}; split=false; }
                _filedir() { COMPREPLY=(file "$@"); }
                typed=(rpmemd \(typed.map { "'\($0)'" }.joined(separator: " ")))
                source '\(Self.directory)/rpmemd.bash'
                _rpmemd
                printf '%s\\n' "${COMPREPLY[@]}"
                """
            let outcome = try Command(["/bin/bash", "-c", script])
            #expect(outcome.isSuccess && outcome.errors == "", "\(outcome)")
            return Set(outcome.output.split(separator: "\n").map(String.init))
        }
        let names = CommandOption.allCases.map(\.name) + SettingKey.allCases.map(\.name)
        #expect(try completions("--") == Set(names.map { "--\($0)" }))
        let letters = CommandOption.allCases.compactMap(\.letter) + SettingKey.allCases.compactMap(\.letter)
        #expect(try completions("-").filter { $0.count == 2 } == Set(letters.map { "-\($0)" }))
        for key in SettingKey.allCases where !words(key).isEmpty {
            #expect(try completions("--\(key.name)", "") == Set(words(key)), "\(key.name)")
        }
        for option in ["--config", "-c", "--log-file"] { #expect(try completions(option, "") == ["file"]) }
        #expect(try completions("--poolset-dir", "") == ["file", "-d"])
    }

    @Test(
        "of zsh and fish have each option with its letter and the words of its value",
        arguments: ["_rpmemd", "rpmemd.fish"])
    func others(name: String) throws {
        let isFish = name.hasSuffix(".fish")
        let lines = try lines(name).map(String.init).filter {
            isFish ? $0.hasPrefix("complete ") : $0.hasPrefix("    '")
        }
        /// The line of an option.
        func line(_ option: String) -> String? {
            lines.first {
                isFish
                    ? $0.contains(" -l \(option) ")
                    : $0.contains("--\(option)[") || $0.contains("--\(option)=") || $0.contains("--\(option)}")
            }
        }
        var count = 0
        for option in CommandOption.allCases {
            let line = try #require(line(option.name), "\(option)")
            if let letter = option.letter {
                #expect(line.contains(isFish ? " -s \(letter) " : "{-\(letter),"), "\(option)")
            }
            if option.takesArgumentOptionally { #expect(line.contains(isFish ? " -a " : "=-["), "\(option)") }
            count += 1
        }
        for key in SettingKey.allCases {
            let line = try #require(line(key.name), "\(key)")
            if let letter = key.letter { #expect(line.contains(isFish ? " -s \(letter) " : "{-\(letter),"), "\(key)") }
            let words = words(key).joined(separator: " ")
            #expect(words.isEmpty || line.contains(words), "\(key): \(words)")
            count += 1
        }
        #expect(lines.filter { $0.contains(isFish ? " -l " : "--") }.count == count)
    }
}
