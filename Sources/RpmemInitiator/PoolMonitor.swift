import Fabric
import Glibc
import Synchronization
import SystemSupport

/// Watches an open pool's session, and fails the pool when its target is gone: without it, nobody on a lane would hear
/// of it with every provider, and nobody between operations with any.
final class PoolMonitor: Sendable {
    private let wakeUp: WakeUp
    private let control: ControlConnection
    private let lanes: LaneSet
    private let failure: PoolFailure
    private let isClosing = Atomic<Bool>(false)
    // Set before anybody else has this, and taken by the pool, whose lock lets one thread close it.
    nonisolated(unsafe) private var thread: NamedThread?

    init(control: ControlConnection, lanes: LaneSet, failure: PoolFailure) throws(SystemCallError) {
        wakeUp = try WakeUp()
        self.control = control
        self.lanes = lanes
        self.failure = failure
        thread = try NamedThread(name: "rpmem-monitor") { [self] in watch() }
    }

    /// Has it look again at what is to be watched: after a request.
    func lookAgain() { wakeUp.signal() }

    /// Ends it. From then on a session that ends is nobody's concern.
    func stop() {
        isClosing.store(true, ordering: .releasing)
        wakeUp.signal()
        if let thread = thread.take() { thread.join() }
    }

    private func watch() {
        var wait = EventQueueWait(lanes.events)
        while !isClosing.load(ordering: .acquiring) {
            if let loss = findLoss() {
                if isClosing.load(ordering: .acquiring) { return }
                return fail(.lost(reason: loss, words: control.lastWords()))
            }
            var set = [pollfd(fd: wakeUp.descriptor.number, events: Int16(POLLIN), revents: 0)] + control.watched
            // A target that is not watched any more might be gone.
            do throws(SystemCallError) { try wait.next(or: &set, until: nil) } catch { return fail(.system(error)) }
            if set[0].revents != 0 { wakeUp.clear() }
        }
    }

    private func fail(_ error: InitiatorError) {
        failure.note(error)
        lanes.wakeAll()
    }

    private func findLoss() -> String? {
        // Looked at first: it knows why the target ended, the lanes only that it did.
        if let loss = control.findLoss() { return loss }
        while let event = lanes.events.next() {
            switch event {
            case .shutdown: return control.findLossSoon() ?? "the target shut a lane down"
            case .failed(_, let error): return control.findLossSoon() ?? "\(error)"
            case .connected, .connectionRequest: continue
            }
        }
        return nil
    }
}
