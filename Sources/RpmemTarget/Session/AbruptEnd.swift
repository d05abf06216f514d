import Glibc
import Synchronization
import SystemSupport

/// The end of a process whose threads may hang in the kernel, or must not go on. It waits for nothing. The pool is not closed,
/// and stays marked as dirty.
final class AbruptEnd: Sendable {
    let log: SessionLog
    /// The control connection.
    let input: Int32
    let output: Int32
    /// Port of the lanes; 0 while there are none.
    let port = Atomic<UInt16>(0)
    /// The pool set and when its pool was opened; nil until then.
    let pool = Mutex<(poolSet: String, openTime: OpenTime)?>(nil)
    private let hasBegun = Atomic<Bool>(false)

    init(log: SessionLog, input: Int32, output: Int32) {
        self.log = log
        self.input = input
        self.output = output
    }

    /// Ends the process with status 1. Callable from any thread.
    ///
    /// A process whose threads hang in the kernel stays, with its descriptors open, until they return. So this ends the
    /// connections itself, which the initiator, its ssh and systemd notice. Parts stay locked as long as a thread may touch
    /// them.
    func leave(because reason: String) -> Never {
        hasBegun.store(true, ordering: .releasing)
        // The log file may lie on the storage that hangs, so the connections are ended first.
        log.error(reason, beforeLogging: endConnections)
        if let (poolSet, openTime) = pool.withLock(\.self) {
            log.notice("pool set \(poolSet): not closed cleanly after \(openTime.seconds) s")
        }
        _exit(1)
    }

    /// Keeps the calling thread from going on once the end has begun. Storage that answers just then would let it close the
    /// pool, and the log says that the pool stays dirty.
    func waitIfBegun() {
        while hasBegun.load(ordering: .acquiring) { sleep(1) }
    }

    private func endConnections() {
        let port = port.load(ordering: .acquiring)
        if port != 0 {
            let lanes = OwnSockets(port: port)
            for number in lanes.connections + lanes.listeners { _ = shutdown(number, Int32(SHUT_RDWR)) }
        }
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        for number in [input, output, STDERR_FILENO] {
            _ = shutdown(number, Int32(SHUT_RDWR))
            // If the number were free, another thread could open a file with it, and a late answer would go there.
            if nothing >= 0 { dup2(nothing, number) } else { close(number) }
        }
    }
}
