import Glibc

/// How much is logged: this level and those before it.
package enum LogLevel: String, CaseIterable, Hashable, Sendable {
    case err, warn, notice, info, debug
}

/// Whether the Appliance Persistency Method is used.
package enum AppliancePersistency: String, CaseIterable, Hashable, Sendable {
    case yes, no
}

/// From which addresses lanes are accepted.
package enum InBandPeer: String, CaseIterable, Hashable, Sendable {
    /// The one that the session came from.
    case ssh
    case any
}

/// A numeric IPv4 or IPv6 address in its canonical spelling.
package struct InternetAddress: Hashable, Sendable, CustomStringConvertible {
    package enum Family: Hashable, Sendable {
        case ipv4, ipv6
    }

    package let family: Family
    /// As inet_ntop(3) writes it: no brackets, no port.
    package let text: String

    /// Nil unless `text` is what inet_pton(3) takes: a literal, never a host name.
    package init?(_ text: String) {
        // C would stop at a NUL and take the rest for nothing.
        guard !text.utf8.contains(0) else { return nil }
        for (family, number, bound) in [
            (Family.ipv4, AF_INET, INET_ADDRSTRLEN), (Family.ipv6, AF_INET6, INET6_ADDRSTRLEN),
        ] {
            var address = in6_addr()
            guard inet_pton(number, text, &address) == 1 else { continue }
            var spelled = [CChar](repeating: 0, count: Int(bound))
            guard inet_ntop(number, &address, &spelled, socklen_t(bound)) != nil else { return nil }
            self.family = family
            self.text = String(decoding: spelled.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            return
        }
        return nil
    }

    package var description: String { text }
}
