import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

/// File systems without room for new parts.
@Suite struct CreateSpaceTests {
    let fixture = PoolFixture()

    private func failure(_ name: String, size: UInt64) -> PoolError? {
        poolError { () throws(PoolError) in
            _ = try fixture.store().create(descriptor: .named(name), attributes: .captured(), requestedSize: size)
        }
    }

    @Test func aFullFileSystemIsSaidAndLeavesNothing() {
        fixture.writeSet("a.set", "4M @/p0", "4000T @/p1")
        let before = fixture.snapshot()
        let error = failure("a.set", size: 0)
        #expect(error?.status == .fatal && error?.errno == .noSpace)
        #expect("\(error!)".hasPrefix("\(fixture.parts): no space for 4398046515298304 bytes of 2 new parts, "))
        #expect(fixture.snapshot() == before)
        fixture.writeSet("b.set", "4000T @/p0")
        #expect("\(failure("b.set", size: 0)!)".contains("p0: no space for 4398046511104000 bytes, "))
    }

    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func moreThanTheFileSystemHasIsRefusedAtOnce() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            try #require(PrivateMounts.mountTmpfs(at: fixture.parts, options: "size=6m") == nil)
            defer { PrivateMounts.unmount(fixture.parts) }
            fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
            let before = fixture.snapshot()
            let error = poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(fixture.parts, 2, 8_388_608, let free?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(free == 6 << 20)
            #expect("\(error!)".contains("no space for 8388608 bytes of 2 new parts, 6291456 are free"))
            #expect(fixture.snapshot() == before)
            // The creation did not begin to allocate.
            var looks = 0
            _ = poolError { () throws(PoolError) in
                _ = try fixture.store().create(
                    descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0,
                    isCancelled: {
                        looks += 1
                        return false
                    })
            }
            #expect(looks == 0)
        }
    }

    /// Another program takes the free space after the check.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func aFileSystemThatFillsUpMeanwhileIsSaidAndLeavesNothing() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            try #require(PrivateMounts.mountTmpfs(at: fixture.parts, options: "size=12m") == nil)
            defer { PrivateMounts.unmount(fixture.parts) }
            fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
            let other = [UInt8](repeating: 1, count: 5 << 20)
            let error = poolError { () throws(PoolError) in
                let store = try fixture.store { step throws(PoolError) in
                    if step == .createPart(1) { fixture.write(fixture.part("other"), other) }
                }
                _ = try store.create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(let path, 1, 4_194_304, let free?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(path == fixture.part("p1") && free < 4 << 20)
            #expect(TemporaryDirectory.entries(of: fixture.parts) == ["other"])
        }
    }

    /// Each file system needs room for its own parts only.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func roomIsLookedForOnEachFileSystem() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            mkdir(fixture.part("one"), 0o755)
            mkdir(fixture.part("two"), 0o755)
            for name in ["one", "two"] {
                try #require(PrivateMounts.mountTmpfs(at: fixture.part(name), options: "size=6m") == nil)
            }
            defer { for name in ["one", "two"] { PrivateMounts.unmount(fixture.part(name)) } }
            fixture.writeSet("a.set", "4M @/one/p0", "4M @/two/p1")
            fixture.writeSet("b.set", "4M @/one/q0", "3M @/two/q1")
            let store = try fixture.store()
            let pool = try store.create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            try pool.close()
            let error = poolError { () throws(PoolError) in
                _ = try store.create(descriptor: .named("b.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(let path, 1, 4_194_304, 2_097_152?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(path == fixture.part("one/q0"))
        }
    }
}
