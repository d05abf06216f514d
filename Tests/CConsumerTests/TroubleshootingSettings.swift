import Glibc
import SystemSupport
import TestSupport

/// Mistakes in the configuration and on the command line.
extension Mistake {
    private static let check = Command.rpmemd(["--config", "@", "--check-config"])

    /// A line of the configuration that is wrong, and the value that its line says to write.
    ///
    /// - Parameter other: Another line that the configuration may have instead, and the words that say so.
    private static func setting(
        _ name: String, _ line: String, follows pattern: String, or other: (words: String, line: String)? = nil
    ) -> Mistake {
        let orElse: Remedy? = other.map { other in
            { @Sendable scene, shown in if shown.contains(other.words) { scene.settings = [other.line] } }
        }
        let remedy: Remedy = { scene, shown in
            guard let key = line.split(separator: " ").first else { return }
            guard let value = try shown.firstMatch(of: Regex(pattern))?.output[1].substring else {
                throw TestSupportError("no remedy in: \(shown)")
            }
            if value.contains("pools") { mkdir("\(scene.place.path)/home", 0o755) }
            if value.contains("pools") { mkdir("\(scene.place.path)/home/pools", 0o755) }
            scene.settings = ["\(key) = \(scene.own(String(value)))"]
        }
        return Mistake(name, check, { $0.settings = [line] }, remedy: remedy, or: orElse)
    }

