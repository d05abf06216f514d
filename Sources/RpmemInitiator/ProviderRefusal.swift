import RpmemProtocol

/// A target's refusal of a provider, after which the target is started again and asked for another one.
///
/// Targets of PMDK refuse `tcp`, which they do not know: before they look at a pool, they write an errno, in
/// the form of an initial status, and end. A target of this project answers with a status, and has taken back by then what CREATE
/// made. An end without these bytes is no refusal. ssh ends with the status of PMDK's rpmemd, 255, when it loses the connection and
/// when a signal kills the target's command, which may have made the pool already.
struct ProviderRefusal {
    /// That of the request.
    let error: InitiatorError
    private let provider: Provider

    /// - Parameters:
    ///   - provider: The one that the target was asked for.
    ///   - error: That of CREATE or OPEN, to a target that was ready.
    ///   - unreadBytes: Bytes of the target that are no whole answer.
    ///   - exit: How ssh ended.
    /// - Returns: nil when the failure can have nothing to do with the provider.
    init?(of provider: Provider, _ error: InitiatorError, unreadBytes: Int, exit: SessionEnding.Exit?) {
        switch (error, exit) {
        case (.refused(_, .providerNotSupported, _), _), (.refused(_, .badProvider, _), _): self.error = error
        // A signal has ended ssh itself.
        case (.sessionEnded, .signal): return nil
        case (.sessionEnded(let target, let during, var ending), _) where unreadBytes == InitialStatus.size:
            // It knows the others, and ends for another reason then.
            if provider == .tcp {
                ending.explanation = "PMDK's rpmemd ends so when it is asked for tcp, which it does not know"
            }
            self.error = .sessionEnded(target: target, during: during, ending: ending)
        default: return nil
        }
        self.provider = provider
    }

    /// The error where no other provider is enabled. A target of this project says itself what to do.
    var withoutNext: InitiatorError {
        guard case .sessionEnded(let target, let during, var ending) = error else { return error }
        ending.explanation = ending.explanation.map { "\($0). RPMEM_ENABLE_SOCKETS=1 has it asked for sockets next" }
        return .sessionEnded(target: target, during: during, ending: ending)
    }

    /// The error where this machine does not have the provider that follows: both reasons.
    func and(_ missing: InitiatorError) -> InitiatorError {
        guard case .noProvider(let host, let tried) = missing else { return error }
        // Behind the first one are providers that are not enabled.
        return .noProvider(host: host, tried: ["\(provider.name): \(error)"] + tried.prefix(1))
    }

    /// For the log.
    func text(next: Provider) -> String {
        "the target refuses the provider \(provider.name), and is asked for \(next.name): \(error)"
    }
}

extension InitiatorError {
    /// The same error with lines of the target's standard error before its own.
    func behind(targetLines lines: [String]) -> InitiatorError {
        switch self {
        case .sessionEnded(let target, let during, let ending):
            .sessionEnded(
                target: target, during: during,
                ending: SessionEnding(
                    exit: ending.exit, targetLines: lines + ending.targetLines, explanation: ending.explanation))
        case .targetNotReady(let target, let errno, let own):
            .targetNotReady(target: target, errno: errno, targetLines: lines + own)
        case .protocolError(let target, let reason, let own):
            .protocolError(target: target, reason: reason, targetLines: lines + own)
        case .refused(let request, let status, let own): .refused(request: request, status, targetLines: lines + own)
        case .lost(let target, let reason, let own): .lost(target: target, reason: reason, targetLines: lines + own)
        case .operationFailed(let target, let cause, let own):
            .operationFailed(target: target, cause, targetLines: lines + own)
        default: self
        }
    }
}
