import Glibc
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

/// CREATE makes the names of new parts durable, and a removal their end.
@Suite struct DurableNameTests {
    /// CREATE fails when it cannot make a name durable.
    @Test func aDirectoryThatCannotBeOpenedIsAFailure() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            fixture.writeSet("a.set", "4M @/p0")
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(7), &limit)
            let most = limit.rlim_cur
            let store = try fixture.store { step throws(PoolError) in
                guard case .synchronizeDirectory = step else { return }
                var none = rlimit(rlim_cur: 0, rlim_max: most)
                setrlimit(__rlimit_resource_t(7), &none)
            }
            let error = poolError { () throws(PoolError) in
                _ = try store.create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }
            setrlimit(__rlimit_resource_t(7), &limit)
            #expect(error?.errno == .tooManyOpenFiles, "\(String(describing: error))")
            #expect(error?.status == .fatal)
            #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
        }
    }

    /// Without read permission on the directory, CREATE synchronises the whole file system.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root to become another user"))
    func aDirectoryThatMayNotBeReadIsEnough() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            chown(fixture.parts, 65534, 65534)
            chmod(fixture.parts, 0o300)
            fixture.writeSet("a.set", "4M @/p0")
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
            try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
            try #require(seteuid(0) == 0)
        }
    }

    /// A removal that cannot be made durable is none.
    @Test func aRemovalThatCannotBeSynchronisedIsAFailure() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            fixture.writeSet("a.set", "4M @/p0")
            let pool = try fixture.store().create(
                descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(7), &limit)
            var none = rlimit(rlim_cur: 0, rlim_max: limit.rlim_max)
            setrlimit(__rlimit_resource_t(7), &none)
            let error = poolError { () throws(PoolError) in try pool.remove() }
            setrlimit(__rlimit_resource_t(7), &limit)
            #expect(error?.errno == .tooManyOpenFiles, "\(String(describing: error))")
            #expect(error.map { "\($0)" }?.contains(fixture.part("p0")) == true)
        }
    }
}
