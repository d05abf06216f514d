import SystemSupport

extension ControlConnection {
    /// Waits for a command that removes a pool, and tells how it went by its exit status: 0, or an errno.
    func awaitRemoval(of poolSet: String, within timeout: Duration) throws(InitiatorError) {
        guard let ending = awaitEnd(within: timeout) else {
            end()
            throw .timedOut(waitingFor: "removal of \(poolSet) on \(target)", after: timeout)
        }
        switch ending.exit {
        case .status(0)?: return
        // ssh's own, and what shells say when there is no such command.
        case .status(let status)? where status < 126 || (128..<255).contains(status):
            throw .notRemoved(poolSet: "\(target): \(poolSet)", errno: status, words: ending.words)
        default: throw .sessionEnded(target: "\(target)", during: "before the pool was removed", ending: ending)
        }
    }
}
