import Glibc

/// An IPv4 or IPv6 address without port.
public struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Family: Hashable, Sendable { case ipv4, ipv6 }

    public let family: Family
    /// In network order; an IPv4 address uses the first four.
    private let bytes: SIMD16<UInt8>
    /// The interface of a link-local IPv6 address; 0 where it has none.
    private let scope: UInt32

    /// Parses a literal such as `192.0.2.1`, `2001:db8::1` or `fe80::1%eth0`; nil when it is none. An IPv4-mapped
    /// IPv6 address becomes the IPv4 address.
    public init?(_ text: String) {
        // Not getaddrinfo, which takes other texts as well, such as `1.2`, and memory that it may not get.
        guard !text.utf8.contains(0) else { return nil }
        var short = in_addr()
        if inet_pton(AF_INET, text, &short) == 1 {
            let address = sockaddr_in(
                sin_family: sa_family_t(AF_INET), sin_port: 0, sin_addr: short, sin_zero: (0, 0, 0, 0, 0, 0, 0, 0))
            self.init(socketAddress: address)
            return
        }
        let halves = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var long = in6_addr()
        guard inet_pton(AF_INET6, halves[0], &long) == 1 else { return nil }
        var scope: UInt32 = 0
        if halves.count > 1 {
            let start = withUnsafeBytes(of: long) { ($0[0], $0[1]) }
            let index = Self.isLinkLocal(start.0, start.1) ? if_nametoindex(halves[1]) : 0
            guard let number = index != 0 ? index : UInt32(halves[1]) else { return nil }
            scope = number
        }
        self.init(
            socketAddress: sockaddr_in6(
                sin6_family: sa_family_t(AF_INET6), sin6_port: 0, sin6_flowinfo: 0, sin6_addr: long,
                sin6_scope_id: scope))
    }

    /// - Parameter address: A `sockaddr_in` or `sockaddr_in6`.
    private init?<Address>(socketAddress address: Address) {
        guard let parsed = withUnsafeBytes(of: address, { NetworkAddress(socketAddress: $0) }) else { return nil }
        self = parsed
    }

    /// Reads a `sockaddr_in` or `sockaddr_in6`; nil for other families and for too few bytes.
    package init?(socketAddress raw: UnsafeRawBufferPointer) {
        guard raw.count >= MemoryLayout<sa_family_t>.size else { return nil }
        switch Int32(raw.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET where raw.count >= MemoryLayout<sockaddr_in>.size:
            let address = raw.loadUnaligned(as: sockaddr_in.self)
            var bytes = SIMD16<UInt8>()
            withUnsafeBytes(of: address.sin_addr) { source in
                for index in 0..<4 { bytes[index] = source[index] }
            }
            self.init(family: .ipv4, bytes: bytes, scope: 0)
        case AF_INET6 where raw.count >= MemoryLayout<sockaddr_in6>.size:
            let address = raw.loadUnaligned(as: sockaddr_in6.self)
            var bytes = SIMD16<UInt8>()
            withUnsafeBytes(of: address.sin6_addr) { source in
                for index in 0..<16 { bytes[index] = source[index] }
            }
            let mappedPrefix: SIMD16<UInt8> = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]
            var prefix = bytes
            for index in 12..<16 { prefix[index] = 0 }
            if prefix == mappedPrefix {
                self.init(
                    family: .ipv4,
                    bytes: [bytes[12], bytes[13], bytes[14], bytes[15], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], scope: 0)
            } else {
                self.init(family: .ipv6, bytes: bytes, scope: address.sin6_scope_id)
            }
        default: return nil
        }
    }

    private init(family: Family, bytes: SIMD16<UInt8>, scope: UInt32) {
        self.family = family
        self.bytes = bytes
        self.scope = scope
    }

    /// Whether an IPv6 address that starts with these bytes is in fe80::/10 or ff02::/16. An interface has a name for
    /// these addresses only.
    private static func isLinkLocal(_ first: UInt8, _ second: UInt8) -> Bool {
        first == 0xfe && second & 0xc0 == 0x80 || first == 0xff && second & 0x0f == 2
    }

    /// In network order: 4 bytes of an IPv4 address, 16 of an IPv6 address.
    var octets: [UInt8] { (0..<(family == .ipv4 ? 4 : 16)).map { bytes[$0] } }

    /// 127.0.0.0/8 or ::1.
    public var isLoopback: Bool {
        switch family {
        case .ipv4: bytes[0] == 127
        case .ipv6: bytes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        }
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        withUnsafeBytes(of: bytes) { source in
            _ = inet_ntop(
                family == .ipv4 ? AF_INET : AF_INET6, source.baseAddress, &text, socklen_t(INET6_ADDRSTRLEN))
        }
        let literal = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        guard scope != 0 else { return literal }
        var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        guard Self.isLinkLocal(bytes[0], bytes[1]), if_indextoname(scope, &name) != nil else {
            return "\(literal)%\(scope)"
        }
        return literal + "%" + String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// The port of a `sockaddr_in` or `sockaddr_in6`, nil for anything else.
package func port(ofSocketAddress raw: UnsafeRawBufferPointer) -> UInt16? {
    guard raw.count >= 4 else { return nil }
    switch Int32(raw.loadUnaligned(as: sa_family_t.self)) {
    case AF_INET, AF_INET6: return UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    default: return nil
    }
}
