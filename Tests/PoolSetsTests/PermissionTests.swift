import Glibc
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// Sessions of a user without permissions, each in a process in which root has become that user.
@Suite(.enabled(if: PrivateMounts.skipReason == nil, "needs root to become another user"))
struct PermissionTests {
    @Test func partsThatMayNotBeUsedAreSaid() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            fixture.writeSet("a.set", "2M @/p0")
            fixture.writeSet("b.set", "2M @/p1")
            try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
            let before = fixture.snapshot()
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            let store = try fixture.store()
            func failure(_ body: (PoolStore) throws(PoolError) -> Void) -> PoolError? {
                poolError { () throws(PoolError) in try body(store) }
            }

            let opened = failure { (store) throws(PoolError) in
                _ = try store.open(descriptor: .named("a.set"), requestedSize: 0)
            }
            #expect(opened?.status == .noAccess)
            #expect(
                "\(opened!)".contains(
                    "p0: Permission denied: owned by root:root, mode 0600, this process is uid 65534: change owner"))
            // The user may not write to the directory of the part.
            let created = failure { (store) throws(PoolError) in
                _ = try store.create(descriptor: .named("b.set"), attributes: .captured(), requestedSize: 0)
            }
            #expect(created?.status == .noAccess)
            #expect("\(created!)".hasPrefix("\(fixture.parts): "))
            // The user may neither open nor remove the part, so the error lists it.
            let removed = failure { (store) throws(PoolError) in
                try store.remove(descriptor: .named("a.set"), force: true, removePoolSet: true)
            }
            guard case .incompleteRemoval(_, let left) = removed else {
                Issue.record("\(String(describing: removed))")
                return
            }
            #expect(left.map(\.path) == [fixture.part("p0")])
            #expect(removed?.errno == .permissionDenied)
            try #require(seteuid(0) == 0)
            #expect(fixture.snapshot() == before)
        }
    }

    /// A session writes to the parts, an examination does not.
    @Test func anExaminationFindsPartsThatMayNotBeWritten() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            fixture.writeSet("a.set", "2M @/p0")
            try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
            chmod(fixture.part("p0"), 0o444)
            #expect(try fixture.store().examine(.named("a.set"), depth: .whole).findings.isEmpty)
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            let found = try fixture.store().examine(.named("a.set"), depth: .whole)
            #expect(found.findings.map(\.code) == [.partUnusable])
            #expect(
                found.findings.first?.message.contains("p0: Permission denied: owned by root:root, mode 0444") == true)
            #expect(found.findings.first?.remedy == "let this user read and write it")
            try #require(seteuid(0) == 0)
        }
    }

    @Test func anExaminationFindsAReadOnlyFileSystem() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            fixture.writeSet("a.set", "2M @/p0")
            try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
            try #require(PrivateMounts.enter() == nil)
            let parts = fixture.parts
            // MS_BIND, then MS_REMOUNT | MS_BIND | MS_RDONLY.
            try #require(PrivateMounts.mount(parts, parts, nil, 0x1000, nil) == nil)
            try #require(PrivateMounts.mount(parts, parts, nil, 0x1021, nil) == nil)
            let found = try fixture.store().examine(.named("a.set"), depth: .whole)
            #expect(found.findings.map(\.code) == [.partUnusable])
            #expect(found.findings.first?.message.contains("p0: Read-only file system") == true)
            #expect(found.findings.first?.remedy == "mount its file system for writing")
            PrivateMounts.unmount(parts)
        }
    }

    @Test func setsThatMayNotBeReadAreSaid() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            fixture.writeSet("a.set", "2M @/p0")
            chmod("\(fixture.sets)/a.set", 0o600)
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            let error = poolError { () throws(PoolError) in
                _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
            }
            #expect(error?.status == .noAccess)
            try #require(seteuid(0) == 0)
        }
    }

    @Test func aDirectoryThatMayNotBeSearchedIsSaid() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            fixture.writeSet("a.set", "2M @/p0")
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            let error = poolError { () throws(PoolError) in _ = try fixture.store() }
            #expect(error?.status == .noAccess)
            #expect("\(error!)".contains("search permission"))
            try #require(seteuid(0) == 0)
        }
    }
}
