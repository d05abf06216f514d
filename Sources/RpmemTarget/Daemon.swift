import Fabric
import Glibc
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport

/// What the rpmemd program does, from its arguments to its exit status.
package func runDaemon(arguments: [String]) -> Int32 {
    // A reader that went away must show as an error of write(2), not kill the process.
    signal(SIGPIPE, SIG_IGN)
    occupyStandardStreams()
    do throws(UsageError) {
        switch try Invocation.parse(arguments) {
        case .help:
            print(Invocation.helpText, terminator: "")
            return 0
        case .version:
            print(Invocation.versionText, terminator: "")
            return 0
        case .checkConfiguration(let overrides): return checkConfiguration(overrides)
        case .remove(let set, let force, let removePoolSet, let overrides):
            return remove(set, force: force, removePoolSet: removePoolSet, overrides)
        case .serve(let overrides): return serve(overrides)
        }
    } catch {
        complain("\(error)")
        // An initiator waits for four bytes; a person at a terminal does not.
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

/// One session on standard input and output.
private func serve(_ overrides: CommandLineOverrides) -> Int32 {
    let environment = SessionEnvironment.current(input: STDIN_FILENO)
    let peer = environment.peer.map { "\($0)" }
    do {
        // Before any thread is started, so that no thread takes the signals.
        let signals = try SignalQueue([SIGTERM, SIGINT, SIGHUP])
        raiseResourceLimits()
        reportFileErrors()
        let settings = try Settings.load(overrides)
        beginLoadingFabric(settings)
        let log = SessionLog.open(settings, peer: peer)
        log.info("session started, rpmemd \(projectVersion)")
        let store: PoolStore
        do throws(PoolError) {
            // Opened before the initial status, which can then report a missing directory.
            store = try PoolStore(directory: settings.poolsetDirectory.value, partMode: settings.partMode.value)
        } catch {
            log.error("\(error)")
            sendInitialStatus(.failed(errno: error.errno.rawValue))
            return 1
        }
        return TargetSession(
            settings: settings, store: store, environment: environment, log: log, signals: signals,
            input: STDIN_FILENO, output: STDOUT_FILENO
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

/// Loads libfabric, which takes a third of a second, nearly all of it asleep; meanwhile the session gets on.
private func beginLoadingFabric(_ settings: Settings) {
    ProviderEnvironment.prepareTarget()
    switch settings.verbsODP.value {
    case .auto:
        // What becomes of it is known with the pool.
        FabricLibrary.beginLoading(settingUpProviders: false)
    case .no where settings.verbsODP.origin == .default:
        // Then the environment decides, as it does for PMDK's daemon.
        FabricLibrary.beginLoading(settingUpProviders: true)
    case .yes, .no:
        ProviderEnvironment.setOnDemandPaging(settings.verbsODP.value == .yes)
        FabricLibrary.beginLoading(settingUpProviders: true)
    }
}

/// `rpmemd --remove`: run over ssh by `rpmem_remove`, which takes the exit status for an errno.
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
    do throws(PoolDescriptor.FormatError) {
        let descriptor = try PoolDescriptor(validating: set)
        do throws(PoolError) {
            let store = try PoolStore(
                directory: settings.poolsetDirectory.value, partMode: settings.partMode.value)
            try store.remove(descriptor: descriptor, force: force, removePoolSet: removePoolSet)
            log.notice("pool \(descriptor) removed\(removePoolSet ? ", with its pool set file" : "")")
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
        print(try Settings.load(overrides).effectiveText(), terminator: "")
        return 0
    } catch {
        for problem in error.problems { complain("\(problem)") }
        return 1
    }
}

private func complain(_ text: String) {
    try? writeAll(Array("rpmemd: \(text)\n".utf8), to: STDERR_FILENO)
}

/// Puts something in the place of standard streams that are closed. Otherwise the next file that is opened, a log or a
/// part, would be taken for one of them, and written to.
private func occupyStandardStreams() {
    // Output can't be written to: there is nobody to answer to, which has to show.
    for (number, mode) in [(STDIN_FILENO, O_RDONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_WRONLY)]
    where fcntl(number, F_GETFD) == -1 {
        // The lowest free number is this one.
        _ = open("/dev/null", mode)
    }
}

/// Tells the initiator that the session is over before it began. Standard output may be closed, full or a terminal:
/// then nobody is there to be told.
private func sendInitialStatus(_ status: InitialStatus) {
    if isatty(STDOUT_FILENO) == 1 { return }
    var set = [pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)]
    guard let ready = try? waitForEvents(&set, until: .after(milliseconds: 1000)), ready > 0 else { return }
    try? writeAll(status.encode(), to: STDOUT_FILENO)
}

/// A part that cannot be read or written ends the process with a line that says why. Files that grow beyond the user's limit
/// (`ulimit -f`) show as EFBIG instead of a signal.
private func reportFileErrors() {
    signal(SIGXFSZ, SIG_IGN)
    BusErrors.install()
}
