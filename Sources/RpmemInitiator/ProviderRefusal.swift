import RpmemProtocol

/// A target's refusal of a provider, after which the target is started again and asked for another one.
///
/// Targets of PMDK refuse `tcp`, which they do not know: before they look at a pool, they write an errno, in
/// the form of an initial status, and end with status 255. ssh ends with the same status when it loses the connection, so such
/// a loss counts as a refusal. A target of this project answers with a status, and has taken back by then what CREATE made.
struct ProviderRefusal {
    /// That of the request.
    let error: InitiatorError

    /// - Parameters:
    ///   - error: That of CREATE or OPEN, to a target that was ready.
    ///   - unreadBytes: Bytes of the target that are no whole answer.
    ///   - exit: How ssh ended.
    ///   - hasWaited: Whether the target was started long before the request, and may have given up waiting for it.
    /// - Returns: nil when the failure can have nothing to do with the provider.
    init?(_ error: InitiatorError, unreadBytes: Int, exit: SessionEnding.Exit?, hasWaited: Bool) {
        switch (error, exit) {
        case (.refused(_, .providerNotSupported, _), _), (.refused(_, .badProvider, _), _): break
        // A signal has ended ssh itself.
        case (.sessionEnded, .signal): return nil
        case (.sessionEnded, _) where hasWaited: return nil
        case (.sessionEnded, _) where unreadBytes == 0 || unreadBytes == InitialStatus.size: break
        default: return nil
        }
        self.error = error
    }

    /// For the log.
    func text(_ refused: Provider, next: Provider) -> String {
        "the target refuses the provider \(refused.name), and is asked for \(next.name): \(error)"
    }
}

extension InitiatorError {
    /// The same error with lines of the target's standard error before its own.
    func behind(targetLines lines: [String]) -> InitiatorError {
        switch self {
        case .sessionEnded(let target, let during, let ending):
            .sessionEnded(
                target: target, during: during,
                ending: SessionEnding(exit: ending.exit, targetLines: lines + ending.targetLines))
        case .targetNotReady(let target, let errno, let own):
            .targetNotReady(target: target, errno: errno, targetLines: lines + own)
        case .protocolError(let target, let reason, let own):
            .protocolError(target: target, reason: reason, targetLines: lines + own)
        case .refused(let request, let status, let own): .refused(request: request, status, targetLines: lines + own)
        default: self
        }
    }
}
