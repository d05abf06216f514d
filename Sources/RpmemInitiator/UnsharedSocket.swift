import Glibc
import SystemSupport

/// One of two connected sockets, which children of fork(2) close. The reader of the other socket finds the end of the file
/// when this value goes and when the host process ends, even if children of the host live on.
struct UnsharedSocket: ~Copyable, Sendable {
    /// The number; valid as long as this value is alive.
    let number: Int32

    fileprivate init(owning number: Int32) {
        self.number = number
    }

    /// shutdown(2) ends the connection although a child of clone(2) may have a copy of the descriptor.
    deinit {
        shutdown(number, Int32(SHUT_RDWR))
        let number = self.number
        SocketTable.change { table in
            table.remove(number)
            close(number)
        }
    }
}

/// Two connected sockets, close-on-exec.
struct SocketPair: ~Copyable {
    /// For a child process that is started with it.
    let shared: Descriptor
    /// This process's own.
    private let unshared: UnsharedSocket

    init() throws(SystemCallError) {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let error: SystemCallError? = SocketTable.change { table in
            if socketpair(AF_UNIX, type, 0, &ends) != 0 { return .last("socketpair") }
            table.add(ends[1])
            return nil
        }
        if let error { throw error }
        shared = Descriptor(owning: ends[0])
        unshared = UnsharedSocket(owning: ends[1])
    }

    /// This process's own socket; the other one is closed.
    consuming func takeUnshared() -> UnsharedSocket { unshared }
}

/// The numbers of all ``UnsharedSocket``s, which a new child closes.
private struct SocketTable {
    private var lock = pthread_mutex_t()
    private var numbers: UnsafeMutablePointer<Int32>?
    private var count = 0
    private var capacity = 0

    mutating func add(_ number: Int32) {
        if count == capacity {
            let larger = UnsafeMutablePointer<Int32>.allocate(capacity: max(16, 2 * capacity))
            if let numbers {
                larger.update(from: numbers, count: count)
                numbers.deallocate()
            }
            numbers = larger
            capacity = max(16, 2 * capacity)
        }
        numbers![count] = number
        count += 1
    }

    mutating func remove(_ number: Int32) {
        guard let numbers, let index = (0..<count).first(where: { numbers[$0] == number }) else { return }
        count -= 1
        numbers[index] = numbers[count]
    }

    private mutating func closeAll() {
        for index in 0..<count { close(numbers![index]) }
        count = 0
    }

    /// Runs `body` while no thread can fork.
    static func change<Result>(_ body: (inout SocketTable) -> Result) -> Result {
        let table = installed
        // A signal handler may fork.
        var blocked = asynchronousSignals()
        var before = sigset_t()
        pthread_sigmask(SIG_SETMASK, &blocked, &before)
        pthread_mutex_lock(&table.pointee.lock)
        defer {
            pthread_mutex_unlock(&table.pointee.lock)
            pthread_sigmask(SIG_SETMASK, &before, nil)
        }
        return body(&table.pointee)
    }

    /// Made at the first use and never freed. The handlers below use it directly: they run in a child, which must not wait for
    /// the initialization of a global on a thread that the child does not have.
    nonisolated(unsafe) private static let shared: UnsafeMutablePointer<SocketTable> = {
        let table = UnsafeMutablePointer<SocketTable>.allocate(capacity: 1)
        table.initialize(to: SocketTable())
        pthread_mutex_init(&table.pointee.lock, nil)
        return table
    }()

    /// The table with its handlers for fork(2). glibc drops the handlers if their library is unloaded.
    nonisolated(unsafe) private static let installed: UnsafeMutablePointer<SocketTable> = {
        let table = shared
        _ = pthread_atfork(
            { pthread_mutex_lock(&SocketTable.shared.pointee.lock) },
            { pthread_mutex_unlock(&SocketTable.shared.pointee.lock) },
            {
                SocketTable.shared.pointee.closeAll()
                pthread_mutex_unlock(&SocketTable.shared.pointee.lock)
            })
        return table
    }()
}
