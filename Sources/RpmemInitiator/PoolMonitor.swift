import Fabric
import Glibc
import Synchronization
import SystemSupport

/// A thread that watches the session of an open pool, and fails the pool when the target is gone, or resumes the session. Not every provider tells
/// a lane that waits, and none tells a pool between calls.
final class PoolMonitor: Sendable {
    private let wakeUp: WakeUp
    private let control: CurrentControl
    private let lanes: LaneSet
    /// nil where a loss fails the pool.
    private let resumer: SessionResumer?
    private let isClosing = Atomic<Bool>(false)
    // Set before any other thread has the monitor. The pool takes it, under the lock that lets one thread close it.
    nonisolated(unsafe) private var thread: NamedThread?

    init(control: CurrentControl, lanes: LaneSet, resumer: SessionResumer?) throws(SystemCallError) {
        wakeUp = try WakeUp()
        self.control = control
        self.lanes = lanes
        self.resumer = resumer
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
            let control = control.value
            if lanes.stickyError.loss == nil, let loss = findLoss(control) {
                if isClosing.load(ordering: .acquiring) { return }
                fail(.lost(target: control.subject, reason: loss, targetLines: control.lastErrorLines()))
                if lanes.stickyError.isSet { return }
            }
            if lanes.stickyError.loss != nil {
                lanes.stickyError.clearLost()
                guard let resumer, resumer.resume(wakeUp, isClosing: { isClosing.load(ordering: .acquiring) }) else {
                    return
                }
                // The session has another queue now.
                wait = EventQueueWait(lanes.connections.events)
                continue
            }
            var set = PollSet()
            let wakeUpIndex = set.add(wakeUp.descriptor.number)
            set.add(lanes.stickyError.lostDescriptor)
            control.addDescriptors(to: &set)
            // Without poll(2) the end of the target would go unseen.
            do throws(SystemCallError) { try wait.next(or: &set, until: nil) } catch { return fail(.system(error)) }
            if set.isReady(wakeUpIndex) { wakeUp.clear() }
        }
    }

    private func fail(_ error: InitiatorError) {
        lanes.stickyError.fail(error)
        lanes.wakeAll()
    }

    private func findLoss(_ control: ControlClient) -> String? {
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
