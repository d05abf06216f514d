import RpmemProtocol

/// A target's command that starts before its session is opened: ssh logs in, and the target loads libfabric, while the caller does
/// something else. The deinit ends it, where no session was opened with it.
///
/// The target waits for the first request for its `lane-timeout` only, and then the opening fails.
package final class StartedTarget {
    private var started: (control: ControlClient, command: String)?

    /// - Returns: nil where the arguments of ssh depend on a provider that is not chosen yet, and where ssh does not start.
    package init?(target: TargetAddress, poolSet: String, options: InitiatorOptions) {
        let opening = SessionOpening(
            target: target, poolSet: poolSet, memory: UnsafeMutableRawBufferPointer(start: nil, count: 0), lanes: 1,
            options: options)
        guard case .success(let started)? = opening.startTargetEarly() else { return nil }
        self.started = started
    }

    deinit { started?.control.end() }

    /// Passes the command on. The second time there is none.
    func take() -> (ControlClient, command: String)? {
        defer { started = nil }
        return started
    }
}
