import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A session whose provider crashes. libfabric's sockets provider can be made to by garbage on its port.
@Suite struct ProviderCrashTests {
    private enum Cause: CaseIterable {
        /// Messages of random bytes to the port, from the initiator's own machine, and a crash if they cause none.
        case garbage
        /// What the kernel does when the provider touches memory that is not there.
        case crash
    }

    /// No other session notices; the pool is marked dirty; what was acknowledged is there, on the disk and for the next session.
    @Test(arguments: loopbackProviders, Cause.allCases)
    private func aCrashEndsItsSessionAlone(_ provider: Provider, _ cause: Cause) throws {
        let target = try Target()
        try target.addSet("one.set", "10M %/one")
        try target.addSet("two.set", "10M %/two")
        let other = try target.session().ready()
        let (otherLanes, _) = try other.pool(.create("two.set", size: 8 << 20, lanes: 1, provider: provider))
        let otherClient = try LaneClient(provider, otherLanes)

        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", size: 8 << 20, lanes: 2, provider: provider))
        // The port stays open while a lane is missing.
        let client = try LaneClient(provider, lanes, lanes: 1)
        var acknowledged: [(offset: Int, byte: UInt8)] = []
        for number in 0..<32 {
            let (offset, byte) = (65536 + 8192 * number, UInt8(number + 1))
            try client[0].write([byte], at: UInt64(offset))
            #expect(try client[0].persist(.write, at: UInt64(offset), size: 1) == PersistResponse(lane: 0))
            acknowledged.append((offset, byte))
        }
        if cause == .garbage {
            var generator = SeededGenerator(seed: 5)
            for _ in 0..<300 {
                // The port is gone after a crash.
                guard let stranger = try? connectToLoopback(lanes.port) else { break }
                try? writeAll(generator.bytes(Int(generator.next() % 512) + 1), to: stranger.number)
            }
        }
        // Does nothing to a process that has crashed.
        kill(session.process.identifier, SIGSEGV)
        let ending = try session.end().ending
        #expect(ending != .exited(0), "\(String(describing: ending))")
        #expect(try target.isDirty("one"))
        #expect(try target.isUnlocked("one"))
        for (offset, byte) in acknowledged {
            #expect(try target.bytes(of: "one", at: offset, count: 1) == [byte], "acknowledged, and lost")
        }

        try otherClient[0].write([1], at: 65536)
        #expect(try otherClient[0].persist(.deep, at: 65536, size: 1) == PersistResponse(lane: 0))
        otherClient.shutDown()
        try other.close()
        #expect(try !target.isDirty("two"))
        try target.expectOpens("one.set", size: 8 << 20)
    }
}
