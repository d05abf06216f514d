import Glibc
import SystemPackage
import SystemSupport

/// A setting that keeps lanes from being listened for on this machine. libfabric reports all of them as `Invalid argument`.
struct ListenObstacle: Equatable {
    let setting: SettingKey
    /// The setting, the reason and the remedy, on one line.
    let text: String

    /// Tries to take a port as the lanes' listener does; nil when one can be had. Does not listen.
    ///
    /// - Parameters:
    ///   - address: Of this machine.
    ///   - isConfigured: Whether the address is `in-band-address`, and not that at which the session arrived.
    ///   - ports: nil for any.
    static func find(at address: NetworkAddress, isConfigured: Bool, ports: ClosedRange<UInt16>?) -> ListenObstacle? {
        var last: Errno?
        for port in ports ?? 0...0 {
            guard let reason = bindError(address, port) else { return nil }
            last = reason
            // The others fail likewise.
            if reason == .addressNotAvailable { break }
        }
        let subject = "\(SettingKey.portRange.name) \(ports.map { "\($0.lowerBound)-\($0.upperBound)" } ?? "any")"
        switch last {
        case .addressNotAvailable?:
            return ListenObstacle(
                setting: .inBandAddress,
                text:
                    "\(SettingKey.inBandAddress.name) \(address)\(isConfigured ? "" : ", at which the session arrived"): "
                    + "not an address of this machine: write one that `ip address` lists")
        case .permissionDenied?:
            return ListenObstacle(
                setting: .portRange,
                text:
                    "\(subject): user id \(geteuid()) may not listen on a port below \(firstOrdinaryPort): write ports "
                    + "from \(firstOrdinaryPort) on")
        case .addressInUse?:
            return ListenObstacle(
                setting: .portRange,
                text: "\(subject): in use at \(address): add ports, one for each session whose lanes are not all "
                    + "connected")
        default: return nil
        }
    }

    /// Ports from here on are for every user.
    private static var firstOrdinaryPort: Int {
        guard let file = try? Descriptor.open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_RDONLY),
            let text = try? readFile(file, limit: 64),
            let number = Int(String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
        else { return 1024 }
        return number
    }

    /// The error of bind(2); nil when it succeeds.
    private static func bindError(_ address: NetworkAddress, _ port: UInt16) -> Errno? {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo("\(address)", "\(port)", &hints, &found) == 0, let found else { return .addressNotAvailable }
        defer { freeaddrinfo(found) }
        let number = socket(found.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if number < 0 { return Errno.current == .addressFamilyNotSupported ? .addressNotAvailable : Errno.current }
        let trial = Descriptor(owning: number)
        // As libfabric's providers do: a connection that has ended may still have the port.
        var yes: Int32 = 1
        setsockopt(trial.number, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        return bind(trial.number, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 ? nil : Errno.current
    }
}
