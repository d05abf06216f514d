import CLinux
import Glibc
import RpmemInitiator
import Synchronization

/// A variable of the process's environment. A program that runs with another user's rights takes none from whoever
/// started it.
func environmentValue(_ name: String) -> String? {
    runsWithForeignRights ? nil : getenv(name).map { String(cString: $0) }
}

private let runsWithForeignRights = getauxval(UInt(AT_SECURE)) != 0

/// What the environment says about sessions, read for each so that programs can change it.
enum SessionOptions {
    private struct Commands {
        var text: String?
        var rotation: CommandRotation
    }

    /// Kept as long as `RPMEM_CMD` stays the same, since its commands are used in turn.
    private static let commands = Mutex<Commands?>(nil)

    static func current() -> InitiatorOptions {
        if runsWithForeignRights {
            var options = InitiatorOptions()
            options.ssh = "/usr/bin/ssh"
            return options
        }
        var options = InitiatorOptions.processEnvironment()
        for warning in options.warnings { Log.write(.errors, warning) }
        let text = environmentValue("RPMEM_CMD")
        options.commands = commands.withLock { commands in
            if let commands, commands.text == text { return commands.rotation }
            commands = Commands(text: text, rotation: options.commands)
            return options.commands
        }
        return options
    }
}
