import Fabric
import Glibc
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport

/// Runs the rpmemd program.
///
/// - Returns: The exit status.
package func runDaemon(arguments: [String]) -> Int32 {
    // A reader that has gone away fails write(2) with EPIPE then, instead of killing the process.
    signal(SIGPIPE, SIG_IGN)
    occupyStandardStreams()
    do throws(UsageError) {
        guard let invocation = resolveRestriction(try Invocation.parse(arguments)) else { return EPERM }
        if let status = settleEnvironment(of: invocation) { return status }
        switch invocation {
        case .help: return show(Invocation.helpText)
        case .version: return show(Invocation.versionText)
        case .checkConfiguration(let overrides): return checkConfiguration(overrides)
        case .remove(let set, let force, let removePoolSet, let overrides):
            return remove(set, force: force, removePoolSet: removePoolSet, overrides)
        case .query(let query, let overrides): return answer(query, overrides)
        case .doctor(let set, let overrides): return answerDoctor(set, overrides)
        // Its threads may wait for storage.
        case .digest(let set, let length, let overrides): leave(with: answerDigest(set, length: length, overrides))
        case .restricted: return EPERM
        case .serve(let overrides):
            // A session speaks with a program.
            if isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 {
                complain(
                    "serves one session on standard input and output, for an initiator that starts it through ssh; by hand, "
                        + "use --check-config, --remove or --help")
                return usageExitStatus
            }
            return serve(overrides)
        }
    } catch {
        complain("\(error)")
        // An initiator waits for four bytes, a person at a terminal does not.
        if error.isSession { sendInitialStatus(.failed(errno: EINVAL)) }
        return usageExitStatus
    }
}

/// Ends the process at once. exit(3) would run the destructors of a libfabric that may still be loading on another
/// thread, and wait for that.
package func leave(with status: Int32) -> Never {
    fflush(nil)
    _exit(status)
}

private let usageExitStatus: Int32 = 255

/// Has the program run with the environment that the configuration allows, before it opens a library, a pool or a log.
///
/// - Returns: The exit status when that fails. nil also when the configuration has errors, which the invocation reports.
private func settleEnvironment(of invocation: Invocation) -> Int32? {
    guard let overrides = invocation.workOverrides, let settings = try? Settings.load(overrides) else { return nil }
    do throws(SystemCallError) {
        try ProcessEnvironment.settle(settings)
        return nil
    } catch {
        SessionLog.open(settings).error("the environment that came through ssh cannot be cleared: \(error)")
        if case .serve = invocation { sendInitialStatus(.failed(errno: error.errno.rawValue)) }
        return error.errno.rawValue
    }
}

/// The command of a restricted key's client in place of `--restrict`.
///
/// - Returns: nil when the client may not give it, of which the client and the log have been told.
private func resolveRestriction(_ invocation: Invocation) -> Invocation? {
    guard case .restricted(let overrides) = invocation else { return invocation }
    // With errors in the configuration nothing but these is logged.
    let operators = try? Settings.load(overrides)
    do throws(RestrictedCommand.Refusal) {
        return try RestrictedCommand.parse(
            getenv("SSH_ORIGINAL_COMMAND").map { String(cString: $0) }, overrides,
            leastLogLevel: operators?.logLevel.value ?? .err)
    } catch {
        let peer = SessionEnvironment.current(input: STDIN_FILENO).peer.map { "\($0)" }
        let log = operators.map { SessionLog.open($0, peer: peer) } ?? .openDefault(peer: peer)
        log.error("\(error)")
        if error.isSession { sendInitialStatus(.failed(errno: EPERM)) }
        return nil
    }
}

/// One session on standard input and output.
private func serve(_ overrides: CommandLineOverrides) -> Int32 {
    let environment = SessionEnvironment.current(input: STDIN_FILENO)
    let peer = environment.peer.map { "\($0)" }
    do {
        // Threads inherit the blocked signals, so this comes before any thread is started.
        ProcessTitle.prepare()
        let signals = try SignalQueue([SIGTERM, SIGINT, SIGHUP])
        raiseResourceLimits()
        reportErrorSignals()
        let settings = try Settings.load(overrides)
        if settings.confinement.value { Confinement.prepare() }
        beginLoadingFabric(settings)
        let log = SessionLog.open(settings, peer: peer)
        log.info("session started, rpmemd \(projectVersion)")
        if let remark = ProcessEnvironment.remark(settings) { log.warning(remark) }
        let store: PoolStore
        do throws(PoolError) {
            // Opened before the initial status, which can then report a missing directory.
            store = try PoolStore(
                directory: settings.poolsetDirectory.value, partMode: settings.partMode.value,
                quota: settings.poolQuota)
        } catch {
            log.error("\(error)")
            sendInitialStatus(.failed(errno: error.errno.rawValue))
            return 1
        }
        return TargetSession(
            settings: settings, store: store, environment: environment, log: log, signals: signals,
            input: STDIN_FILENO, output: STDOUT_FILENO, status: .open(log: log),
            confinement: .begin(settings, log)
        ).run()
    } catch let error as ConfigurationError {
        let log = SessionLog.openDefault(peer: peer)
        for problem in error.problems { log.error("configuration: \(problem)") }
        sendInitialStatus(.failed(errno: error.errno.rawValue))
    } catch let error as SystemCallError {
        SessionLog.openDefault(peer: peer).error("cannot start: \(error)")
        sendInitialStatus(.failed(errno: error.errno.rawValue))
    } catch {
        SessionLog.openDefault(peer: peer).error("cannot start: \(error)")
        sendInitialStatus(.failed(errno: EIO))
    }
    return 1
}

