import RpmemProtocol
import TestSupport
import Testing

/// BADPROTO, BADNLANES, BADPROVIDER, BADNAME and BADSIZE: requests that the target refuses without a look at the disk.
@Suite struct MalformedRequestTests {
    static let malformed: [StatusCase] = [
        StatusCase("another version", .open, .badProtocol, "0.2") { try change(12 + 3, to: [2]) },
        StatusCase("another major version", .open, .badProtocol, "1.1") { try change(12 + 1, to: [1]) },
        StatusCase("a size too small", .open, .badProtocol, "43 bytes") { try change(11, to: [43]) },
        StatusCase("a size too large", .open, .badProtocol, "65537 bytes") { try change(8, to: [0, 1, 0, 1]) },
        StatusCase("a size near the end of integers", .open, .badProtocol, "18446744073709551615") {
            try change(4, to: [UInt8](repeating: 0xff, count: 8))
        },
        StatusCase("CLOSE of another size", .close, .badProtocol, "17 bytes") {
            var bytes = Request.close([]).encode()
            bytes[11] = 17
            return bytes + [0]
        },
        StatusCase("SET_ATTR of another size", .setAttributes, .badProtocol, "115 bytes") {
            var bytes = Request.setAttributes(.sample).encode()
            bytes[11] = 115
            return bytes
        },
        StatusCase("a descriptor longer than its message", .open, .badProtocol, "descriptor of 9 bytes", "has 8") {
            try change(40, to: [0, 0, 0, 9])
        },
        StatusCase("a descriptor shorter than its message", .open, .badProtocol, "descriptor of 7 bytes", "has 8") {
            try change(40, to: [0, 0, 0, 7])
        },
        StatusCase("more inline data than supported", .open, .badProtocol, "inline") {
            try Request.open("one.set", inlineSize: .max).encode()
        },
        StatusCase("no lanes", .open, .badLaneCount, "0 lanes") { try Request.open("one.set", lanes: 0).encode() },
        StatusCase("provider 0", .open, .badProvider, "provider number 0", "2 is sockets") {
            try change(28, to: [0, 0, 0, 0])
        },
        StatusCase("provider 4", .create, .badProvider, "provider number 4") {
            var bytes = try Request.create("one.set").encode()
            bytes[31] = 4
            return bytes
        },
        StatusCase("an absolute descriptor", .open, .badName, "absolute") { try change(44, to: Array("/ne.set".utf8)) },
        StatusCase("a descriptor that leads out", .open, .badName, "..") { try change(44, to: Array("../.set".utf8)) },
        StatusCase("a descriptor without its NUL", .create, .badName, "NUL") {
            var bytes = try Request.create("one.set").encode()
            bytes[bytes.count - 1] = 65
            return bytes
        },
        StatusCase("a descriptor with a NUL inside", .open, .badName, "NUL") { try change(46, to: [0]) },
        StatusCase("an empty descriptor", .open, .badName, "empty") {
            var bytes = try Request.open("one.set").encode().prefix(44) + [0]
            bytes[11] = 45
            bytes[43] = 1
            return Array(bytes)
        },
        StatusCase("a pool of no bytes", .create, .badSize, "0 bytes") {
            try Request.create("one.set", size: 0).encode()
        },
        StatusCase("a pool of all bytes", .open, .badSize, "18446744073709551615") {
            try Request.open("one.set", size: .max).encode()
        },
    ]

    /// OPEN of `one.set`, changed from `offset` on.
    private static func change(_ offset: Int, to bytes: [UInt8]) throws -> [UInt8] {
        var request = try Request.open("one.set").encode()
        request.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        return request
    }

    @Test(arguments: malformed) func aMalformedRequest(_ refusal: StatusCase) throws {
        try expectRefused(refusal, on: try Target())
    }

    /// Types that are no request's have a bare header for an answer.
    @Test(arguments: [0, 2, 4, 6, 8, 10, 12, 14, 15, 0x7fff_ffff, 0xffff_ffff] as [UInt32]) func anUnknownType(
        _ type: UInt32
    )
        throws
    {
        let session = try Target().session().ready()
        try session.send((0..<4).map { UInt8(truncatingIfNeeded: type >> (24 - 8 * $0)) } + [0, 0, 0, 0, 0, 0, 0, 16])
        let (rest, ending) = try session.end()
        #expect(rest == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16])
        #expect(ending == .exited(1))
        try session.expectOneError("message type \(type)")
    }
}
