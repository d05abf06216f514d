import Glibc

/// Calls `body` with the socket address of a numeric IPv4 or IPv6 address and a port, for bind(2) and connect(2).
public func withNumericAddress<Result>(
    _ text: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    precondition(getaddrinfo(text, "\(port)", &hints, &found) == 0, "\(text) is no numeric address")
    defer { freeaddrinfo(found) }
    return body(found!.pointee.ai_addr, found!.pointee.ai_addrlen)
}
