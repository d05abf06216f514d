import Glibc
import SystemSupport

/// Has the kernel end connections whose other machine is unreachable, idle or not: keepalive and TCP_USER_TIMEOUT, see tcp(7).
/// Connections inherit the options of the listening socket that they come in at.
///
/// - Parameter seconds: How long the other machine may be silent, at least 1. The end may come a third later.
/// - Returns: Why the kernel may wait for ever; nil when all options are set.
func limitSilence(of listeners: [Int32], seconds: Int) -> SystemCallError? {
    var failure =
        listeners.isEmpty ? SystemCallError("getsockname", on: "listener of the lanes", errno: .badFileDescriptor) : nil
    // Several probes may be lost before the time is up.
    let options: [(level: Int32, name: Int32, value: Int)] = [
        (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, max(1, seconds / 3)),
        (Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6)), (Int32(IPPROTO_TCP), TCP_KEEPCNT, 4),
        (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, seconds * 1000),
    ]
    for socket in listeners {
        for option in options {
            var value = Int32(clamping: option.value)
            if setsockopt(socket, option.level, option.name, &value, socklen_t(MemoryLayout<Int32>.size)) != 0 {
                failure = .last("setsockopt", on: "listener of the lanes")
            }
        }
    }
    return failure
}
