import Fabric
import Glibc
import PersistentMemory
import PoolSets
import RpmemProtocol
import Synchronization
import SystemSupport

/// One CREATE or OPEN: from the request to a pool whose lanes are listened for.
struct PoolOpening {
    let request: PoolRequest
    /// Those of CREATE; nil with OPEN.
    let attributes: PoolAttributes?
    let settings: Settings
    let store: PoolStore
    let environment: SessionEnvironment
    let log: SessionLog
    /// The control connection.
    let input: Int32
    let output: Int32
    /// A signalfd; a signal ends a creation that is under way.
    let signals: Int32
    /// nil without a runtime directory.
    let status: SessionStatus?
    /// nil: the process keeps its rights.
    let confinement: Confinement?

    /// Bytes of inline data per request; stock initiators ask for 8 KiB.
    private static let maximumInlineSize: UInt64 = 1 << 20
    /// Storage has at least this many seconds before it counts as hung; `peer-timeout` may allow more. It is longer than an
    /// answer may wait for room on the control connection.
    static let minimumStorageSeconds = 15

    var kind: RequestKind { attributes == nil ? .open : .create }

    /// Opens or creates the pool, and listens for its lanes.
    ///
    /// - Throws: The status for the answer, and the reason for the log. A pool that was opened is closed again, and what CREATE
    ///   made is removed.
    func open() throws(RequestError) -> ServedPool {
        // The line that is left of a daemon that is killed.
        log.notice(
            "\(kind.name) request: user \(SessionEnvironment.user), pool set \(request.descriptor), "
                + "\(request.poolSize) bytes, \(request.laneCount) lanes, provider \(request.provider.name), inline data up to \(request.inlineSize) bytes"
        )
        if let objection = settings.objection(to: attributes == nil ? .open : .create, request.descriptor) {
            throw RequestError(.noAccess, objection)
        }
        guard settings.providers.value.contains(request.provider) else {
            let others = Provider.allCases.filter(settings.providers.value.contains).map(\.name)
            throw RequestError(
                .providerNotSupported,
                "providers (\(settings.providers.origin)) does not have \(request.provider.name): let the initiator use "
                    + others.joined(separator: " or ")
            )
        }
        guard request.inlineSize <= Self.maximumInlineSize else {
            throw RequestError(
                .badProtocol,
                "asks for \(request.inlineSize) bytes of inline data, more than the \(Self.maximumInlineSize) supported"
            )
        }
        if settings.inBandSecret.value == .require, !request.offersExtensions {
            throw RequestError(
                .badProtocol,
                "in-band-secret = require: the initiator's library shows no secret on its lanes: use this project's librpmem there, "
                    + "without RPMEM_EXTENSIONS=0, or set in-band-secret = auto (\(settings.inBandSecret.origin))"
            )
        }
        guard request.poolSize > 0, let size = Int(exactly: request.poolSize) else {
            throw RequestError(.badSize, "asks for a pool of \(request.poolSize) bytes")
        }
        let storage = StorageNames("pool set \(quoted("\(request.descriptor)"))")
        let end = AbruptEnd(log: log, input: input, output: output)
        let watchdog = try watch(storage, end)
        watchdog.beginLongTurn()
        defer { watchdog.endTurn() }
        let pool = try openPool()
        storage.set(pool.parts.map(\.path))
        // Before the session is confined.
        let digests = SessionDigests(request, size: size, log)
        do throws(RequestError) {
            let lanes = try openLanes(of: pool, size: size, watchdog)
            end.port.store(lanes.attributes.port, ordering: .releasing)
            let served = ServedPool(
                pool: pool, lanes: lanes, isCreated: attributes != nil, watchdog: watchdog, digests: digests,
                partWatch: watchParts(of: pool), abruptEnd: end, settings: settings, log: log,
                initiator: environment.initiator, status: status, descriptor: request.descriptor)
            status?.publish(record(of: served))
            // For ps(1).
            ProcessTitle.set(
                escapingControls(
                    "rpmemd: \(environment.peer.map { "\($0)" } ?? "this machine"), pool set \(request.descriptor)"))
            logRemarks(on: served)
            confinement?.restrictCalls(request.provider)
            log.notice(
                "\(kind.name) done: pool set \(request.descriptor), pool id \(pool.attributes.poolsetUUID), "
                    + "\(lanes.laneCount) lanes, provider \(request.provider.name), "
                    + "method \(lanes.attributes.method.name), port \(lanes.attributes.port)")
            return served
        } catch {
            pool.dispose(attributes == nil ? .keep : .undoCreation, log)
            throw error
        }
    }

