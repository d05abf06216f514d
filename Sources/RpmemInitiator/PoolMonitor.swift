import Fabric
import Glibc
import Synchronization
import SystemSupport

/// The error that made a pool fail, if any. The first one stays, and every later call fails with it.
final class StickyError: Sendable {
    private let first = Mutex<InitiatorError?>(nil)
    /// Each call on a lane loads it: through a pointer, which counts no references.
    nonisolated(unsafe) let flag: UnsafeMutablePointer<Atomic<Bool>>

    init() {
        flag = .allocate(capacity: 1)
        flag.initialize(to: Atomic(false))
    }

    deinit {
        flag.deinitialize(count: 1)
        flag.deallocate()
    }

    var isSet: Bool { flag.pointee.load(ordering: .acquiring) }

    var error: InitiatorError? { first.withLock { $0 } }

    /// Fails the pool with `error`, unless it has failed before.
    ///
    /// - Returns: The first error.
    @discardableResult
    func set(_ error: InitiatorError) -> InitiatorError {
        let first = first.withLock { first in
            if let first { return first }
            first = error
            return error
        }
        flag.pointee.store(true, ordering: .releasing)
        return first
    }
}

/// A thread that watches the session of an open pool, and fails the pool when the target is gone. Not every provider tells
/// a lane that waits, and none tells a pool between calls.
final class PoolMonitor: Sendable {
    private let wakeUp: WakeUp
    private let control: ControlClient
    private let lanes: LaneSet
    private let isClosing = Atomic<Bool>(false)
    // Set before any other thread has the monitor. The pool takes it, under the lock that lets one thread close it.
    nonisolated(unsafe) private var thread: NamedThread?

    init(control: ControlClient, lanes: LaneSet) throws(SystemCallError) {
        wakeUp = try WakeUp()
        self.control = control
        self.lanes = lanes
        thread = try NamedThread(name: "rpmem-monitor") { [self] in watch() }
    }

    /// Makes the thread poll the control connection again. Call it after a request: during one, the connection is not watched.
    func lookAgain() { wakeUp.signal() }

    /// Ends and joins the thread. A session that ends from then on fails nothing.
    func stop() {
        isClosing.store(true, ordering: .releasing)
        wakeUp.signal()
        if let thread = thread.take() { thread.join() }
    }

    private func watch() {
        var wait = EventQueueWait(lanes.connections.events)
        while !isClosing.load(ordering: .acquiring) {
            if let loss = findLoss() {
                if isClosing.load(ordering: .acquiring) { return }
                return fail(.lost(target: control.subject, reason: loss, targetLines: control.lastErrorLines()))
            }
            var set = PollSet()
            let wakeUpIndex = set.add(wakeUp.descriptor.number)
            control.addDescriptors(to: &set)
            // Without poll(2) the end of the target would go unseen.
            do throws(SystemCallError) { try wait.next(or: &set, until: nil) } catch { return fail(.system(error)) }
            if set.isReady(wakeUpIndex) { wakeUp.clear() }
        }
    }

    private func fail(_ error: InitiatorError) {
        lanes.stickyError.set(error)
        lanes.wakeAll()
    }

    private func findLoss() -> String? {
        // The control connection comes first: it knows why the target ended, the lanes only that it did.
        if let loss = control.findLoss() { return loss }
        while let event = lanes.connections.events.next() {
            switch event {
            case .shutdown: return control.findLossSoon() ?? "the target ended a lane"
            case .failed(_, let error): return control.findLossSoon() ?? "\(error)"
            case .connected, .connectionRequest: continue
            }
        }
        return nil
    }
}
