import CLinux
import Glibc
import SystemSupport

/// Runs `body` with `asynchronousSignals` blocked in the calling thread. Threads that libfabric starts meanwhile inherit the mask,
/// so the kernel delivers signals to the host's threads.
func withSignalsBlocked<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    var blocked = asynchronousSignals()
    var before = sigset_t()
    pthread_sigmask(SIG_SETMASK, &blocked, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    return try body()
}

/// How the process handles signals at one moment.
///
/// Debian's libfabric loads libinfinipath, whose constructor installs its own handlers for SIGINT, SIGTERM, SIGSEGV and others.
/// IPATH_NO_BACKTRACE in the environment would prevent that, but other threads may be reading the environment.
struct SignalHandlers {
    private var actions: [(signal: Int32, action: sigaction)] = []
    private let objects = Self.loadedObjects()

    /// Reads the handlers that are in effect now.
    init() {
        for signal in 1..<Int32(NSIG) {
            var action = sigaction()
            if sigaction(signal, nil, &action) == 0 { actions.append((signal, action)) }
        }
    }

    /// Restores the handler of each signal whose present handler lies in an object that was loaded since. A handler that the
    /// host's threads have installed meanwhile stays.
    func restoreFromNewObjects() {
        for (signal, before) in actions {
            var now = sigaction()
            guard sigaction(signal, nil, &now) == 0, let address = now.handlerAddress,
                address != before.handlerAddress
            else { continue }
            guard let base = objectBase(of: address), !objects.contains(base) else { continue }
            var action = before
            sigaction(signal, &action, nil)
        }
    }

    /// The addresses at which objects are loaded.
    private static func loadedObjects() -> Set<UnsafeRawPointer> {
        // The callback must not call the loader, so it only collects the addresses.
        let headers = Headers()
        _ = dl_iterate_phdr(
            { object, _, headers in
                if let header = object?.pointee.headers, let headers {
                    Unmanaged<Headers>.fromOpaque(headers).takeUnretainedValue().addresses.append(header)
                }
                return 0
            }, Unmanaged.passUnretained(headers).toOpaque())
        return Set(headers.addresses.compactMap(objectBase(of:)))
    }

    /// Program headers, each inside its object.
    private final class Headers {
        var addresses: [UnsafeRawPointer] = []
    }
}

/// The address at which the object around `address` is loaded; nil when no object is there.
private func objectBase(of address: UnsafeRawPointer) -> UnsafeRawPointer? {
    var object = Dl_info()
    return dladdr(address, &object) == 0 ? nil : UnsafeRawPointer(object.dli_fbase)
}

extension sigaction {
    /// nil for SIG_DFL; SIG_IGN lies in no object.
    fileprivate var handlerAddress: UnsafeRawPointer? {
        unsafeBitCast(__sigaction_handler.sa_handler, to: UnsafeRawPointer?.self)
    }
}