    // MARK: Pool

    private func openPool() throws(RequestError) -> Pool {
        do throws(PoolError) {
            let pool =
                if let attributes {
                    try store.create(
                        descriptor: request.descriptor, attributes: attributes, requestedSize: request.poolSize,
                        isCancelled: { RequestConnection.isHungUp(input) || Self.isReadable(signals) })
                } else {
                    try store.open(
                        descriptor: request.descriptor, requestedSize: request.poolSize, isReadOnly: isReadOnly)
                }
            // Other initiators get no lane before EXTEND, which settles it.
            if !request.offersExtensions, !isReadOnly {
                do throws(PoolError) { try pool.forgetWriter() } catch {
                    pool.dispose(attributes == nil ? .keep : .undoCreation, log)
                    throw error
                }
            }
            return pool
        } catch {
            throw RequestError(error)
        }
    }

    private static func isReadable(_ descriptor: Int32) -> Bool {
        (try? PollSet.wait(for: descriptor, until: .now)) ?? false
    }

    // MARK: Lanes

    /// The sockets provider has a thread of its own, which carries out all that a session sends and receives. A worker in its
    /// place on the CPU holds all lanes up.
    static func defaultWorkers(for provider: Provider, processors: Int = onlineProcessors()) -> Int {
        provider == .sockets ? max(1, processors - 1) : processors
    }

    private func openLanes(of pool: Pool, size: Int, _ watchdog: Watchdog) throws(RequestError) -> InBandServer {
        let aliases: [SyncAlias]
        do throws(PoolError) {
            aliases = try pool.makeSyncAliases(
                settings.threads.value > 0 ? settings.threads.value : Self.defaultWorkers(for: request.provider))
        } catch {
            throw RequestError(error)
        }
        do throws(FabricError) {
            if request.provider == .verbs, settings.verbsODP.value == .auto {
                // The thread that loads the library reads the environment as well. It has finished when this returns.
                _ = try FabricLibrary.shared()
                ProviderEnvironment.setOnDemandPaging(pool.isOnDAXFileSystem)
            }
            // Before the provider starts threads, which inherit the rules.
            confinement?.restrictFiles(pool, isCreated: attributes != nil, request.provider, status, watchdog)
            return try InBandServer(offer(pool, size: size, syncAliases: aliases))
        } catch {
            if let obstacle = ListenObstacle.find(
                at: laneAddress, isConfigured: settings.inBandAddress.value != nil, ports: settings.portRange.value)
            {
                throw RequestError(
                    .fatalConnection,
                    "\(obstacle.text) (\(settings.origin(of: obstacle.setting)))")
            }
            throw RequestError(error, provider: request.provider, poolSize: size)
        }
    }

    private var isReadOnly: Bool { settings.permissions.value == .readOnly }

    private var laneAddress: NetworkAddress { settings.inBandAddress.value ?? environment.laneAddress }

    private func offer(_ pool: Pool, size: Int, syncAliases: [SyncAlias]) -> InBandOffer {
        let peerRule: InBandPeerRule =
            switch settings.inBandPeer.value {
            case .any: .any
            case .ssh: .only(environment.initiator)
            }
        let method = chooseMethod(pool)
        return InBandOffer(
            provider: request.provider, address: laneAddress,
            ports: settings.portRange.value, requestedLanes: request.laneCount,
            laneLimit: settings.maxLanes.value.map(Int.init), inlineCapacity: Int(request.inlineSize),
            region: UnsafeMutableRawBufferPointer(start: pool.base, count: size), method: method,
            syncAliases: syncAliases, peerRule: peerRule,
            laneSecret: request.offersExtensions ? LaneSecret(.random(in: .min ... .max)) : nil,
            mayCommitWrites: request.offersExtensions && method == .gpspm && pool.persister.isPersistentMemory
                && settings.commitWrites.value == .auto && !isReadOnly
                && request.provider != .verbs,
            pollMicroseconds: UInt32(settings.pollTime.value),
            requiresOnDemandPaging: settings.verbsODP.value == .yes, peerTimeout: settings.peerTimeout.value,
            page: status?.makePage(workers: syncAliases.count), isReadOnly: isReadOnly)
    }

    private func record(of served: ServedPool) -> SessionRecord {
        SessionRecord(
            process: getpid(), session: log.session.number, since: UInt64(clamping: time(nil)),
            poolSetUUID: served.pool.attributes.poolsetUUID, lanesGranted: UInt32(served.lanes.laneCount),
            user: SessionEnvironment.user, peer: environment.peer.map { "\($0)" } ?? "",
            provider: request.provider.name,
            method: served.lanes.attributes.method.name, poolSet: "\(request.descriptor)")
    }

