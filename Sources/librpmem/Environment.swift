import CLinux
import Glibc
import RpmemInitiator
import Synchronization

/// A variable of the process's environment; nil in a program that runs with another user's rights (AT_SECURE): its
/// environment is from a user whom it does not trust.
func environmentValue(_ name: String) -> String? {
    runsWithForeignRights ? nil : getenv(name).map { String(cString: $0) }
}

private let runsWithForeignRights = getauxval(UInt(AT_SECURE)) != 0

/// The options of sessions. Each session reads the environment anew, so that programs can change it.
enum SessionOptions {
    private struct Commands {
        var text: String?
        var rotation: CommandRotation
    }

    /// Kept while `RPMEM_CMD` stays the same: sessions take its commands in turn.
    private static let commands = Mutex<Commands?>(nil)

    static func current() -> InitiatorOptions {
        if runsWithForeignRights {
            var options = InitiatorOptions()
            options.ssh = "/usr/bin/ssh"
            return options
        }
        var options = InitiatorOptions.processEnvironment()
        for warning in options.warnings { Log.write(.errors, warning) }
        options.onProviderRefusal = { Log.write(.pools, $0) }
        if options.resumeTime > .zero { options.onResume = { ResumeLog.write($0) } }
        let text = environmentValue("RPMEM_CMD")
        options.commands = commands.withLock { commands in
            if let commands, commands.text == text { return commands.rotation }
            commands = Commands(text: text, rotation: options.commands)
            return options.commands
        }
        return options
    }
}
