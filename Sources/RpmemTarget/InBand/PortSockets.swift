import Glibc
import SystemSupport

/// This process's TCP sockets at a port of its own: the listener, and the connections that came in there. libfabric
/// opens them and tells nobody their numbers.
struct PortSockets {
    let port: UInt16

    /// Ends the connections, lanes' and others', so that no thread of the provider goes on waiting for what their peers
    /// will not send.
    func hangUp() {
        forEach { socket, isListening in
            if !isListening { _ = Glibc.shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }

    /// Has the kernel end connections whose other machine cannot be reached any more, be they idle or not. Those that
    /// come in later have it from the listener, see tcp(7).
    ///
    /// - Parameter seconds: How long nothing may be heard, at least 1; it may take a third more.
    func limitSilence(seconds: Int) {
        // Probes start early enough for several to be missed.
        let options: [(level: Int32, name: Int32, value: Int)] = [
            (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, max(1, seconds / 3)),
            (Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6)), (Int32(IPPROTO_TCP), TCP_KEEPCNT, 4),
            (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, seconds * 1000),
        ]
        forEach { socket, _ in
            for option in options {
                var value = Int32(clamping: option.value)
                _ = setsockopt(
                    socket, option.level, option.name, &value, socklen_t(MemoryLayout<Int32>.size))
            }
        }
    }

    /// The descriptors that are listened on. They stay libfabric's.
    var listeners: [Int32] {
        var found: [Int32] = []
        forEach { socket, isListening in
            if isListening { found.append(socket) }
        }
        return found
    }

    private func forEach(_ body: (_ socket: Int32, _ isListening: Bool) -> Void) {
        guard let directory = opendir("/proc/self/fd") else { return }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let number = Int32(name), isHere(number) else { continue }
            var isListening: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            guard getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0 else { continue }
            body(number, isListening != 0)
        }
    }

    private func isHere(_ descriptor: Int32) -> Bool {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        return result == 0 && withUnsafeBytes(of: storage) { SystemSupport.port(ofSocketAddress: $0) } == port
    }
}
