import Glibc

/// Has the kernel end the connections that come in at listening TCP sockets, and have their options from them, once
/// their other machine cannot be reached any more, be they idle or not. See tcp(7).
///
/// - Parameter seconds: How long nothing may be heard, at least 1; it may take a third more.
func limitSilence(of listeners: [Int32], seconds: Int) {
    // Probes start early enough for several to be missed.
    let options: [(level: Int32, name: Int32, value: Int)] = [
        (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, max(1, seconds / 3)),
        (Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6)), (Int32(IPPROTO_TCP), TCP_KEEPCNT, 4),
        (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, seconds * 1000),
    ]
    for socket in listeners {
        for option in options {
            var value = Int32(clamping: option.value)
            _ = setsockopt(socket, option.level, option.name, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }
}