/// Starts to load libfabric. It takes a third of a second, most of it asleep, and the session goes on meanwhile.
private func beginLoadingFabric(_ settings: Settings) {
    ProviderEnvironment.prepareTarget()
    // The kernel takes what is written to an RDMA device from the credentials alone that have opened it (ib_safe_file_access),
    // and Landlock rules change them. libfabric opens the devices when it sets the providers up, so that comes after the rules.
    let setsUp = !settings.confinement.value || !RDMADevice.exists
    switch settings.verbsODP.value {
    case .auto:
        // The pool decides about on-demand paging, which providers read from the environment; see PoolOpening.
        FabricLibrary.beginLoading(settingUpProviders: false)
    case .no where settings.verbsODP.origin == .default:
        // The environment decides about on-demand paging, as it does for PMDK's daemon.
        FabricLibrary.beginLoading(settingUpProviders: setsUp)
    case .yes, .no:
        ProviderEnvironment.setOnDemandPaging(settings.verbsODP.value == .yes)
        FabricLibrary.beginLoading(settingUpProviders: setsUp)
    }
}

/// `rpmemd --remove`. `rpmem_remove` runs it over ssh.
///
/// - Returns: The exit status: 0, or an errno.
private func remove(
    _ set: String, force: Bool, removePoolSet: Bool, _ overrides: CommandLineOverrides
) -> Int32 {
    let peer = SessionEnvironment.current(input: STDIN_FILENO).peer.map { "\($0)" }
    let settings: Settings
    do throws(ConfigurationError) { settings = try Settings.load(overrides) } catch {
        let log = SessionLog.openDefault(peer: peer)
        for problem in error.problems { log.error("configuration: \(problem)") }
        return error.errno.rawValue
    }
    let log = SessionLog.open(settings, peer: peer)
    let start = ContinuousClock.now
    log.notice(
        "REMOVE request: user \(SessionEnvironment.user), pool set \(escapingControls(set))\(force ? ", --force" : "")"
            + "\(removePoolSet ? ", --pool-set" : "")")
    do throws(PoolDescriptor.FormatError) {
        let descriptor = try PoolDescriptor(validating: set)
        if let objection = settings.objection(to: .remove, descriptor) {
            log.error("removing \(descriptor): \(objection)")
            return EACCES
        }
        do throws(PoolError) {
            let store = try PoolStore(
                directory: settings.poolsetDirectory.value, partMode: settings.partMode.value)
            try store.remove(descriptor: descriptor, force: force, removePoolSet: removePoolSet)
            log.notice(
                "pool \(descriptor) removed\(removePoolSet ? ", with its pool set file" : ""), after "
                    + "\(Int(start.duration(to: .now) / .milliseconds(1))) ms")
            return 0
        } catch {
            log.error("removing \(descriptor): \(error)")
            return error.errno.rawValue
        }
    } catch {
        log.error("--remove: \(error)")
        return EBADF
    }
}

private func checkConfiguration(_ overrides: CommandLineOverrides) -> Int32 {
    do throws(ConfigurationError) {
        let settings = try Settings.load(overrides)
        let status = show(settings.effectiveText())
        guard status == 0 else { return status }
        let problems = settings.tryOut()
        for problem in problems { complain("\(problem)") }
        return problems.isEmpty ? 0 : 1
    } catch {
        for problem in error.problems { complain("\(problem)") }
        return 1
    }
}

/// - Returns: The exit status: 0 when all of the text is printed, otherwise an errno.
private func show(_ text: String) -> Int32 {
    do throws(SystemCallError) {
        try printOut(text)
        return 0
    } catch {
        complain("\(error)")
        return error.errno.rawValue
    }
}

private func complain(_ text: String) {
    try? writeAll(Array("rpmemd: \(text)\n".utf8), to: STDERR_FILENO)
}

/// Sends the initiator a failure before the session has begun. Does nothing when standard output is a terminal, closed or full.
private func sendInitialStatus(_ status: InitialStatus) {
    if isatty(STDOUT_FILENO) == 1 { return }
    guard (try? PollSet.wait(for: STDOUT_FILENO, .writable, until: .after(milliseconds: 1000))) == true else { return }
    try? writeAll(status.encode(), to: STDOUT_FILENO)
}

/// Has signals of the kernel's reported as errors. SIGBUS and SIGSYS end the process with a line that says why. A file that grows
/// beyond `ulimit -f` fails with EFBIG, since SIGXFSZ is ignored.
private func reportErrorSignals() {
    signal(SIGXFSZ, SIG_IGN)
    BusErrors.install()
    ForbiddenCalls.install()
}

/// Raises two soft limits to the hard limits: locked memory, which counts what RDMA pins, and open files, of which each lane
/// over TCP needs some.
private func raiseResourceLimits() {
    LockedMemory.raiseLimit()
    raiseSoftLimit(of: __rlimit_resource_t(RLIMIT_NOFILE.rawValue))
}
