import CFabric
import Fabric
import FabricTestSupport
import Glibc
import SystemSupport
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct TransferTests {
    @Test(arguments: loopbackProviderNames) func aMessageArrives(_ provider: String) throws {
        let pair = try Connected(provider)
        let (target, initiator) = (pair.target, pair.initiator)
        try target.post(.receive, 0..<100)
        let receiving = try Running("target") { try target.complete(FI_RECV) }
        initiator.fill(200..<264, with: 7)
        try initiator.post(.send, 200..<264)
        try initiator.complete(FI_SEND)
        try receiving.value()
        #expect(target.holds(7, in: 0..<64))
        #expect(target.holds(0, in: 64..<100))
    }

    @Test(arguments: loopbackProviderNames) func aWriteLandsInTheRegion(_ provider: String) throws {
        let pair = try Connected(provider)
        let (target, initiator) = (pair.target, pair.initiator)
        // A message after the WRITE tells the target that it is there: rpmem's GPSPM in small.
        try target.post(.receive, 0..<8)
        let receiving = try Running("target") { try target.complete(FI_RECV) }
        initiator.fill(4096..<8192, with: 9)
        try initiator.post(.write, 4096..<8192, remote: target.remoteAddress(8192), key: target.pool.key)
        try initiator.post(.send, 0..<8, slot: 1)
        try initiator.complete(FI_WRITE)
        try initiator.complete(FI_SEND)
        try receiving.value()
        #expect(target.holds(9, in: 8192..<12288))
        #expect(target.holds(0, in: 12288..<16384))
    }

    @Test(arguments: loopbackProviderNames) func aReadFetchesTheRegion(_ provider: String) throws {
        let pair = try Connected(provider)
        let (target, initiator) = (pair.target, pair.initiator)
        target.fill(100..<1100, with: 3)
        // The tcp provider serves a READ only while a thread reads the target's completion queue.
        try target.post(.receive, 0..<8)
        let serving = try Running("target") { try target.complete(FI_RECV) }
        try initiator.post(.read, 4000..<5000, remote: target.remoteAddress(100), key: target.pool.key)
        try initiator.complete(FI_READ)
        #expect(initiator.holds(3, in: 4000..<5000))
        #expect(initiator.holds(0, in: 5000..<5100))
        try initiator.post(.send, 0..<8)
        try initiator.complete(FI_SEND)
        try serving.value()
    }

    @Test(arguments: loopbackProviderNames) func aWakeUpEndsAWait(_ provider: String) throws {
        let side = try Side(provider: provider, listening: true)
        let waiting = try Running("waiter") {
            var entry = fi_cq_msg_entry()
            return fi_cq_sread(side.completions.pointer, &entry, 1, nil, -1)
        }
        side.completions.wake()
        let result = try waiting.value()
        #expect([-Int(FI_ECANCELED), -Int(FI_EAGAIN)].contains(result))
    }

    @Test(arguments: loopbackProviderNames) func aWakeUpBeforeTheWaitIsNotLost(_ provider: String) throws {
        let side = try Side(provider: provider, listening: true)
        side.completions.wake()
        var entry = fi_cq_msg_entry()
        // A reader that polls first must not swallow it.
        #expect(fi_cq_read(side.completions.pointer, &entry, 1) == -Int(FI_EAGAIN))
        let result = fi_cq_sread(side.completions.pointer, &entry, 1, nil, -1)
        #expect([-Int(FI_ECANCELED), -Int(FI_EAGAIN)].contains(result))
    }

    /// A target that knows the key of an initiator's memory, which it is never told.
    @Test(arguments: loopbackProviderNames, [FabricPeer.Operation.write, .read])
    func memoryForOwnTransfersIsOutOfReach(_ provider: String, _ operation: FabricPeer.Operation) throws {
        let pair = try Connected(provider)
        let (owner, peer) = (pair.target, pair.initiator)
        owner.fill(8192..<8256, with: 3)
        peer.fill(0..<64, with: 5)
        try owner.post(.receive, 0..<8)
        try peer.post(operation, 0..<64, remote: owner.remoteAddress(8192), key: owner.transfers.key)
        try? peer.post(.send, 0..<8, slot: 1)
        let serving = try Running("owner") { try owner.complete(FI_RECV) }
        try? serving.value()
        #expect(owner.holds(3, in: 8192..<8256))
        #expect(peer.holds(5, in: 0..<64))
    }

    @Test(arguments: loopbackProviderNames) func aWrongKeyDoesNotReachTheMemory(_ provider: String) throws {
        let pair = try Connected(provider)
        let (target, initiator) = (pair.target, pair.initiator)
        try target.post(.receive, 0..<8)
        initiator.fill(0..<64, with: 5)
        try initiator.post(
            .write, 0..<64, remote: target.remoteAddress(8192), key: target.pool.key &+ 0x1234_5678)
        try? initiator.post(.send, 0..<8, slot: 1)
        let serving = try Running("target") { try target.complete(FI_RECV) }
        try? serving.value()
        #expect(target.holds(0, in: 8192..<8256))
    }
}
