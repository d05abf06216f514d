import Glibc
import SystemSupport
import TestSupport

/// Mistakes in the configuration and on the command line.
extension Mistake {
    private static let check = Command.rpmemd(["--config", "@", "--check-config"])

    /// A line of the configuration that is wrong, and the value that its line says to write.
    private static func setting(_ name: String, _ line: String, follows pattern: String? = nil) -> Mistake {
        Mistake(name, check) {
            $0.settings = [line]
        } remedy: { scene, shown in
            guard let key = line.split(separator: " ").first else { return }
            if let pattern {
                guard let value = try shown.firstMatch(of: Regex(pattern))?.output[1].substring else {
                    throw TestSupportError("no remedy in: \(shown)")
                }
                if value.contains("pools") { mkdir("\(scene.place.path)/home", 0o755) }
                if value.contains("pools") { mkdir("\(scene.place.path)/home/pools", 0o755) }
                scene.settings = ["\(key) = \(value)"]
            } else {
                scene.settings = []
            }
        }
    }

    static let settings: [Mistake] = [
        Mistake("a key is misspelled", check) {
            $0.settings = ["max-lane = 4"]
        } remedy: { scene, line in
            guard let key = line.firstMatch(of: /did you mean ([a-z-]+)\?/)?.1 else { return }
            scene.settings = ["\(key) = 4"]
        },
        setting("a value is missing", "max-lanes ="),
        setting("a line has no =", "max-lanes 4"),
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
        Mistake("a session cannot write its log", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["log-file = /nonexistent/rpmemd.log"]
        },
        Mistake("the disk of the log is full", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["log-file = /dev/full", "log-level = notice"]
        },
        setting("log-level is no level", "log-level = warning", follows: "write err, (warn)"),
        setting("a yes or no is neither", "use-syslog = true", follows: "write (yes)"),
        setting("part-mode is not octal", "part-mode = rw", follows: "like (0600)"),
        setting("part-mode keeps the owner out", "part-mode = 0440", follows: "at least (0600)"),
        setting("a number is out of its range", "lane-timeout = 0", follows: "from ([0-9]+) to"),
        setting("in-band-address is a name", "in-band-address = target.example"),
        setting("in-band-address has brackets", "in-band-address = [127.0.0.1]"),
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
        Mistake("the file of --config does not exist", .rpmemd(["--config", "/etc/none.conf", "--check-config"])) { _ in
        },
        Mistake("an option is misspelled", .rpmemd(["--poolset-dr=/x"])) { _ in },
        Mistake("an option has no value", .rpmemd(["--poolset-dir"])) { _ in },
        Mistake("--force without --remove", .rpmemd(["--force"])) { _ in },
        Mistake("a pool set without --remove", .rpmemd(["a.set"])) { _ in },
        Mistake("--remove with an absolute path", .rpmemd(["--config", "@", "--remove", "/srv/pools/a.set"])) { _ in },
    ]
}
