import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Every status of the protocol, provoked: an answer of the right shape, one line that says why, an exit status other
/// than 0, and nothing changed on disk.
@Suite struct StatusTests {
    /// What is done to a target, what it is asked for, and what has to come of it.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var kind: RequestKind
        var status: Status
        /// What the log line has.
        var words: [String]
        var prepare: @Sendable (Target) throws -> Void
        var request: @Sendable () throws -> [UInt8]

        init(
            _ name: String, _ kind: RequestKind, _ status: Status, _ words: String...,
            request: @escaping @Sendable () throws -> [UInt8],
            prepare: @escaping @Sendable (Target) throws -> Void = { _ in }
        ) {
            testDescription = name
            self.kind = kind
            self.status = status
            self.words = words
            self.request = request
            self.prepare = prepare
        }
    }

    // MARK: BADPROTO, BADNLANES, BADPROVIDER, BADNAME: seen in the request itself

    static let malformed: [Case] = [
        Case("another version", .open, .badProtocol, "0.2") { try change(12 + 3, to: [2]) },
        Case("another major version", .open, .badProtocol, "1.1") { try change(12 + 1, to: [1]) },
        Case("a size too small", .open, .badProtocol, "43 bytes") { try change(11, to: [43]) },
        Case("a size too large", .open, .badProtocol, "65537 bytes") { try change(8, to: [0, 1, 0, 1]) },
        Case("a size near the end of integers", .open, .badProtocol, "18446744073709551615") {
            try change(4, to: [UInt8](repeating: 0xff, count: 8))
        },
        Case("CLOSE of another size", .close, .badProtocol, "17 bytes") {
            var bytes = Request.close([]).encode()
            bytes[11] = 17
            return bytes + [0]
        },
        Case("SET_ATTR of another size", .setAttributes, .badProtocol, "115 bytes") {
            var bytes = Request.setAttributes(.sample).encode()
            bytes[11] = 115
            return bytes
        },
        Case("a descriptor longer than its message", .open, .badProtocol, "descriptor of 9 bytes", "has 8") {
            try change(40, to: [0, 0, 0, 9])
        },
        Case("a descriptor shorter than its message", .open, .badProtocol, "descriptor of 7 bytes", "has 8") {
            try change(40, to: [0, 0, 0, 7])
        },
        Case("more inline data than supported", .open, .badProtocol, "inline") {
            try Request.open("one.set", inlineSize: .max).encode()
        },
        Case("no lanes", .open, .badLaneCount, "0 lanes") { try Request.open("one.set", lanes: 0).encode() },
        Case("provider 0", .open, .badProvider, "provider number 0", "2 is sockets") {
            try change(28, to: [0, 0, 0, 0])
        },
        Case("provider 4", .create, .badProvider, "provider number 4") {
            var bytes = try Request.create("one.set").encode()
            bytes[31] = 4
            return bytes
        },
        Case("an absolute descriptor", .open, .badName, "absolute") { try change(44, to: Array("/ne.set".utf8)) },
        Case("a descriptor that leads out", .open, .badName, "..") { try change(44, to: Array("../.set".utf8)) },
        Case("a descriptor without its NUL", .create, .badName, "NUL") {
            var bytes = try Request.create("one.set").encode()
            bytes[bytes.count - 1] = 65
            return bytes
        },
        Case("a descriptor with a NUL inside", .open, .badName, "NUL") { try change(46, to: [0]) },
        Case("an empty descriptor", .open, .badName, "empty") {
            var bytes = try Request.open("one.set").encode().prefix(44) + [0]
            bytes[11] = 45
            bytes[43] = 1
            return Array(bytes)
        },
        Case("a pool of no bytes", .create, .badSize, "0 bytes") { try Request.create("one.set", size: 0).encode() },
        Case("a pool of all bytes", .open, .badSize, "18446744073709551615") {
            try Request.open("one.set", size: .max).encode()
        },
    ]

    /// OPEN of `one.set`, changed from `offset` on.
    private static func change(_ offset: Int, to bytes: [UInt8]) throws -> [UInt8] {
        var request = try Request.open("one.set").encode()
        request.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        return request
    }

    @Test(arguments: malformed) func aMalformedRequest(_ refusal: Case) throws {
        try expectRefused(refusal, on: try Target())
    }

    /// Types that are no request's have a bare header for an answer.
    @Test(arguments: [0, 2, 4, 6, 8, 9, 0x7fff_ffff, 0xffff_ffff] as [UInt32]) func anUnknownType(_ type: UInt32) throws
    {
        let session = try Target().session().ready()
        try session.send((0..<4).map { UInt8(truncatingIfNeeded: type >> (24 - 8 * $0)) } + [0, 0, 0, 0, 0, 0, 0, 16])
        let (rest, ending) = try session.end()
        #expect(rest == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16])
        #expect(ending == .exited(1))
        try session.expectOneError("message type \(type)")
    }

    // MARK: What the disk says

    static let onDisk: [Case] = [
        Case("a pool smaller than asked", .open, .badSize, "33554432", "line 2") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "4M %/part")
            try $0.makePool("one.set", size: 4 << 20)
        },
        Case("a set smaller than asked", .create, .badSize, "33554432", "4194304", "line 2") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "4M %/part")
        },
        Case("a link that leads out", .open, .badName, "leads out") {
            try Request.open("link.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            symlink("\($0.sets)/one.set", "\($0.sets)/link.set")
        },
        Case("a part locked by another process", .open, .busy, "part", "in use") {
            try Request.open("busy.set").encode()
        } prepare: {
            try $0.addSet("busy.set", "40M %/part")
            try $0.makePool("busy.set")
            try $0.lock("part")
        },
        Case("CREATE on a part that is locked", .create, .busy, "part", "in use") {
            try Request.create("busy.set").encode()
        } prepare: {
            try $0.addSet("busy.set", "40M %/part")
            try $0.addPart("part", megabytes: 40)
            try $0.lock("part")
        },
        Case("a pool that is there", .create, .exists, "already has a pool", "RPMEMTST") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
        },
        Case("something else that is there", .create, .exists, "not zero") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "20M %/part0", "20M %/part1")
            try $0.addPart("part1", megabytes: 20)
            try $0.overwrite("part1", at: 4095, with: [1])
        },
        Case("no such set", .open, .noSuchPool, "no.set", "no such pool set") { try Request.open("no.set").encode() },
        Case("no such directory of sets", .create, .noSuchPool, "no/one.set", "no such pool set") {
            try Request.create("no/one.set").encode()
        },
        Case("no such part", .open, .noSuchPool, "parts/part", "no such part") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        Case("no directory for a part", .create, .noSuchPool, "parts/no", "no such directory") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "20M %/part0", "20M %/no/part1")
        },
        Case("a REPLICA line", .create, .badPoolConfiguration, "one.set:3", "replica") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part", "REPLICA", "40M %/other")
        },
        Case("a relative part", .create, .badPoolConfiguration, "one.set:2", "not absolute") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M part")
        },
        Case("an unknown option", .open, .badPoolConfiguration, "one.set:2", "SINGLEHEADER") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION SINGLEHEADER", "40M %/part")
        },
        Case("a set without parts", .open, .badPoolConfiguration, "one.set", "no parts") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "# nothing")
        },
        Case("SINGLEHDR in the set only", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION SINGLEHDR", "40M %/part")
        },
        Case("SINGLEHDR in the attributes only", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set", .sampleSingleHeader).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        Case("attributes with NOHDRS", .create, .badPoolConfiguration, "NOHDRS") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION NOHDRS", "40M %/part")
        },
        Case("no attributes without NOHDRS", .create, .badPoolConfiguration, "NOHDRS") {
            try Request.create("one.set", .none).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        Case("options that don't fit, on a pool that is there", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set", .sampleSingleHeader).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
        },
        Case("a part of another size", .open, .badPoolConfiguration, "one.set:2", "41943040", "37748736") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "36M %/part")
            try $0.addPart("part", megabytes: 40)
        },
        Case("a part without a pool", .open, .badPoolConfiguration, "zero") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.addPart("part", megabytes: 40)
        },
        Case("a damaged header", .open, .badPoolConfiguration, "checksum") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
            try $0.overwrite("part", at: 30, with: [0xee])
        },
        Case("a part that is a directory", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/directory")
            mkdir("\($0.parts)/directory", 0o755)
        },
        Case("a part that is another kind of device", .open, .badPoolConfiguration, "/dev/null") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M /dev/null")
        },
    ]

    @Test(arguments: onDisk) func whatTheDiskSays(_ refusal: Case) throws {
        let target = try Target()
        try refusal.prepare(target)
        try expectRefused(refusal, on: target)
    }

    /// A chain of directories up to the limit, and one name beyond it.
    @Test func theLongestDescriptors() throws {
        let target = try Target()
        for (count, status) in [(PoolDescriptor.maximumLength, Status.noSuchPool), (4096, .badName), (65491, .badName)]
        {
            let name =
                [UInt8](repeating: UInt8(ascii: "a"), count: 2) + Array(repeatElement("/a".utf8, count: 40000).joined())
            var bytes = try Request.open("x").encode().prefix(44) + name.prefix(count) + [0]
            bytes.replaceSubrange(4..<12, with: bigEndian(UInt64(bytes.count)))
            bytes.replaceSubrange(40..<44, with: bigEndian(UInt32(count + 1)))
            let request = Array(bytes)
            try expectRefused(Case("\(count) bytes", .open, status) { request }, on: target)
        }
    }

    /// By an open session rather than by a lock of the test's own, and through another set file.
    @Test func aPartOfAnotherSessionIsBusy() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("other.set", "40M %/part")
        try target.makePool("one.set")
        let holder = try target.session().ready()
        _ = try holder.pool(.open("one.set"))
        for request in try [Request.open("one.set"), .create("one.set"), .open("other.set")] {
            try expectRefused(
                Case("busy", request.kind, .busy, "in use", "\(holder.process.identifier)") { request.encode() },
                on: target)
        }
        try holder.close()
    }

    private func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    // MARK: FATAL

    @Test func aFileSizeLimitIsFatal() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(command: ["/usr/bin/prlimit", "--fsize=1048576"])
        try expectRefused(
            Case("file size limit", .create, .fatal, "part", "fallocate", "File too large") {
                try Request.create("one.set").encode()
            }, of: session)
    }

    @Test(.disabled(if: Sanitizer.isOn, "a sanitizer needs all of the address space"))
    func tooLittleAddressSpaceIsFatal() throws {
        let target = try Target()
        try target.addSet("one.set", "2G %/part")
        try target.addPart("part", megabytes: 2048)
        let session = try target.session(command: ["/usr/bin/prlimit", "--as=1073741824"])
        try expectRefused(
            Case("no address space", .create, .fatal, "map") { try Request.create("one.set").encode() }, of: session,
            isOpenedFirst: true)
    }

    // MARK: FATAL_CONN, PROVNOSUP

    @Test(arguments: loopbackProviders, [RequestKind.create, .open])
    func noFreePortIsAFailedConnection(_ provider: Provider, _ kind: RequestKind) throws {
        let taken = try TakenPort()
        let target = try Target("port-range = \(taken.port)")
        try target.addSet("one.set", "40M %/part")
        if kind == .open { try target.makePool("one.set", port: "any") }
        let refusal = Case("no free port", kind, .fatalConnection, "port-range \(taken.port)-\(taken.port)") {
            try
                (kind == .create
                ? Request.create("one.set", provider: provider) : .open("one.set", provider: provider)).encode()
        }
        try expectRefused(refusal, on: target, isOpenedFirst: kind == .open)
    }

    @Test(.enabled(if: TemporaryDirectory.entries(of: "/sys/class/infiniband").isEmpty, "this machine has RDMA"))
    func verbsWithoutDevicesIsNotSupported() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("there.set", "40M %/there")
        try target.makePool("there.set")
        try expectRefused(
            Case("verbs", .create, .providerNotSupported, "no provider verbs", "fi_info") {
                try Request.create("one.set", provider: .verbs).encode()
            }, on: target)
        try expectRefused(
            Case("verbs", .open, .providerNotSupported, "no provider verbs") {
                try Request.open("there.set", provider: .verbs).encode()
            }, on: target, isOpenedFirst: true)
    }

    // MARK: NOACCESS

    static let forbidden: [Case] = [
        Case("a set that may not be read", .open, .noAccess, "one.set", "owned by") {
            try Request.open("one.set").encode()
        } prepare: {
            chmod("\($0.sets)/one.set", 0)
        },
        Case("a directory of sets that may not be searched", .open, .noAccess, "deep/one.set") {
            try Request.open("deep/one.set").encode()
        } prepare: {
            mkdir("\($0.sets)/deep", 0)
        },
        Case("a part that may not be written", .open, .noAccess, "parts/part", "owned by") {
            try Request.open("one.set").encode()
        } prepare: {
            chmod("\($0.parts)/part", 0o444)
        },
        Case("a directory in which no part may be made", .create, .noAccess, "parts", "owned by") {
            try Request.create("new.set").encode()
        } prepare: {
            chmod($0.parts, 0o555)
        },
    ]

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else"), arguments: forbidden)
    func whatPermissionsForbid(_ refusal: Case) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("new.set", "40M %/new")
        try target.makePool("one.set")
        chmod(target.logFile, 0o666)
        try refusal.prepare(target)
        try expectRefused(refusal, of: try target.sessionOfNobody())
    }
}