    static let settings: [Mistake] = [
        Mistake("a key is misspelled", check) {
            $0.settings = ["max-lane = 4"]
        } remedy: { scene, line in
            guard let key = line.firstMatch(of: /did you mean ([a-z-]+)\?/)?.1 else { return }
            scene.settings = ["\(key) = 4"]
        },
        setting(
            "a value is missing", "max-lanes =", follows: "write max-lanes = LANES\\|(unlimited)",
            or: ("or remove the line for the default", "")),
        setting(
            "a line has no =", "max-lanes 4", follows: "'max-lanes (4)' has no =; write key = value",
            or: ("or # in front of a comment", "# max-lanes 4")),
        setting("poolset-dir is relative", "poolset-dir = pools", follows: "write '([^']*)'"),
        setting("poolset-dir begins with ~", "poolset-dir = ~/pools", follows: "write '([^']*)'"),
        setting("poolset-dir is in quotes and begins with ~", "poolset-dir = \"~/pools\"", follows: "write '([^']*)'"),
        setting("poolset-dir begins with ${HOME}", "poolset-dir = ${HOME}/pools", follows: "write '([^']*)'"),
        Mistake("poolset-dir does not exist", check) {
            $0.settings = ["poolset-dir = \($0.place.path)/pools"]
        } remedy: { scene, _ in
            mkdir("\(scene.place.path)/pools", 0o755)
        },
        Mistake("poolset-dir is a file", check) {
            $0.settings = ["poolset-dir = \($0.place.path)/pools"]
            try write("", to: "\($0.place.path)/pools")
        } remedy: { scene, _ in
            scene.settings = ["poolset-dir = \(scene.place.sets)"]
        },
        Mistake("the directory of the log does not exist", check) {
            $0.settings = ["log-file = \($0.place.path)/logs/rpmemd.log"]
        } remedy: { scene, _ in
            mkdir("\(scene.place.path)/logs", 0o755)
        },
        Mistake("the log belongs to another user", check, root: true) {
            try $0.becomeNobody()
            chmod($0.place.logFile, 0o640)
        } remedy: { scene, _ in
            chown(scene.place.logFile, 65534, 65534)
        },
        Mistake("the directory of the log belongs to another user", check, root: true) {
            mkdir("\($0.place.path)/logs", 0o755)
            $0.settings = ["log-file = \($0.place.path)/logs/rpmemd.log"]
            try $0.becomeNobody()
        } remedy: { scene, line in
            guard let command = line.firstMatch(of: /`(touch .*)` as root/)?.1 else { return }
            try scene.shell(command)
        } or: { scene, line in
            guard line.contains("or set another log-file") else { return }
            scene.settings = ["log-file = \(scene.place.logFile)"]
        },
        Mistake("a session cannot write its log", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["log-file = \($0.place.path)/logs/rpmemd.log"]
        } remedy: { scene, line in
            guard let directory = line.firstMatch(of: /create the directory '(.*?)'/)?.1 else { return }
            mkdir(scene.own(String(directory)), 0o755)
            // The session went on, and made the pool.
            try scene.removeOnTarget()
        },
        Mistake("the disk of the log is full", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["log-file = /dev/full", "log-level = notice"]
        } remedy: { scene, line in
            guard line.contains("free some there, or set another log-file") else { return }
            scene.settings = ["log-level = notice"]
            try scene.removeOnTarget()
        },
        setting("log-level is no level", "log-level = warning", follows: "write err, (warn)"),
        setting("a yes or no is neither", "use-syslog = true", follows: "write (yes)"),
        setting("part-mode is not octal", "part-mode = rw", follows: "like (0600)"),
        setting("part-mode keeps the owner out", "part-mode = 0440", follows: "at least (0600)"),
        setting("a number is out of its range", "lane-timeout = 0", follows: "from ([0-9]+) to"),
        setting(
            "in-band-address is a name", "in-band-address = target.example", follows: "or (session)",
            or: ("write one of this machine's addresses", "in-band-address = 127.0.0.1")),
        setting("in-band-address has brackets", "in-band-address = [127.0.0.1]", follows: "write ([0-9.]+)$"),
        Mistake("in-band-address is another machine's", check) {
            $0.settings = ["in-band-address = 192.0.2.77"]
        } remedy: { scene, line in
            // One that `ip address` lists.
            if line.contains("`ip address` lists") { scene.settings = ["in-band-address = 127.0.0.1"] }
        },
        setting("port-range ends before it starts", "port-range = 7763-7700", follows: "write ([0-9-]+)"),
        Mistake("port-range is privileged", check, root: true) {
            $0.settings = ["port-range = 80-90"]
            try $0.becomeNobody()
        } remedy: { scene, line in
            guard let first = line.firstMatch(of: /from (\d+) on/)?.1 else { return }
            scene.settings = ["port-range = \(first)-65535"]
        },
        Mistake("the file of --config does not exist", .rpmemd(["--config", "@.none", "--check-config"])) { _ in
        } remedy: { scene, line in
            guard line.contains("name a file that exists with --config") else { return }
            scene.arguments = ["--config", "@", "--check-config"]
        },
        Mistake("an option is misspelled", .rpmemd(["--config", "@", "--check-config", "--poolset-dr=/"])) { _ in
        } remedy: { scene, line in
            guard let option = line.firstMatch(of: /did you mean (--[a-z-]+)\?/)?.1 else { return }
            scene.arguments = ["--config", "@", "--check-config", "\(option)=/"]
        },
        Mistake("an option has no value", .rpmemd(["--config", "@", "--check-config", "--poolset-dir"])) { _ in
        } remedy: { scene, line in
            guard let option = line.firstMatch(of: /write (--[a-z-]+) DIRECTORY/)?.1 else { return }
            scene.arguments = ["--config", "@", "--check-config", String(option), "/"]
        },
        Mistake("--force without --remove", .rpmemd(["--config", "@", "--force"])) {
            try $0.makePool("4M %/a.part")
        } remedy: { scene, line in
            guard line.contains("write --remove SET --force") else { return }
            scene.arguments = ["--config", "@", "--remove", "a.set", "--force"]
        },
        Mistake("a pool set without --remove", .rpmemd(["--config", "@", "a.set"])) {
            try $0.makePool("4M %/a.part")
        } remedy: { scene, line in
            guard line.contains("with --remove") else { return }
            scene.arguments = ["--config", "@", "--remove", "a.set"]
        },
        Mistake("--remove with an absolute path", .rpmemd(["--config", "@", "--remove", "/srv/pools/a.set"])) {
            try $0.makePool("4M %/a.part")
        } remedy: { scene, line in
            guard line.contains("relative to the target's pool set directory") else { return }
            scene.arguments = ["--config", "@", "--remove", "a.set"]
        },
    ]
}
