import Glibc

/// The TCP sockets of this process that have a given local port, whichever library has opened them.
package struct OwnSockets {
    /// Descriptors that listen.
    package private(set) var listeners: [Int32] = []
    /// All others: connections in any state.
    package private(set) var connections: [Int32] = []

    /// Reads /proc/self/fd. The descriptors belong to the libraries that have opened them. A library may close them at any time,
    /// unless the caller knows that it does not.
    package init(port: UInt16) {
        guard let directory = opendir("/proc/self/fd") else { return }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let number = Int32(name), Self.localPort(number) == port else { continue }
            switch Self.option(SO_ACCEPTCONN, of: number) {
            case 0: connections.append(number)
            case .some: listeners.append(number)
            case nil: break
            }
        }
    }

    private static func localPort(_ descriptor: Int32) -> UInt16? {
        guard option(SO_PROTOCOL, of: descriptor) == Int32(IPPROTO_TCP) else { return nil }
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        return result == 0 ? withUnsafeBytes(of: storage) { port(ofSocketAddress: $0) } : nil
    }

    private static func option(_ name: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }
}