// MARK: -

/// Sends the request, and expects that it is refused as the case says.
///
/// - Parameter isOpenedFirst: The pool was opened before the failure: its parts are written to, but have to be as they
///   were.
private func expectRefused(
    _ refusal: StatusTests.Case, on target: Target, isOpenedFirst: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    try expectRefused(
        refusal, of: try target.session(), isOpenedFirst: isOpenedFirst, sourceLocation: sourceLocation)
}

private func expectRefused(
    _ refusal: StatusTests.Case, of session: Session, isOpenedFirst: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    func state() throws -> [String: Target.FileState] {
        guard isOpenedFirst else { return session.target.files() }
        return session.target.files().mapValues {
            var file = $0
            file.modified = []
            return file
        }
    }
    func headers() throws -> [[UInt8]] {
        if geteuid() != 0 { return [] }
        return try TemporaryDirectory.entries(of: session.target.parts).compactMap {
            let path = "\(session.target.parts)/\($0)"
            var status = stat()
            guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
            return try session.target.bytes(of: $0)
        }
    }
    try session.ready(sourceLocation: sourceLocation)
    let before = (files: try state(), headers: try headers())
    try session.send(try refusal.request())
    let answer = try session.answer(to: refusal.kind)
    #expect(answer == .refused(refusal.kind, refusal.status), sourceLocation: sourceLocation)
    #expect(
        session.received.dropFirst(InitialStatus.size) == ArraySlice(answer.encode()), sourceLocation: sourceLocation)
    try session.expectEnd(1, sourceLocation: sourceLocation)
    #expect(try state() == before.files, sourceLocation: sourceLocation)
    #expect(try headers() == before.headers, sourceLocation: sourceLocation)
    let errors = try session.messages("err")
    #expect(errors.count == 1, "\(errors)", sourceLocation: sourceLocation)
    for word in refusal.words {
        #expect(errors.first?.contains(word) == true, "\(word): \(errors)", sourceLocation: sourceLocation)
    }
    #expect(
        session.process.errorText == errors.map { "rpmemd: \($0)\n" }.joined(), sourceLocation: sourceLocation)
}
