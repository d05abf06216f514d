import CFabric
import CLinux
import Glibc
import PersistentMemory
import Synchronization
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The thread of a worker.
@Suite struct PersistWorkerTests {
    /// libfabric's tcp provider forgets a wake-up that comes between a reader's last look for one and its sleep.
    @Test(arguments: [0, 1, 5]) func aWorkerEndsThoughWakeUpsGetLost(_ lost: Int) throws {
        let queue = ForgetfulQueue(forgets: lost)
        let file = try Descriptor.open("/tmp", rpmem_o_tmpfile | O_RDWR, mode: 0o600)
        ftruncate(file.number, 4096)
        let mapping = try Mapping([Segment(descriptor: file.number, offset: 0, length: 4096, path: "temporary")])
        let fabric = ScriptedFabric(lanes: 1, [])
        let worker = try PersistWorker(
            number: 0, queue: queue.pointer,
            context: PersistContext(
                regionBase: UInt64(UInt(bitPattern: mapping.base)), regionSize: 4096, persister: mapping.persister,
                lanes: fabric.lanes, laneCount: 1, requestCapacity: fabric.requestCapacity, messageDescriptor: nil,
                pollNanoseconds: 0, injects: true, writesByDevice: false, ended: fabric.ended, endSignal: -1,
                signOfLife: nil)
        ) { _ in Issue.record("it was told to stop, and says that it did so by itself") }
        // The worker probably sleeps by now. Ending it works in both cases.
        usleep(5000)
        worker.finish()
        #expect(!queue.gaveUp)
        #expect(queue.wakeUps > lost)
        // A second stop does nothing.
        let wakeUps = queue.wakeUps
        worker.finish()
        #expect(queue.wakeUps == wakeUps)
    }
}

/// An empty completion queue whose wait ends only by a wake-up, which it keeps until the next wait.
private final class ForgetfulQueue: Sendable {
    // Constant; the counters are shared with the worker's thread.
    nonisolated(unsafe) let pointer = UnsafeMutablePointer<fid_cq>.allocate(capacity: 1)
    private nonisolated(unsafe) let operations = UnsafeMutablePointer<fi_ops_cq>.allocate(capacity: 1)
    private let forgets: Int
    private let signals = Atomic<Int>(0)
    private let hasGivenUp = Atomic<Bool>(false)

    var wakeUps: Int { signals.load(ordering: .acquiring) }
    /// No wake-up came for a long time. The wait ends all the same, so that the test ends.
    var gaveUp: Bool { hasGivenUp.load(ordering: .acquiring) }

    init(forgets: Int) {
        self.forgets = forgets
        operations.initialize(to: fi_ops_cq())
        pointer.initialize(to: fid_cq())
        pointer.pointee.ops = operations
        pointer.pointee.fid.context = Unmanaged.passUnretained(self).toOpaque()
        operations.pointee.read = { _, _, _ in -Int(FI_EAGAIN) }
        operations.pointee.sread = { queue, _, _, _, _ in
            ForgetfulQueue.of(queue!).sleep()
            return -Int(FI_EAGAIN)
        }
        operations.pointee.signal = { queue in
            ForgetfulQueue.of(queue!).signals.wrappingAdd(1, ordering: .acquiringAndReleasing)
            return 0
        }
    }

    deinit {
        pointer.deallocate()
        operations.deallocate()
    }

    private func sleep() {
        let deadline = Deadline.after(milliseconds: 20_000)
        while wakeUps <= forgets {
            if deadline.hasPassed {
                hasGivenUp.store(true, ordering: .releasing)
                return
            }
            usleep(500)
        }
    }

    private static func of(_ queue: UnsafeMutablePointer<fid_cq>) -> ForgetfulQueue {
        Unmanaged.fromOpaque(queue.pointee.fid.context!).takeUnretainedValue()
    }
}