    /// Chooses the persistency method, and logs it in the lines that scripts look for.
    private func chooseMethod(_ pool: Pool) -> PersistMethod {
        let provider = request.provider
        let choice = PersistMethodChoice(
            settings.persistAPM.value, isPersistentMemory: pool.isPersistentMemory,
            cachesPersist: pool.persister.cachesPersist,
            softwareProvider: provider == .verbs || pool.persister.isByWord ? nil : provider.name)
        if let remark = choice.remark {
            // With auto the operator did not ask for APM.
            if settings.persistAPM.value == .auto { log.notice(remark) } else { log.warning(remark) }
        }
        log.logPersistPolicy(
            method: choice.method,
            flush: choice.method == .apm ? .none : pool.persister.kind == .msync ? .pmemMsync : .pmemPersist)
        return choice.method
    }

    // MARK: Watching

    /// Watches over the storage from before the pool is opened to the end of the session.
    private func watch(_ storage: StorageNames, _ end: AbruptEnd) throws(RequestError) -> Watchdog {
        // A busy disk may need that long for one fsync(2) of a header.
        let seconds = max(Self.minimumStorageSeconds, settings.peerTimeout.value)
        let mark = settings.markLeft
        do throws(SystemCallError) {
            return try Watchdog(
                milliseconds: UInt64(seconds) * 1000,
                endSignals: Watchdog.EndSignals(input: input, signals: signals),
                onExpiry: {
                    end.leave(
                        because:
                            "storage hangs: the session has waited for \(seconds) s for \(storage.text): it ends\(mark). "
                            + "See dmesg; this process may stay until the storage answers")
                },
                onFault: { fault in
                    end.leave(because: "\(fault.describe()). The session ends\(mark)")
                })
        } catch {
            throw RequestError(.fatal, "the watchdog over the pool's storage cannot start: \(error)")
        }
    }

    private func watchParts(of pool: Pool) -> PartWatch? {
        do throws(SystemCallError) {
            return try PartWatch(
                pool.parts.filter { !$0.isDeviceDAX }.map { (path: $0.path, size: Int(clamping: $0.size)) })
        } catch {
            log.info(
                "inotify does not watch the parts, so the session notices a truncated part only when it uses it: \(error)"
            )
            return nil
        }
    }

    // MARK: Log

    private func logRemarks(on served: ServedPool) {
        if let obstacle = served.pool.deepPersistObstacle { log.warning("\(obstacle)") }
        for path in served.pool.partsWithEarlierErrors { log.warning(earlierErrorRemark(path)) }
        for path in served.pool.partsWithInterruptedAttributes {
            log.warning(
                "\(path): a SET_ATTR before this session did not finish: the header has the attributes of the first part again"
            )
        }
        let lanes = served.lanes.attributes
        if lanes.method == .apm, !served.pool.persister.cachesPersist, let device = served.lanes.rdmaDevice,
            RDMADevice.isSoftware(device)
        {
            log.warning(
                "persist-apm: \(device) is an RDMA device in software: the CPU of this machine writes the data, through caches "
                    + "that lose it with the power (no eADR), acknowledged data included")
        }
        if isReadOnly {
            // The provider that refuses a WRITE gives no reason, and the initiator's call fails before another line is there.
            log.notice(
                tellingInitiator:
                    "permissions = read-only (\(settings.permissions.origin)): no range of the pool may be written, and a "
                    + "persist request ends the session")
        }
        log.info("listening on port \(lanes.port), \(lanes.laneCount) lanes granted")
        if let error = served.lanes.silenceError {
            log.warning(
                "peer-timeout: if \(environment.initiator) becomes unreachable, the session notices it only when it sends: "
                    + "\(error)")
        }
        if let error = served.lanes.filterError {
            // Ordinary users cannot have the filter, so this is no warning.
            log.info(
                "no packet filter: every machine can reach port \(lanes.port), though only \(environment.initiator) gets lanes: "
                    + "\(error)"
            )
        }
    }
}

/// What the session may wait for, for a message: the pool set, then its parts.
private final class StorageNames: Sendable {
    private let names: Mutex<String>

    init(_ text: String) { names = Mutex(text) }

    var text: String { names.withLock { $0 } }

    func set(_ paths: [String]) {
        let rest = paths.count > 4 ? " and \(paths.count - 4) others" : ""
        let text = paths.prefix(4).map { quoted($0) }.joined(separator: ", ") + rest
        names.withLock { $0 = text }
    }
}
