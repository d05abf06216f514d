import RpmemTarget

/// The daemon: everything is in RpmemTarget, where tests can drive it.
@main
struct Rpmemd {
    static func main() {
        leave(with: runDaemon(arguments: CommandLine.arguments))
    }
}
