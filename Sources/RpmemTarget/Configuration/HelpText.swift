import RpmemProtocol
import SystemSupport

extension Invocation {
    /// The output of `--help`. It ends with a newline.
    package static var helpText: String {
        var text = """
            usage: rpmemd [OPTION]...
                   rpmemd --remove SET [--force] [--pool-set] [--dry-run] [OPTION]...
                   rpmemd --list | --info SET | --check SET [--repair PLAN] | --status [OPTION]...
                   rpmemd --doctor[=SET] [OPTION]...
                   rpmemd --digest SET [--length BYTES] [OPTION]...
                   rpmemd --check-config [--restrict=KEY] [OPTION]...
                   rpmemd --restrict[=KEY] [OPTION]...

            Serves one session of remote persistent memory on standard input and output.
            Initiators start it through ssh; by hand, --remove and --check-config are of use. rpmemctl(1) asks
            --list, --info, --check, --status, --doctor and --digest, and shows the answers to people.

            Commands

            """
        text += CommandOption.allCases.map { option in
            helpLine(
                letter: option.letter, name: option.name,
                value: option.argument.map { option.takesArgumentOptionally ? "[=\($0)]" : " " + $0 }, option.summary)
        }.joined()
        for group in SettingDefinition.Group.allCases {
            text += "\n\(group.rawValue)\n"
            for key in SettingKey.allCases where key.group == group {
                let value = key.argument == .yesOrNo ? "[=\(key.valueSyntax)]" : " " + key.valueSyntax
                text += helpLine(
                    letter: key.letter, name: key.name, value: value, "\(key.summary) (default: \(key.defaultText))")
            }
        }
        text += """

            Settings are read from /etc/rpmemd/rpmemd.conf, then ~/.rpmemd.conf, where they are
            written without the dashes as key = value; options come last and win.
            See rpmemd(1) and rpmemd.conf(5).

            """
        return text
    }

    /// The output of `--version`. It ends with a newline.
    package static var versionText: String { "rpmemd version \(projectVersion)\n" }
}

private func helpLine(letter: Character?, name: String, value: String?, _ summary: String) -> String {
    let option = "  " + (letter.map { "-\($0), " } ?? "    ") + "--" + name + (value ?? "")
    let indent = 32
    let start = option.count < indent - 1 ? option.padded(to: indent) : option + "\n" + "".padded(to: indent)
    return start + summary + "\n"
}
