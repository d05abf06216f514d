import Fabric
import Glibc
import PersistentMemory
import PoolSets
import RpmemProtocol
import SystemSupport

/// One initiator's session from the initial status to the end: takes its requests, holds its pool and its lanes, and
/// watches everything that can end it. Runs on the thread that calls ``run()``; only the data plane has threads of
/// its own.
package final class TargetSession {
    private let settings: Settings
    private let store: PoolStore
    private let environment: SessionEnvironment
    private let log: SessionLog
    private let signals: SignalQueue
    private var connection: ControlConnection
    private var state = State.waiting
    /// When the first request, and later one that has begun, must be there as a whole; nil between requests.
    private var requestDeadline: Deadline?

    /// What the initiator may ask for next depends on this alone.
    private enum State {
        /// Nothing is open: CREATE or OPEN.
        case waiting
        /// A pool is open, its lanes may come and go: SET_ATTR or CLOSE.
        case open(OpenPool)
        /// Over; nothing is answered any more.
        case ended
    }

    private struct OpenPool {
        let pool: Pool
        let lanes: InBandServer
        let created: Bool
        let watchdog: Watchdog
        /// nil where the kernel has no inotify to spare.
        let partWatch: PartWatch?
        let abruptEnd: AbruptEnd
        /// When a lane must have connected, or, once all lanes are closed, when CLOSE must have come.
        var laneDeadline: Deadline?
        /// When CLOSE must have come, since a lane is of no use any more.
        var closeDeadline: Deadline?
    }

    /// How the session came to its end.
    private enum End {
        /// CLOSE was answered.
        case closed
        /// For the reason given, which is logged already where it is one that the log should show.
        case failed
    }

    /// - Parameters:
    ///   - store: Of the pool set directory in `settings`.
    ///   - signals: SIGTERM, SIGINT and SIGHUP, which end the session cleanly.
    ///   - input: Where requests come from; stays the caller's.
    ///   - output: Where answers go; stays the caller's.
    package init(
        settings: Settings, store: PoolStore, environment: SessionEnvironment, log: SessionLog,
        signals: consuming SignalQueue, input: Int32, output: Int32
    ) {
        self.settings = settings
        self.store = store
        self.environment = environment
        self.log = log
        self.signals = signals
        connection = ControlConnection(input: input, output: output)
    }

    /// Serves until the session ends; the pool is closed and the lanes are down when this returns.
    ///
    /// - Returns: The process's exit status: 0 after CLOSE, 1 after any other end.
    package func run() -> Int32 {
        let end: End
        do throws(SystemCallError) {
            try connection.send(InitialStatus.ready.encode())
            requestDeadline = laneDeadline()
            end = try serve()
        } catch {
            log.error("control connection: \(error): the initiator is gone, or its ssh is")
            end = .failed
        }
        if case .failed = end { _ = release(removing: false) }
        state = .ended
        log.info("session ended")
        if case .closed = end { return 0 }
        return 1
    }

    // MARK: What happens

    private func serve() throws(SystemCallError) -> End {
        var pause = RefusedWait()
        while true {
            if let end = handleLanes() { return end }
            var set = [
                pollfd(fd: connection.input, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.descriptor.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: -1, events: Int16(POLLIN), revents: 0),
            ]
            var deadline = requestDeadline
            if case .open(let open) = state {
                set[2].fd = open.lanes.workerStopped.descriptor.number
                set[3].fd = open.lanes.eventDescriptor
                set[4].fd = open.partWatch?.descriptor.number ?? -1
                deadline = [
                    requestDeadline, open.laneDeadline, open.closeDeadline, open.lanes.peerDeadline,
                    // An event that is there already does not make the descriptor readable with every provider.
                    pause.next(isWorthWaiting: open.lanes.isWorthWaiting()),
                ].compactMap(\.self).min()
                open.watchdog.endTurn()
            }
            _ = try waitForEvents(&set, until: deadline)
            if case .open(let open) = state {
                open.watchdog.beginTurn()
                if set[4].revents != 0, let reason = open.partWatch?.findTruncation() {
                    open.abruptEnd.leave(because: reason)
                }
            }
            if set[1].revents != 0, let signal = signals.next() {
                log.notice("ended by \(Self.name(of: signal))")
                return .failed
            }
            if set[0].revents != 0, let end = try handleInput() { return end }
            if let requestDeadline, requestDeadline.hasPassed {
                let count = connection.pendingByteCount
                log.error(
                    "\(count == 0 ? "no request came" : "a request began, and after \(count) bytes its rest did not come") in "
                        + "\(settings.laneTimeout.value) s: the initiator counts as gone (lane-timeout)")
                return .failed
            }
        }
    }

    private func handleInput() throws(SystemCallError) -> End? {
        guard try connection.receive() else {
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
        while true {
            do throws(ProtocolViolation) {
                guard let request = try connection.nextRequest() else {
                    if connection.pendingByteCount > 0, requestDeadline == nil { requestDeadline = laneDeadline() }
                    return nil
                }
                requestDeadline = nil
                if let end = try handle(request) { return end }
            } catch {
                log.error("\(error)")
                try answer(error.response)
                return .failed
            }
        }
    }

    /// Carries out one request, in the state that it fits; the others are answered and end the session.
    private func handle(_ request: Request) throws(ProtocolViolation) -> End? {
        do throws(SystemCallError) {
            switch (state, request) {
            case (.waiting, .create(let request, let attributes)):
                return try open(request, creatingWith: attributes)
            case (.waiting, .open(let request)):
                return try open(request, creatingWith: nil)
            case (.open(let open), .setAttributes(let attributes)):
                return try setAttributes(attributes, of: open)
            case (.open, .close(let flags)):
                return try close(flags)
            case (.waiting, .setAttributes), (.waiting, .close):
                log.error("\(request.kind.name) request before CREATE or OPEN: there is no pool yet")
                try answer(.refused(request.kind, .badProtocol))
                return .failed
            case (.open, .create), (.open, .open):
                log.error("\(request.kind.name) request while a pool is open: a session has one pool")
                try answer(.refused(request.kind, .badProtocol))
                return .failed
            case (.ended, _):
                return .failed
            }
        } catch {
            log.error("\(request.kind.name) request: the answer could not be sent: \(error)")
            return .failed
        }
    }

    /// Acts on what the lanes and their workers report, and on the time they have.
    private func handleLanes() -> End? {
        guard case .open(var open) = state else { return nil }
        while let event = open.lanes.handleNextEvent() {
            switch event {
            case .laneAccepted(let lane, let peer):
                log.debug("lane \(lane): accepted from \(peer.map { "\($0)" } ?? "an unknown address")")
            case .laneRefused(let peer, let reason):
                log.warning("a lane from \(peer.map { "\($0)" } ?? "an unknown address") is refused: \(reason)")
            case .laneConnected(let lane):
                log.debug("lane \(lane): connected")
                if !open.lanes.isListening {
                    open.laneDeadline = nil
                    log.info("all \(open.lanes.laneCount) lanes are connected; no more are accepted")
                } else {
                    open.laneDeadline = laneDeadline()
                }
            case .laneClosed(let lane):
                log.debug("lane \(lane): closed by the initiator")
                if open.lanes.connectedLanes == 0 { open.laneDeadline = laneDeadline() }
            case .laneBroken(let lane):
                // An initiator that hangs up may show like this, too: then CLOSE comes.
                log.debug("lane \(lane): ended with an operation under way")
                if open.lanes.connectedLanes == 0 { open.laneDeadline = laneDeadline() }
                if open.closeDeadline == nil { open.closeDeadline = laneDeadline() }
            case .laneFailed(let lane, let error):
                log.error("\(lane.map { "lane \($0)" } ?? "a lane"): cannot be connected: \(error)")
                return .failed
            }
        }
        // After the events: to take them clears the signal that tells of this.
        if let end = open.lanes.workerEnd {
            log.error(Self.words(for: end, in: open.pool))
            return .failed
        }
        if let deadline = open.laneDeadline, deadline.hasPassed {
            let seconds = settings.laneTimeout.value
            if open.lanes.connectedLanes > 0 {
                // An initiator may connect fewer lanes than it was granted.
                log.notice(
                    "\(open.lanes.connectedLanes) of \(open.lanes.laneCount) lanes are connected, and no other came in "
                        + "\(seconds) s: no more are accepted")
                open.lanes.stopListening()
                open.laneDeadline = nil
            } else if open.lanes.lanesEverConnected > 0 {
                log.error("all lanes are closed, and no CLOSE came in \(seconds) s: the initiator counts as gone")
                return .failed
            } else {
                log.error("no lane was connected in \(seconds) s: \(reasonForNoLanes(open.lanes))")
                return .failed
            }
        }
        if let deadline = open.closeDeadline, deadline.hasPassed {
            log.error(
                "a lane broke, and no CLOSE came in \(settings.laneTimeout.value) s: the initiator counts as gone")
            return .failed
        }
        if let lane = open.lanes.silentLane() {
            log.error(
                "lane \(lane): the initiator's machine has not been heard of for \(settings.peerTimeout.value) s: it "
                    + "counts as gone (peer-timeout)")
            return .failed
        }
        state = .open(open)
        return nil
    }

    private func reasonForNoLanes(_ lanes: InBandServer) -> String {
        let dropped = lanes.droppedPackets
        if dropped > 0 {
            return "\(dropped) packets to port \(lanes.attributes.port) came from another address than the session's, "
                + "\(peer), and were dropped: if it was the initiator who sent them, set in-band-peer = any"
        }
        return "does a firewall keep the initiator from port \(lanes.attributes.port)? see port-range and "
            + "in-band-address, lane-timeout for slow networks"
    }

    // MARK: Requests

    private func open(_ request: PoolRequest, creatingWith attributes: PoolAttributes?) throws(SystemCallError) -> End?
    {
        let kind = attributes == nil ? RequestKind.open : .create
        log.info(
            "\(kind.name) request: pool set \(request.descriptor), \(request.poolSize) bytes, \(request.laneCount) lanes, "
                + "provider \(request.provider.name), inline data up to \(request.inlineSize) bytes")
        let opened: OpenPool
        do throws(Refusal) { opened = try openPool(request, creatingWith: attributes) } catch {
            log.error("\(kind.name) request: \(error.reason)")
            try answer(.refused(kind, error.status))
            return .failed
        }
        state = .open(opened)
        if let obstacle = opened.pool.deepPersistObstacle { log.warning("\(obstacle)") }
        for path in opened.pool.partsWithEarlierErrors {
            log.warning(
                "\(path): the kernel failed to write back what was written before this session: it is read from the medium "
                    + "again; check the file system or device")
        }
        let lanes = opened.lanes.attributes
        if lanes.method == .apm, !opened.pool.persister.cachesPersist, let device = opened.lanes.rdmaDevice,
            RDMADevice.isSoftware(device)
        {
            log.warning(
                "persist-apm: \(device) is an RDMA device in software: it is the CPU of this machine that writes, through "
                    + "caches that are lost with the power (no eADR), and with them what was acknowledged")
        }
        log.info("listening on port \(lanes.port), \(lanes.laneCount) lanes granted")
        if let failure = opened.lanes.filterFailure {
            // Nothing to worry ordinary users with, who cannot have it otherwise.
            log.info("port \(lanes.port) is reachable for everybody, though only \(peer) gets lanes: \(failure)")
        }
        try answer(attributes == nil ? .open(lanes, opened.pool.attributes) : .create(lanes))
        return nil
    }

    private func openPool(
        _ request: PoolRequest, creatingWith attributes: PoolAttributes?
    ) throws(Refusal) -> OpenPool {
        guard request.inlineSize <= Self.maximumInlineSize else {
            throw Refusal(
                .badProtocol,
                "asks for \(request.inlineSize) bytes of inline data, more than the \(Self.maximumInlineSize) supported"
            )
        }
        guard request.poolSize > 0, let size = Int(exactly: request.poolSize) else {
            throw Refusal(.badSize, "asks for a pool of \(request.poolSize) bytes")
        }
        let pool: Pool
        do throws(PoolError) {
            if let attributes {
                let input = connection.input
                let signals = signals.descriptor.number
                pool = try store.create(
                    descriptor: request.descriptor, attributes: attributes, requestedSize: request.poolSize,
                    isCancelled: { ControlConnection.isHungUp(input) || Self.isReadable(signals) })
            } else {
                pool = try store.open(descriptor: request.descriptor, requestedSize: request.poolSize)
            }
        } catch {
            throw Refusal(error)
        }
        do throws(Refusal) {
            return try openLanes(request, of: pool, size: size, created: attributes != nil)
        } catch {
            closePool(pool, attributes == nil ? .keep : .takeBack)
            throw error
        }
    }

    private func openLanes(
        _ request: PoolRequest, of pool: Pool, size: Int, created: Bool
    ) throws(Refusal) -> OpenPool {
        let aliases: [SyncAlias]
        do throws(PoolError) {
            aliases = try pool.makeSyncAliases(
                settings.threads.value > 0 ? settings.threads.value : Self.processorCount())
        } catch {
            throw Refusal(error)
        }
        do throws(FabricError) {
            if request.provider == .verbs, settings.verbsODP.value == .auto {
                // The thread that loads the library reads the environment, too: it is done when this returns.
                _ = try FabricLibrary.shared()
                ProviderEnvironment.setOnDemandPaging(pool.isOnDAXFileSystem)
            }
            let lanes = try InBandServer(offer(request, pool: pool, size: size, syncAliases: aliases))
            return try watched(pool, lanes, created: created)
        } catch {
            throw Refusal(error, provider: request.provider, poolSize: size)
        }
    }

    /// With what watches over the pool's storage.
    private func watched(_ pool: Pool, _ lanes: InBandServer, created: Bool) throws(FabricError) -> OpenPool {
        let end = AbruptEnd(
            log: log, input: connection.input, output: connection.output, port: lanes.attributes.port)
        // Time for fsync(2) of a header, too, on a disk that is busy.
        let seconds = max(Self.leastStorageSeconds, settings.peerTimeout.value)
        let paths = pool.parts.map { quoted($0.path) }
        let names = paths.prefix(4).joined(separator: ", ") + (paths.count > 4 ? " and \(paths.count - 4) others" : "")
        do throws(SystemCallError) {
            return OpenPool(
                pool: pool, lanes: lanes, created: created,
                watchdog: try Watchdog(
                    milliseconds: UInt64(seconds) * 1000,
                    onExpiry: {
                        end.leave(
                            because:
                                "storage hangs: the session has waited for \(seconds) s for \(names): it ends, and "
                                + "the pool stays marked as not cleanly closed. See dmesg; this process may stay until the "
                                + "storage answers")
                    },
                    onBusError: { fault in
                        end.leave(
                            because: "\(fault.describe()). The session ends, and the pool stays marked as not "
                                + "cleanly closed"
                        )
                    }),
                partWatch: watchParts(of: pool),
                abruptEnd: end, laneDeadline: laneDeadline())
        } catch {
            throw FabricError(error.call, code: error.errno.rawValue)
        }
    }

    private func watchParts(of pool: Pool) -> PartWatch? {
        do throws(SystemCallError) {
            return try PartWatch(
                pool.parts.filter { !$0.isDeviceDAX }.map { (path: $0.path, size: Int(clamping: $0.size)) })
        } catch {
            log.info("parts that are truncated will show only when they are used: \(error)")
            return nil
        }
    }

    private func offer(
        _ request: PoolRequest, pool: Pool, size: Int, syncAliases: [SyncAlias]
    ) -> InBandOffer {
        let method = chooseMethod(pool, request.provider)
        let peerRule: InBandPeerRule =
            switch settings.inBandPeer.value {
            case .any: .any
            case .ssh: .only(peer)
            }
        return InBandOffer(
            provider: request.provider,
            address: settings.inBandAddress.value ?? environment.local ?? Self.loopback,
            ports: settings.portRange.value, requestedLanes: request.laneCount,
            laneLimit: settings.maxLanes.value.map(Int.init), inlineCapacity: Int(request.inlineSize),
            region: UnsafeMutableRawBufferPointer(start: pool.base, count: size), method: method,
            syncAliases: syncAliases, peerRule: peerRule,
            pollMicroseconds: UInt32(settings.pollTime.value),
            requiresOnDemandPaging: settings.verbsODP.value == .yes, peerTimeout: settings.peerTimeout.value)
    }

    /// The initiator's machine, as far as is known: a session by hand is this machine's own.
    private var peer: NetworkAddress { environment.peer ?? Self.loopback }

    /// APM where it is asked for and safe, with the log lines that scripts look for.
    private func chooseMethod(_ pool: Pool, _ provider: Provider) -> PersistMethod {
        let choice = PersistMethodChoice(
            settings.persistAPM.value, isPersistentMemory: pool.isPersistentMemory,
            cachesPersist: pool.persister.cachesPersist,
            softwareProvider: provider == .verbs || pool.persister.isByWord ? nil : provider.name)
        if let remark = choice.remark {
            // Who leaves it to the daemon asked for nothing that is now missing.
            if settings.persistAPM.value == .auto { log.notice(remark) } else { log.warning(remark) }
        }
        log.logPersistPolicy(
            method: choice.method,
            flush: choice.method == .apm ? .none : pool.persister.kind == .msync ? .pmemMsync : .pmemPersist)
        return choice.method
    }

    private func setAttributes(_ attributes: PoolAttributes, of open: OpenPool) throws(SystemCallError) -> End? {
        do throws(PoolError) {
            try open.pool.setAttributes(attributes)
            log.info("SET_ATTR request: attributes replaced")
        } catch {
            log.error("SET_ATTR request: \(error)")
            try answer(.refused(.setAttributes, Refusal(error).status))
            return open.pool.hasFailed ? .failed : nil
        }
        try answer(.setAttributes)
        return nil
    }

    private func close(_ flags: CloseFlags) throws(SystemCallError) -> End? {
        log.info("CLOSE request\(flags.contains(.remove) ? ", removing the pool" : "")")
        if case .open(let open) = state, let end = open.lanes.workerEnd {
            // A worker gave up while CLOSE was on its way: something may have stayed unpersisted.
            log.error(Self.words(for: end, in: open.pool))
            try answer(.refused(.close, .fatal))
            return .failed
        }
        // The answer says that the pool is closed, so it comes last.
        let clean = release(removing: flags.contains(.remove))
        try answer(clean ? .close : .refused(.close, .fatal))
        return clean ? .closed : .failed
    }

    /// Takes the lanes down, then closes the pool; removes it if it is this session's own and nobody used it, or if
    /// that is asked for. Idempotent.
    ///
    /// - Returns: Whether all went well; what did not is logged.
    private func release(removing: Bool) -> Bool {
        guard case .open(let open) = state else { return true }
        state = .ended
        open.lanes.shutDown()
        // Only now nothing more can fail.
        if open.lanes.hasFailedToPersist {
            log.error("a range of the pool could not be made durable: the pool stays marked as not cleanly closed")
            closePool(open.pool, .keepDirty)
            return false
        }
        let unused = open.created && open.lanes.lanesEverConnected == 0
        if unused { log.notice("no lane ever was connected: the pool that this session created is removed again") }
        if removing, !open.created {
            log.notice("CLOSE asks to remove the pool, which only the session that created it may: it is kept")
        }
        // Large files take their time to remove.
        if unused || removing { open.watchdog.endTurn() }
        return closePool(open.pool, unused ? .takeBack : removing && open.created ? .remove : .keep)
    }

    /// What becomes of a pool's files.
    private enum Disposal {
        case keep
        /// Something could not be made durable, which its shutdown state is to tell.
        case keepDirty
        /// The directory is to be as it was before CREATE.
        case takeBack
        case remove
    }

    @discardableResult
    private func closePool(_ pool: Pool, _ disposal: Disposal) -> Bool {
        do throws(PoolError) {
            switch disposal {
            case .keep: try pool.close()
            case .keepDirty: pool.leaveDirty()
            case .takeBack: try pool.abandonCreated()
            case .remove: try pool.remove()
            }
            return true
        } catch {
            log.error("closing the pool: \(error)")
            return false
        }
    }

    private func answer(_ response: Response) throws(SystemCallError) {
        try connection.send(response.encode())
    }

    private func laneDeadline() -> Deadline {
        .after(milliseconds: UInt64(settings.laneTimeout.value) * 1000)
    }

    /// The least time that storage has before it counts as hung, in seconds; `peer-timeout` may say more. Longer than an
    /// answer may wait for room on the control connection.
    private static let leastStorageSeconds = 15

    /// Bytes of inline data per request; stock initiators ask for 8 KiB.
    private static let maximumInlineSize: UInt64 = 1 << 20

    private static let loopback = NetworkAddress("127.0.0.1")!

    private static func isReadable(_ descriptor: Int32) -> Bool {
        var set = [pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)]
        return (try? waitForEvents(&set, until: Deadline.after(milliseconds: 0))) ?? 0 > 0
    }

    /// CPUs that this process may use.
    private static func processorCount() -> Int {
        max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }

    private static func name(of signal: Int32) -> String {
        switch signal {
        case SIGTERM: "SIGTERM"
        case SIGINT: "SIGINT"
        case SIGHUP: "SIGHUP"
        default: "signal \(signal)"
        }
    }

    /// `lane 3`, or `one of lanes 1, 3`: lanes that shared an msync cannot be told apart.
    private static func laneList(_ lanes: [Int]) -> String {
        if lanes.count == 1 { return "lane \(lanes[0])" }
        let names = lanes.prefix(16).map(String.init).joined(separator: ", ")
        return "one of lanes \(names)\(lanes.count > 16 ? ", ..." : "")"
    }

    private static func words(for end: WorkerEnd, in pool: Pool) -> String {
        switch end {
        case .stopped: "a worker stopped"
        case .violation(let lane, let fault, let header, let receivedBytes):
            "lane \(lane): \(fault.describe(header, receivedBytes: receivedBytes))"
        case .overlappingRequest(let lane):
            "lane \(lane): a persist request came before the answer to the one before"
        case .oversizedRequest(let lane):
            "lane \(lane): a persist request with more inline data than was agreed on with CREATE or OPEN"
        case .persistFailed(let lanes, let errno):
            "\(laneList(lanes)): a range of the pool could not be made durable: \(String(cString: strerror(errno))); it is not "
                + "acknowledged, and the session ends. Check the pool's file system or device"
        case .peerUnreachable(let error): "the initiator's machine cannot be reached any more: \(error)"
        case .fabricFailed(let error): "in-band connection: \(error)"
        }
    }
}
