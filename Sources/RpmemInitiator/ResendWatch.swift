import Glibc
import SystemSupport

/// A thread that watches a control connection while the monitor's thread waits for lanes: not every provider tells a lane that
/// the target is gone.
final class ResendWatch: Sendable {
    private let wakeUp: WakeUp
    private let control: ControlClient
    // Set before any other thread has the watch. Only the thread that made it stops it.
    nonisolated(unsafe) private var thread: NamedThread?

    /// - Parameter onLoss: Called once, on the thread, when the target is gone.
    init(_ control: ControlClient, _ onLoss: @escaping @Sendable () -> Void) throws(SystemCallError) {
        wakeUp = try WakeUp()
        self.control = control
        thread = try NamedThread(name: "rpmem-resend") { [self] in watch(onLoss) }
    }

    /// Ends and joins the thread.
    func stop() {
        wakeUp.signal()
        if let thread = thread.take() { thread.join() }
    }

    private func watch(_ onLoss: () -> Void) {
        while true {
            if control.findLoss() != nil { return onLoss() }
            var set = PollSet()
            let wakeUpIndex = set.add(wakeUp.descriptor.number)
            control.addDescriptors(to: &set)
            // poll(2) can only fail with ENOMEM here.
            do throws(SystemCallError) { try set.wait(until: nil) } catch { usleep(10_000) }
            if set.isReady(wakeUpIndex) { return }
        }
    }
}
