import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport

/// One initiator's session, from the initial status to the end. It takes requests as ``State`` allows, and waits for
/// everything that can end it.
///
/// It runs on the thread that calls ``run()``. ``PoolOpening`` opens the pool and its lanes, ``ServedPool`` serves them.
package final class TargetSession {
    private let settings: Settings
    private let store: PoolStore
    private let environment: SessionEnvironment
    private let log: SessionLog
    private let signals: SignalQueue
    /// nil without a runtime directory.
    private let status: SessionStatus?
    /// nil: the process keeps its rights.
    private let confinement: Confinement?
    private var connection: RequestConnection
    private var state = State.waiting
    private var hadPool = false
    /// Whether the pool keeps no other initiator's ``WriterToken`` any more. No lane has connected before.
    private var isWriterSettled = false
    /// The secret of the lanes, which CLAIM has to ask for; nil in other sessions.
    private var secretOfClaim: LaneSecret?
    /// When the first request, or the rest of one that has begun, must have arrived; nil between requests.
    private var requestDeadline: Deadline?
    /// Whether ``connection`` may hold another request that was sent ahead.
    private var mayHoldRequest = false

    /// What the initiator may ask for next.
    private enum State {
        /// No pool is open: CREATE or OPEN.
        case waiting
        /// A pool is open, and lanes come and go: SET_ATTR or CLOSE.
        case serving(ServedPool)
        /// Nothing is answered any more.
        case ended
    }

    /// - Parameters:
    ///   - store: Of the pool set directory in `settings`.
    ///   - signals: SIGTERM, SIGINT and SIGHUP. Each ends the session, and the pool is closed.
    ///   - input: The descriptor that requests come from. The caller closes it.
    ///   - output: The descriptor that answers go to. The caller closes it.
    ///   - status: Where the session shows itself; nil for nowhere.
    ///   - confinement: Takes rights from the process once a pool is open; nil leaves it all its rights.
    package init(
        settings: Settings, store: PoolStore, environment: SessionEnvironment, log: SessionLog,
        signals: consuming SignalQueue, input: Int32, output: Int32,
        status: SessionStatus? = nil, confinement: Confinement? = nil
    ) {
        self.status = status
        self.confinement = confinement
        self.settings = settings
        self.store = store
        self.environment = environment
        self.log = log
        self.signals = signals
        connection = RequestConnection(input: input, output: output)
    }

    /// Serves until the session ends. When this returns, the lanes are down and the pool is closed.
    ///
    /// - Returns: The process's exit status: 0 after CLOSE, 1 after any other end.
    package func run() -> Int32 {
        let end: SessionEnd
        do throws(SystemCallError) {
            try connection.send(InitialStatus.ready.encode())
            requestDeadline = settings.laneDeadline()
            end = try serve()
        } catch {
            log.error("control connection: \(error): the initiator or its ssh is gone")
            end = .failed
        }
        if case .failed = end { _ = release(removing: false) }
        state = .ended
        status?.end(result(of: end))
        log.info("session ended")
        if case .closed = end { return 0 }
        return 1
    }

    private func result(of end: SessionEnd) -> SessionTotals.Result {
        if case .closed = end { return .closed }
        return hadPool ? .failed : .refused
    }

    // MARK: Events

    private func serve() throws(SystemCallError) -> SessionEnd {
        var pause = RefusedWait()
        var polled = PollSet()
        let input = polled.add(connection.input)
        let signal = polled.add(signals.descriptor.number)
        // Skipped until there is a pool.
        let workers = polled.add(-1)
        let lanes = polled.add(-1)
        let parts = polled.add(-1)
        while true {
            var deadline = requestDeadline
            if case .serving(let served) = state {
                if let end = served.superviseLanes() { return end }
                polled.replace(workers, with: served.lanes.workerStopped.descriptor.number)
                polled.replace(lanes, with: served.lanes.eventDescriptor)
                polled.replace(parts, with: served.partWatch?.descriptor.number ?? -1)
                deadline = [
                    requestDeadline, served.nextDeadline,
                    // libfabric may have read an event already, and then the descriptor does not become readable.
                    pause.next(isWorthWaiting: served.lanes.isWorthWaiting()),
                ].compactMap(\.self).min()
                served.watchdog.endTurn()
            }
            try polled.wait(until: mayHoldRequest ? .now : deadline)
            if case .serving(let served) = state {
                served.watchdog.beginTurn()
                if polled.isReady(parts) { served.endIfTruncated() }
            }
            if polled.isReady(signal), let number = signals.next() {
                log.notice(tellingInitiator: "ended by \(Self.name(ofSignal: number))")
                return .failed
            }
            if mayHoldRequest || polled.isReady(input), let end = try takeRequest() { return end }
            if let requestDeadline, requestDeadline.hasPassed {
                let count = connection.pendingByteCount
                let missing =
                    count == 0 ? "no request came" : "only \(count) bytes of a request came"
                log.error("\(missing) in \(settings.laneTimeout.value) s: the initiator counts as gone (lane-timeout)")
                return .failed
            }
        }
    }

    /// Carries out the next request, after a read if none may be left of the one before. Between two requests that were sent ahead,
    /// ``serve()`` looks for what ends the session.
    private func takeRequest() throws(SystemCallError) -> SessionEnd? {
        let isConnected = if mayHoldRequest { true } else { try connection.receive() }
        guard isConnected else {
            // An abrupt end closes the connection before it logs its reason, which is the only one.
            if case .serving(let served) = state { served.abruptEnd.waitIfBegun() }
            let rest = connection.pendingByteCount
            if case .waiting = state, rest == 0 {
                log.notice("the initiator ended the session without a request")
            } else if rest > 0 {
                log.error("the control connection ended inside a request, after \(rest) bytes of it")
            } else {
                log.error("the control connection ended without CLOSE: the initiator is gone")
            }
            return .failed
        }
        do throws(RequestDecodingError) {
            let request = try connection.nextRequest()
            mayHoldRequest = request != nil
            guard let request else {
                if connection.pendingByteCount > 0, requestDeadline == nil {
                    requestDeadline = settings.laneDeadline()
                }
                return nil
            }
            requestDeadline = nil
            return carryOut(request)
        } catch {
            return try endForViolation("\(error)", answer: error.response)
        }
    }

    // MARK: Requests

    /// Carries out a request that fits the state. Any other request is answered, and ends the session.
    private func carryOut(_ request: Request) -> SessionEnd? {
        do throws(SystemCallError) {
            switch (state, request) {
            case (.waiting, .create(let request, let attributes)):
                return try open(request, creatingWith: attributes)
            case (.waiting, .open(let request)):
                return try open(request, creatingWith: nil)
            case (.serving(let served), .setAttributes(let attributes)):
                if let objection = settings.objection(to: .setAttributes, served.descriptor) {
                    log.error("SET_ATTR request: \(objection)")
                    try connection.send(.refused(.setAttributes, .noAccess))
                    return nil
                }
                if let end = try settleWriter(of: served, before: .setAttributes) { return end }
                return try setAttributes(attributes, of: served.pool)
            case (.serving(let served), .close(let flags)):
                return try close(served, flags)
            case (.serving(let served), .extend(let wanted)):
                return try extend(wanted, served)
            case (.serving(let served), .claim(let purpose, let token)):
                return try claim(purpose, token, served)
            case (.serving(let served), .digest(let request)):
                return try digest(request, served)
            case (.waiting, .setAttributes), (.waiting, .close), (.waiting, .extend), (.waiting, .claim),
                (.waiting, .digest):
                return try refuse(request.kind, "before CREATE or OPEN: there is no pool yet")
            case (.serving, .create), (.serving, .open):
                return try refuse(request.kind, "while a pool is open: a session has one pool")
            case (.ended, _):
                return .failed
            }
        } catch {
            log.error("\(request.kind.name) request: the answer could not be sent: \(error)")
            return .failed
        }
    }

    /// Refuses a request that does not fit the state.
    private func refuse(_ kind: RequestKind, _ reason: String) throws(SystemCallError) -> SessionEnd {
        try endForViolation("\(kind.name) request \(reason)", answer: .refused(kind, .badProtocol))
    }

    /// Ends the session because of a request that breaks the protocol.
    private func endForViolation(_ reason: String, answer: Response) throws(SystemCallError) -> SessionEnd {
        log.error(reason)
        status?.noteViolation()
        try connection.send(answer)
        return .failed
    }

    private func open(
        _ request: PoolRequest, creatingWith attributes: PoolAttributes?
    ) throws(SystemCallError) -> SessionEnd? {
        let opening = PoolOpening(
            request: request, attributes: attributes, settings: settings, store: store, environment: environment,
            log: log,
            input: connection.input, output: connection.output, signals: signals.descriptor.number, status: status,
            confinement: confinement)
        let served: ServedPool
        do throws(RequestError) { served = try opening.open() } catch {
            let text = "\(opening.kind.name) request: \(error.reason)"
            // A program may create its pool first, and then open it.
            if error.status == .exists { log.notice(tellingInitiator: text) } else { log.error(text) }
            try connection.send(.refused(opening.kind, error.status))
            return .failed
        }
        state = .serving(served)
        hadPool = true
        let lanes = served.lanes.attributes
        try connection.send(attributes == nil ? .open(lanes, served.pool.attributes) : .create(lanes))
        return nil
    }

    private func setAttributes(_ attributes: PoolAttributes, of pool: Pool) throws(SystemCallError) -> SessionEnd? {
        do throws(PoolError) {
            try pool.setAttributes(attributes)
            log.info("SET_ATTR request: attributes replaced")
        } catch {
            log.error("SET_ATTR request: \(error)")
            try connection.send(.refused(.setAttributes, RequestError(error).status))
            return pool.hasFailed ? .failed : nil
        }
        try connection.send(.setAttributes)
        return nil
    }

    private func extend(_ wanted: Extensions, _ served: ServedPool) throws(SystemCallError) -> SessionEnd? {
        var ofPool: Extensions = []
        if !isReadOnly, served.pool.keepsWriter { ofPool.insert(.writerToken) }
        if served.digests != nil { ofPool.insert(.digests) }
        guard let (granted, secret) = served.lanes.extend(wanted, with: ofPool) else {
            return try refuse(
                .extend, "that the session has no use for: no extensions were offered, or they are agreed on")
        }
        log.info(
            "EXTEND request: lanes show a secret\(granted.contains(.committingWrites) ? ", and the provider makes WRITEs durable" : "")"
        )
        if granted.contains(.writerToken) {
            secretOfClaim = secret
            try connection.send(.extend(granted, LaneSecret(.zero)))
            return nil
        }
        if let end = try settleWriter(of: served, before: .extend) { return end }
        try connection.send(.extend(granted, secret))
        return nil
    }

    /// CLAIM: the pool keeps the initiator's token from before its first lane, or compares it.
    private func claim(
        _ purpose: ClaimPurpose, _ token: WriterToken, _ served: ServedPool
    ) throws(SystemCallError) -> SessionEnd? {
        guard let secret = secretOfClaim.take() else {
            return try refuse(
                .claim, "that the session has no use for: EXTEND has not agreed on it, or it has come before")
        }
        served.watchdog.turnLong()
        defer { served.watchdog.beginTurn() }
        let outcome: ClaimOutcome
        let resumes: UInt64
        do throws(PoolError) { (outcome, resumes) = try served.pool.claim(purpose, token) } catch {
            log.error("CLAIM request: \(error)")
            try connection.send(.refused(.claim, RequestError(error).status))
            return .failed
        }
        switch outcome {
        case .kept where resumes > 0:
            log.info("CLAIM request: the initiator resumes its session, \(resumes) times so far")
            status?.noteResumed(times: resumes)
        case .kept: log.info("CLAIM request: the initiator may resume its session")
        case .notKept: log.info("CLAIM request: the parts have no room for the token: the session cannot be resumed")
        case .otherWriter:
            log.notice("CLAIM request: another session could write to the pool since: the session is not resumed")
        }
        isWriterSettled = outcome != .otherWriter
        try connection.send(.claim(outcome, outcome == .otherWriter ? LaneSecret(.zero) : secret))
        return nil
    }

    private func digest(_ request: DigestRequest, _ served: ServedPool) throws(SystemCallError) -> SessionEnd? {
        guard let digests = served.digests, served.lanes.extensions?.contains(.digests) == true else {
            return try refuse(.digest, "that the session has no use for: EXTEND has not agreed on it")
        }
        served.watchdog.turnLong()
        defer { served.watchdog.beginTurn() }
        guard let answer = digests.answer(request, of: served.pool) else {
            return try refuse(.digest, "for blocks behind the pool's end")
        }
        try connection.send(answer)
        return nil
    }

    private var isReadOnly: Bool { settings.permissions.value == .readOnly }

    /// Makes the pool forget another initiator's ``WriterToken``, before the session can write for the first time.
    ///
    /// - Returns: The end of the session when that fails, after a refusal of `request`.
    private func settleWriter(
        of served: ServedPool, before request: RequestKind
    ) throws(SystemCallError) -> SessionEnd? {
        if isWriterSettled || isReadOnly { return nil }
        served.watchdog.turnLong()
        defer { served.watchdog.beginTurn() }
        do throws(PoolError) { try served.pool.forgetWriter() } catch {
            log.error("\(request.name) request: \(error)")
            try connection.send(.refused(request, RequestError(error).status))
            return .failed
        }
        isWriterSettled = true
        return nil
    }

    private func close(_ served: ServedPool, _ flags: CloseFlags) throws(SystemCallError) -> SessionEnd? {
        log.info("CLOSE request\(flags.contains(.remove) ? ", removing the pool" : "")")
        if let end = served.lanes.workerEnd {
            if end.isViolation { status?.noteViolation() }
            // A worker stopped while CLOSE was on its way. What it was asked for may not be durable.
            log.error(served.describe(end))
            try connection.send(.refused(.close, .fatal))
            return .failed
        }
        // The answer says that the pool is closed, so it comes last.
        let isClosed = release(removing: flags.contains(.remove))
        try connection.send(isClosed ? .close : .refused(.close, .fatal))
        return isClosed ? .closed : .failed
    }

    /// Releases the pool, if one is open. Idempotent.
    ///
    /// - Returns: False when something failed, which the log shows.
    private func release(removing: Bool) -> Bool {
        guard case .serving(let served) = state else { return true }
        state = .ended
        let isClosed = served.release(removing: removing)
        log.notice(
            "pool set \(served.poolSet): \(isClosed ? removing && served.isCreated ? "removed" : "closed" : "not closed cleanly") "
                + "after \(served.openTime.seconds) s, \(served.transfer)")
        return isClosed
    }

    private static func name(ofSignal number: Int32) -> String {
        switch number {
        case SIGTERM: "SIGTERM"
        case SIGINT: "SIGINT"
        case SIGHUP: "SIGHUP"
        default: "signal \(number)"
        }
    }
}

/// How a session ended.
enum SessionEnd {
    /// CLOSE was answered.
    case closed
    /// In any other way. The reason is in the log.
    case failed
}
