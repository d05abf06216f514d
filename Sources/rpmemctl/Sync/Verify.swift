import ArgumentParser
import Glibc
import RpmemInitiator
import SystemSupport
import TargetReports

/// Compares a pool with its replica on a target.
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares a pool on this machine with its replica on a target.",
        discussion: """
            Both machines digest their replica (AES-256-GMAC), and only the digests travel. Nothing is changed. No program may have the \
            pool open on either side. The exit status is 2 when the replicas differ.
            """)

    @OptionGroup var replicas: ReplicaArguments

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func run() throws {
        BusErrorLine.install()
        let local = try replicas.open(writable: false)
        let comparison = try Comparison.make(
            local, replicas.query, replicas.poolSet, bar: ProgressBar(isShown: isatty(STDERR_FILENO) == 1))
        let report = PoolVerifyReport(comparison.report(local, replicas.target.address, replicas.poolSet))
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            var page = Page()
            page.show(report.comparison)
            try page.show()
        }
        if !report.comparison.same { throw ExitStatus.errorsFound }
    }
}

/// The arguments `local target set`.
struct ReplicaArguments: ParsableArguments {
    @Argument(help: "The local pool set file, of which the first replica is taken, or a pool in a file.")
    var local: String

    @Argument(help: "The target: [user@]host[:port].")
    var target: TargetArgument

    @Argument(help: "The replica's pool set, relative to the target's pool set directory.")
    var poolSet: String

    @Flag(help: "The local file has no pool header: it is the memory of a program that uses librpmem itself.")
    var raw = false

    func validate() throws {
        if local.isEmpty { throw ValidationError("the local pool is empty") }
        if poolSet.isEmpty { throw ValidationError("the pool set is empty") }
    }

    /// The target's pool, for messages.
    var place: String { "\(poolSet) on \(target.address)" }

    var query: TargetQuery { TargetQuery(target: target.address) }

    func open(writable: Bool) throws -> LocalReplica { try LocalReplica(local, isRaw: raw, writable: writable) }
}

/// Ends the program with a line that says why when a page of a mapped part cannot be provided.
enum BusErrorLine {
    static func install() {
        signal(SIGBUS) { _ in
            let line: StaticString =
                "rpmemctl: SIGBUS: a page of the local pool cannot be read or written: was the file truncated, is its file system full, or its medium damaged?\n"
            _ = write(STDERR_FILENO, line.utf8Start, line.utf8CodeUnitCount)
            _exit(1)
        }
    }
}
