import ArgumentParser
import Fabric
import Glibc
import ReplicaComparison
import RpmemInitiator
import SystemSupport
import TargetReports

/// Catches a replica up.
struct Sync: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Overwrites the blocks of a replica that differ from the other one.",
        usage: "rpmemctl sync local target set (--to-target | --from-target) [--dry-run | --yes] [--raw] [--json]",
        discussion: """
            Compares both replicas as verify does, shows what would be written, and asks on the terminal. Then it writes only \
            the blocks that differ, durably, and compares again. After an interruption the same command goes on.
            """)

    @OptionGroup var replicas: ReplicaArguments

    @Flag(help: "The local replica is right: overwrite the target's.")
    var toTarget = false

    @Flag(help: "The target's replica is right: overwrite the local one.")
    var fromTarget = false

    @Flag(help: "Show what would be written, and write nothing.")
    var dryRun = false

    @Flag(help: "Do not ask.")
    var yes = false

    @Option(help: "The libfabric provider: verbs, sockets or tcp. Default: the first that the environment enables.")
    var provider: ProviderArgument?

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func validate() throws {
        guard toTarget != fromTarget else {
            throw ValidationError("which replica is right? Write --to-target or --from-target")
        }
        if dryRun && yes { throw ValidationError("--dry-run and --yes exclude each other: use one of them") }
    }

    func run() throws {
        BusErrorLine.install()
        try Interruption.endProcess(saying: "interrupted: the same command goes on where this one has ended")
        // Before libfabric, whose loading keeps dlopen(3) from other threads.
        _ = try DigestLibrary.shared()
        // Most of its third of a second is sleep, and the comparison goes on meanwhile. exit(3) would wait for it, too.
        if !dryRun { FabricLibrary.beginLoading(settingUpProviders: true) }
        defer { FabricLibrary.finishLoading() }
        var options = InitiatorOptions.processEnvironment()
        guard dryRun || options.offersExtensions else {
            throw ToolError(
                "RPMEM_EXTENSIONS=0 is set here, leave it out: the session that writes has to compare, which is an extension"
            )
        }
        let local = try replicas.open(writable: true)
        if fromTarget, local.hasOtherLocalReplicas {
            throw ToolError(
                "\(local.path): has another replica on this machine, which would not be overwritten: leave one local replica in the "
                    + "pool set, and restore the others with `pmempool sync` afterwards")
        }
        let bar = ProgressBar(isShown: isatty(STDERR_FILENO) == 1)
        if let provider { options.providers = [provider.provider] }
        // Between two sessions the target's lock is free: what was compared would no longer be what is there.
        options.resumeTime = .zero
        var started: StartedTarget?
        let comparison = try Comparison.make(local, replicas.query, replicas.poolSet, bar: bar) {
            // A person takes longer to answer than the target waits.
            if yes {
                started = StartedTarget(target: replicas.target.address, poolSet: replicas.poolSet, options: options)
            }
        }
        try checkSource(comparison, local)
        var report = PoolSyncReport(
            direction: toTarget ? .toTarget : .fromTarget,
            comparison: comparison.report(local, replicas.target.address, replicas.poolSet))
        if !json || !(dryRun || yes) { try show(report) }
        if comparison.isSame {
            report.synchronized = true
        } else if !dryRun {
            try Confirmation(isGiven: yes).ask("Overwrite these blocks of \(destination(local))?")
            let work = CatchingUp(
                local: local, comparison: comparison, replicas: replicas, options: options, started: started, bar: bar)
            let outcome = toTarget ? try work.toTarget() : try work.fromTarget()
            report.writtenBytes = UInt64(outcome.writtenBytes)
            report.synchronized = outcome.left.isEmpty
            if !outcome.left.isEmpty {
                complain(
                    "\(outcome.left.blockCount) blocks differ after they were written to \(destination(local)), the first at offset "
                        + "\(outcome.left.firstRange?.lowerBound ?? 0): something wrote to a part of a replica without its lock, or storage "
                        + "lost something: look at dmesg(1) on both machines, then start the command again")
            } else if !json {
                try printOut("Written: \(outcome.writtenBytes) bytes. The replicas are the same.\n")
            }
        }
        if json { try printOut(jsonText(report) + "\n") }
        if !dryRun, !report.synchronized { throw ExitStatus.errorsFound }
    }

    private func destination(_ local: LocalReplica) -> String {
        toTarget ? replicas.place : local.path
    }

    /// Refuses to copy from a replica that is half-written.
    private func checkSource(_ comparison: Comparison, _ local: LocalReplica) throws {
        if toTarget, comparison.isLocalHalfWritten {
            throw ToolError(
                "\(local.path): is half-written, since a sync from the target was interrupted: finish it with --from-target"
            )
        }
        if fromTarget, comparison.isTargetHalfWritten {
            throw ToolError(
                "\(replicas.place): is half-written, since a sync to the target was interrupted: "
                    + "finish it with --to-target")
        }
    }

    private func show(_ report: PoolSyncReport) throws {
        var page = Page()
        page.show(report.comparison)
        if !report.comparison.same {
            let place = toTarget ? replicas.place : replicas.local
            page.line(
                .init("to write:"), .init("\(report.comparison.differingBytes) bytes to \(place)", .yellow))
        }
        try page.show()
    }
}
