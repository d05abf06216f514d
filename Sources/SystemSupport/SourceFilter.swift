import CLinux
import Glibc

/// A socket filter by which the kernel drops packets to a listening TCP socket from all hosts but one. No connection comes about,
/// so the library that listens reads no byte of other hosts.
///
/// It is a classic filter (socket(7), SO_ATTACH_FILTER), for which TCP sockets need CAP_NET_ADMIN. Accepted connections inherit
/// it. A sender whose packets are dropped gets no answer, as behind a firewall.
package struct SourceFilter {
    private let program: [sock_filter]

    /// - Parameter address: The host whose packets pass, on any interface. A loopback address stands for all loopback addresses,
    ///   IPv4 and IPv6: a host reaches itself from each.
    package init(allowing address: NetworkAddress) {
        var program = [Self.load(.byte, at: 0), instruction(BPF_ALU | BPF_AND | BPF_K, 0xf0)]
        if address.isLoopback {
            program += Self.accept(version: 4, where: [Field(.byte, at: Self.sourceIPv4, is: 127)])
            program += Self.accept(version: 6, where: Self.sourceFields(NetworkAddress("::1")!))
        } else {
            program += Self.accept(version: address.family == .ipv4 ? 4 : 6, where: Self.sourceFields(address))
        }
        self.program = program + [Self.drop]
    }

    /// Attaches it to a listening socket and locks it (SO_LOCK_FILTER), so that nothing can remove it.
    ///
    /// Earlier connections keep working, accepted or not.
    package func attach(to descriptor: Int32) throws(SystemCallError) {
        var instructions = program
        let attached = instructions.withUnsafeMutableBufferPointer { buffer in
            var filter = sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
            let size = socklen_t(MemoryLayout<sock_fprog>.size)
            return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, size)
        }
        if attached != 0 { throw .last("setsockopt(SO_ATTACH_FILTER)") }
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        if setsockopt(descriptor, SOL_SOCKET, SO_LOCK_FILTER, &on, size) != 0 {
            throw .last("setsockopt(SO_LOCK_FILTER)")
        }
    }

    /// Packets that the kernel has dropped at a listening socket, because of a filter or for lack of memory; 0 when the kernel does
    /// not report it.
    package static func droppedPackets(of descriptor: Int32) -> Int {
        var counters = [UInt32](repeating: 0, count: SK_MEMINFO_VARS)
        var size = socklen_t(counters.count * MemoryLayout<UInt32>.size)
        let index = SK_MEMINFO_DROPS
        guard getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, &counters, &size) == 0,
            Int(size) >= (index + 1) * MemoryLayout<UInt32>.size
        else { return 0 }
        return Int(counters[index])
    }

    // MARK: The program

    /// The offset of the source address in IP headers (RFC 791, RFC 8200), in bytes.
    private static let sourceIPv4: UInt32 = 12
    private static let sourceIPv6: UInt32 = 8

    /// A value in the IP header.
    private struct Field {
        enum Width { case byte, word }
        var width: Width
        var offset: UInt32
        var value: UInt32

        init(_ width: Width, at offset: UInt32, is value: UInt32) {
            self.width = width
            self.offset = offset
            self.value = value
        }
    }

    private static var drop: sock_filter { instruction(BPF_RET | BPF_K, 0) }

    private static func sourceFields(_ address: NetworkAddress) -> [Field] {
        let start = address.family == .ipv4 ? sourceIPv4 : sourceIPv6
        let octets = address.octets
        return stride(from: 0, to: octets.count, by: 4).map { index in
            let value = octets[index..<index + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return Field(.word, at: start + UInt32(index), is: value)
        }
    }

    /// Offset 0 of a TCP socket's filter is the TCP header. SKF_NET_OFF is the offset of the IP header.
    private static func load(_ width: Field.Width, at offset: UInt32) -> sock_filter {
        instruction(BPF_LD | BPF_ABS | (width == .byte ? BPF_B : BPF_W), rpmem_skf_net_off &+ offset)
    }

    /// Instructions that expect the IP version in the accumulator. They continue behind their end when it is another version.
    /// Otherwise they accept the packet if it has all fields, and drop it if not.
    private static func accept(version: UInt32, where fields: [Field]) -> [sock_filter] {
        let isEqual = BPF_JMP | BPF_JEQ | BPF_K
        var block = [instruction(isEqual, version << 4, otherwise: 2 * fields.count + 2)]
        for (index, field) in fields.enumerated() {
            block.append(load(field.width, at: field.offset))
            block.append(instruction(isEqual, field.value, otherwise: 2 * (fields.count - 1 - index) + 1))
        }
        return block + [instruction(BPF_RET | BPF_K, .max), drop]
    }
}

/// - Parameter skipped: With jumps, instructions to skip if the comparison fails.
private func instruction(_ code: Int32, _ operand: UInt32, otherwise skipped: Int = 0) -> sock_filter {
    sock_filter(code: UInt16(code), jt: 0, jf: UInt8(skipped), k: operand)
}
