import Glibc
import RpmemProtocol
import Testing

@testable import PoolSets

@Suite struct LockTests {
    let fixture = PoolFixture()

    /// Another program has the lock, which it took in the way of PMDK's tools and daemon.
    @Test func anotherProcessKeepsThePartToItself() throws {
        fixture.writeSet("a.set", "2M @/p0")
        try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
        let pipe = fixture.directory.file("pipe")
        mkfifo(pipe, 0o600)
        let holder = try #require(
            popen("exec flock -xn \(fixture.part("p0")) sh -c 'echo ready; read line < \(pipe)'", "r"))
        var line = [CChar](repeating: 0, count: 16)
        try #require(fgets(&line, 16, holder) != nil)

        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        }
        #expect(error?.status == .busy)
        if case .busy(_, let who?) = error { #expect(who.hasPrefix("process ")) }
        #expect(
            poolError { () throws(PoolError) in
                try fixture.store().remove(descriptor: .named("a.set"), force: true, removePoolSet: true)
            }?.status == .busy)
        #expect(fixture.exists(fixture.part("p0")) && fixture.exists("\(fixture.sets)/a.set"))

        let answer = try #require(fopen(pipe, "w"))
        fputs("\n", answer)
        fclose(answer)
        #expect(pclose(holder) == 0)
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
    }

    /// Of several sessions that create one pool at once, one gets a whole pool, and the others get an error.
    @Test(arguments: [true, false]) func ofManyCreationsOneWins(_ nameless: Bool) throws {
        fixture.writeSet("a.set", "2M @/p0", "2M @/p1")
        let store = try fixture.store(usesNamelessFiles: nameless)
        for _ in 0..<20 {
            let threads = 4
            let outcome = CreationOutcomes()
            runTogether(threads) {
                do throws(PoolError) {
                    let pool = try store.create(
                        descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
                    outcome.won(pool)
                } catch {
                    outcome.lost(error)
                }
            }
            #expect(
                outcome.errors.allSatisfy { [.busy, .exists, .badPoolConfiguration].contains($0.status) },
                "\(outcome.errors)")
            let winners = outcome.takeWinners()
            #expect(winners.count == 1 || (!nameless && winners.isEmpty), "\(outcome.errors)")
            for pool in winners { try pool.close() }
            if !winners.isEmpty {
                try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
                try fixture.store().remove(descriptor: .named("a.set"), force: false, removePoolSet: false)
            }
            #expect(!fixture.exists(fixture.part("p0")) && !fixture.exists(fixture.part("p1")))
        }
    }
}
