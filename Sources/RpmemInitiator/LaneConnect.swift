import CLinux
import Fabric
import Glibc
import Synchronization
import SystemSupport

/// One fi_connect, on a thread of its own.
///
/// The sockets provider calls connect(2) in it, which blocks for two minutes where a firewall drops the packets. No option
/// changes that. So ``abandon()`` ends the system call: shutdown(2) wakes a thread that is in connect(2) on the same socket.
final class LaneConnect: Sendable {
    private let finished: WakeUp
    private let outcome = Mutex<Result<Void, FabricError>?>(nil)
    /// The thread's number, for /proc; 0 until it runs.
    private let thread = Atomic<Int32>(0)

    init(_ endpoint: Endpoint, to info: FabricInfo, privateData: [UInt8]) throws(SystemCallError) {
        finished = try WakeUp()
        // libfabric's objects may be used by any thread, and only one at a time uses these.
        nonisolated(unsafe) let (endpoint, info) = (endpoint, info)
        try NamedThread(name: "rpmem-connect") { [self] in
            thread.store(gettid(), ordering: .releasing)
            let result = Result { () throws(FabricError) in try endpoint.connect(to: info, privateData: privateData) }
            outcome.withLock { $0 = result }
            finished.signal()
        }.detach()
    }

    /// Readable when ``result`` is there.
    var descriptor: Int32 { finished.descriptor.number }

    /// nil while fi_connect has not returned.
    var result: Result<Void, FabricError>? { outcome.withLock { $0 } }

    /// Ends the call, and waits for its return, a second at most.
    func abandon() {
        let deadline = Deadline.after(milliseconds: 1000)
        while result == nil, !deadline.hasPassed {
            if let socket = connectingSocket() { _ = shutdown(socket, Int32(SHUT_RDWR)) }
            _ = try? PollSet.wait(for: descriptor, until: .after(milliseconds: 10))
        }
    }

    /// The socket on which the thread is in connect(2); nil when it is in no such call.
    private func connectingSocket() -> Int32? {
        // proc_pid_syscall(5): the number of the call, then its arguments in hexadecimal.
        guard let file = try? Descriptor.open("/proc/self/task/\(thread.load(ordering: .acquiring))/syscall", O_RDONLY),
            let bytes = try? readFile(file, limit: 4096)
        else { return nil }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        guard fields.count > 1, Int32(fields[0]) == Int32(SYS_connect), fields[1].hasPrefix("0x") else { return nil }
        return Int32(fields[1].dropFirst(2), radix: 16)
    }
}
