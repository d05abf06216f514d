import CLinux
import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A page of a part that cannot be read or allocated ends the session, no matter which thread or provider finds it: operations on
/// the page would never complete.
@Suite(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace")) struct UnreadablePageTests {
    private static let offset: UInt64 = 16 << 20

    /// A target with a pool that has a hole of 1 MiB at ``offset``, on a tmpfs without a free page. Its mounts are the
    /// process's own.
    private static func target() throws -> Target {
        let target = try Target()
        try #require(PrivateMounts.mountTmpfs(at: target.parts, options: "size=44m") == nil)
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let part = try Descriptor.open("\(target.parts)/part", O_RDWR)
        try #require(rpmem_fallocate(part.number, rpmem_fallocate_punch_hole, Int64(offset), 1 << 20) == 0)
        let filler = try Descriptor.open("\(target.parts)/filler", O_RDWR | O_CREAT, mode: 0o600)
        let block = [UInt8](repeating: 1, count: 4096)
        while write(filler.number, block, block.count) == block.count {}
        return target
    }

    private static func run(
        _ provider: Provider, body: (ClientLane) throws -> Void
    ) throws {
        let target = try target()
        defer { PrivateMounts.unmount(target.parts) }
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", lanes: 1, provider: provider))
        let client = try LaneClient(provider, lanes)
        #expect(throws: (any Error).self) { try body(client[0]) }
        try session.expectEnd(1)
        try session.expectOneError("\(target.parts)/part", "offset 16777216", "file system is full")
        #expect(try target.isDirty("part"))
    }

    /// A worker's own store raises SIGBUS. The log also names the request.
    @Test func aRequestThatWritesIntoAHoleOnAFullFileSystem() async {
        await #expect(processExitsWith: .success) {
            try #require(PrivateMounts.enter() == nil)
            for provider in loopbackProviders {
                try Self.run(provider) { _ = try $0.persist(.inline, at: Self.offset, size: 4, data: [1, 2, 3, 4]) }
            }
        }
    }

    /// The provider's system calls meet the page. They fail with EFAULT, and no signal comes.
    @Test func aReadOfAHoleOnAFullFileSystem() async {
        await #expect(processExitsWith: .success) {
            try #require(PrivateMounts.enter() == nil)
            for provider in loopbackProviders {
                for length in [8, 100_000] {
                    try Self.run(provider) { _ = try $0.read(length, at: Self.offset) }
                }
            }
        }
    }

    @Test func aWriteIntoAHoleOnAFullFileSystem() async {
        await #expect(processExitsWith: .success) {
            try #require(PrivateMounts.enter() == nil)
            for provider in loopbackProviders {
                for length in [8, 100_000] {
                    try Self.run(provider) { lane in
                        try lane.write([UInt8](repeating: 1, count: length), at: Self.offset)
                        _ = try lane.response()
                    }
                }
            }
        }
    }
}
