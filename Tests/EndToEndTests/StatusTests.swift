import CLinux
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Statuses that depend on the target's limits, network and permissions. MalformedRequestTests and DiskStatusTests have the
/// others. Each refusal is an answer of the right shape and one line that says why, with an exit status other than 0, and
/// changes nothing on disk.
@Suite struct StatusTests {
    // MARK: FATAL

    @Test func aFileSizeLimitIsFatal() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(command: ["/usr/bin/prlimit", "--fsize=1048576"])
        try expectRefused(
            StatusCase("file size limit", .create, .fatal, "part", "fallocate", "File too large") {
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
            StatusCase("no address space", .create, .fatal, "map") { try Request.create("one.set").encode() },
            of: session,
            isOpenedFirst: true)
    }

    // MARK: FATAL_CONN, PROVNOSUP

    @Test(arguments: loopbackProviders, [RequestKind.create, .open])
    func noFreePortIsAFailedConnection(_ provider: Provider, _ kind: RequestKind) throws {
        let taken = try LoopbackPort(isListening: true)
        let target = try Target("port-range = \(taken.port)")
        try target.addSet("one.set", "40M %/part")
        if kind == .open { try target.makePool("one.set", port: "any") }
        let refusal = StatusCase("no free port", kind, .fatalConnection, "port-range \(taken.port)-\(taken.port)") {
            try
                (kind == .create
                ? Request.create("one.set", provider: provider) : .open("one.set", provider: provider)).encode()
        }
        try expectRefused(refusal, on: target, isOpenedFirst: kind == .open)
        withExtendedLifetime(taken) {}
    }

    @Test(.enabled(if: TemporaryDirectory.entries(of: "/sys/class/infiniband").isEmpty, "this machine has RDMA"))
    func verbsWithoutDevicesIsNotSupported() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("there.set", "40M %/there")
        try target.makePool("there.set")
        try expectRefused(
            StatusCase("verbs", .create, .providerNotSupported, "no provider verbs", "fi_info") {
                try Request.create("one.set", provider: .verbs).encode()
            }, on: target)
        try expectRefused(
            StatusCase("verbs", .open, .providerNotSupported, "no provider verbs") {
                try Request.open("there.set", provider: .verbs).encode()
            }, on: target, isOpenedFirst: true)
    }

    // MARK: NOACCESS

    static let forbidden: [StatusCase] = [
        StatusCase("a set that may not be read", .open, .noAccess, "one.set", "owned by") {
            try Request.open("one.set").encode()
        } prepare: {
            chmod("\($0.sets)/one.set", 0)
        },
        StatusCase("a directory of sets that may not be searched", .open, .noAccess, "deep/one.set") {
            try Request.open("deep/one.set").encode()
        } prepare: {
            mkdir("\($0.sets)/deep", 0)
        },
        StatusCase("a part that may not be written", .open, .noAccess, "parts/part", "owned by") {
            try Request.open("one.set").encode()
        } prepare: {
            chmod("\($0.parts)/part", 0o444)
        },
        StatusCase("a directory in which no part may be made", .create, .noAccess, "parts", "owned by") {
            try Request.create("new.set").encode()
        } prepare: {
            chmod($0.parts, 0o555)
        },
    ]

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else"), arguments: forbidden)
    func whatPermissionsForbid(_ refusal: StatusCase) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("new.set", "40M %/new")
        try target.makePool("one.set")
        chmod(target.logFile, 0o666)
        try refusal.prepare(target)
        try expectRefused(refusal, of: try target.sessionOfNobody())
    }
}
