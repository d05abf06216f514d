// Exported: the public interface names types of these modules, and `import RpmemInitiator` is to be enough for its users.
@_exported import RpmemProtocol
import Synchronization
import SystemSupport

@_exported import struct Fabric.FabricError
@_exported import struct SystemSupport.SystemCallError

/// A pool in this process's memory, with its replica on a target. Ranges of the memory are copied to the target and made
/// persistent there.
///
/// **Threads.** All calls may be made from any thread. A lane belongs to one thread at a time: a call on a lane that another
/// thread's call has throws ``InitiatorError/laneInUse(_:)``. Threads on different lanes share no lock.
///
/// **Blocking.** Every call but ``flush(offset:length:lane:mode:)`` waits for the target, and `flush` waits where the lane's
/// work queue is full. ``InitiatorOptions`` has the time that each wait takes at most. So none of them belongs on Swift's
/// cooperative threads: use ``AsyncLane`` in asynchronous code.
///
/// **Errors.** Once a call has failed on the connection, all later ones fail with the same error, and only ``close(removing:)``
/// is left. Errors of arguments, ``InitiatorError/laneInUse(_:)`` and a refused ``setAttributes(_:)`` leave the pool usable.
public final class InitiatorPool: Sendable {
    /// How data is copied.
    public enum Mode: Hashable, Sendable {
        /// Eight bytes at an address that is a multiple of eight change at once for a reader on the target, where the
        /// provider can do that. Data travels in requests of at most 1020 KiB with up to eight lanes, and of 8 MiB divided by
        /// the number of lanes with more, but at least 8 KiB.
        case atomic
        /// Bytes change in any order. This is the fastest for much data.
        case relaxed
    }

    /// Lanes that the pool has: as many as were asked for, or fewer. Their numbers start at 0.
    public let lanes: Int
    /// The pool's attributes as the target had them when the pool was opened, or as it was created with.
    public let attributes: PoolAttributes
    public let provider: Provider
    /// The host that lanes were connected to: the target's, or the HostName that ssh_config(5) has for it.
    package let laneHost: String
    public let persistMethod: PersistMethod
    /// Bytes of the pool.
    public let size: Int
    /// How long each stage of opening the pool took.
    public let openingTimes: OpeningTimes
    /// What the target's daemon warned of on standard error while the pool was opened.
    package let targetWarnings: [String]
    /// Moves data without counting references; valid as long as the pool.
    package let data: DataPath

    let laneSet: LaneSet
    private let control: CurrentControl
    private let resumer: SessionResumer?
    private let monitor: PoolMonitor
    private let stickyError: StickyError
    private let options: InitiatorOptions
    /// Whether the target answers ``digests(_:)``.
    package let givesDigests: Bool
    /// Whether the pool is open. Requests hold the lock: the target takes one at a time.
    private let isOpen = Mutex(true)

    /// Bytes at the start of a pool that belong to its header. A pool without attributes has no header.
    public static let headerSize = 4096

    // MARK: Open and close

    /// Creates a pool on the target.
    ///
    /// - Parameters:
    ///   - target: The machine that ssh connects to.
    ///   - poolSet: A path relative to the target's pool set directory.
    ///   - memory: The local pool: whole pages, which stay valid until the pool is closed. The target's pool gets its size.
    ///   - lanes: Lanes to ask for, at least 1; see ``lanes``.
    ///   - attributes: For the pool's headers; `PoolAttributes.none` for pool sets with `OPTION NOHDRS`.
    ///   - options: How the target is reached, and how long each wait takes at most.
    public static func create(
        target: TargetAddress, poolSet: String, memory: UnsafeMutableRawBufferPointer, lanes: Int,
        attributes: PoolAttributes, options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) -> InitiatorPool {
        let opening = SessionOpening(
            target: target, poolSet: poolSet, memory: memory, lanes: lanes, creating: attributes, options: options)
        return InitiatorPool(try opening.run(), size: memory.count, options)
    }

    /// Opens a pool that exists on the target. ``attributes`` has those that the target found. Parameters are as in
    /// ``create(target:poolSet:memory:lanes:attributes:options:)``.
    public static func open(
        target: TargetAddress, poolSet: String, memory: UnsafeMutableRawBufferPointer, lanes: Int,
        options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) -> InitiatorPool {
        try open(nil, target: target, poolSet: poolSet, memory: memory, lanes: lanes, options: options)
    }

    /// Opens a pool as ``open(target:poolSet:memory:lanes:options:)`` does, with a command that was started for it, if one was.
    ///
    /// - Parameter digests: Whether ``digests(_:)`` will be called; ``givesDigests`` tells whether it may.
    package static func open(
        _ started: StartedTarget?, target: TargetAddress, poolSet: String, memory: UnsafeMutableRawBufferPointer,
        lanes: Int, options: InitiatorOptions, digests: Bool = false
    ) throws(InitiatorError) -> InitiatorPool {
        let opening = SessionOpening(
            target: target, poolSet: poolSet, memory: memory, lanes: lanes, creating: nil, options: options,
            started: started, digests: digests)
        return InitiatorPool(try opening.run(), size: memory.count, options)
    }

    private init(_ session: SessionOpening.Session, size: Int, _ options: InitiatorOptions) {
        lanes = session.lanes.count
        attributes = session.attributes
        provider = session.provider
        laneHost = session.laneHost
        persistMethod = session.persistMethod
        self.size = size
        givesDigests = session.extensions.contains(.digests)
        openingTimes = session.times
        targetWarnings = session.control.value.warnings
        data = DataPath(
            session.lanes, size: size, firstOffset: session.attributes.isNone ? 0 : Self.headerSize,
            recipes: PersistRecipes(
                session.provider, session.persistMethod, commits: session.extensions.contains(.committingWrites)))
        laneSet = session.lanes
        control = session.control
        resumer = session.resumer
        monitor = session.monitor
        stickyError = session.lanes.stickyError
        self.options = options
    }

    deinit { try? close() }

    /// Ends the session. The second time, it does nothing. Whatever it throws, everything is released afterwards and the
    /// memory is the caller's again. Calls of other threads that are under way fail.
    ///
    /// - Parameter removing: Removes the pool from the target, if this session created it.
    /// - Throws: The error that made the pool fail before, or the target's error while it closed the pool.
    public func close(removing: Bool = false) throws(InitiatorError) {
        try isOpen.withLock { isOpen throws(InitiatorError) in
            if !isOpen { return }
            isOpen = false
            // A session that is lost is resumed first: what was flushed may be drained by other threads.
            try? stickyError.awaitEnd()
            monitor.stop()
            let failure = stickyError.error
            let loss = stickyError.loss
            stickyError.set(.closed)
            laneSet.closeEndpoints()
            let control = control.value
            defer { control.end() }
            if let failure { throw failure }
            // A thread on a lane began an outage after the wait.
            if let loss {
                guard let resumer else { throw loss }
                return try resumer.closeAgain(after: loss, control, removing: removing)
            }
            // A session that was resumed has not created the pool, and its CLOSE removes nothing.
            let removesApart = removing && resumedSessions > 0
            do throws(InitiatorError) {
                _ = try control.exchange(
                    .close(removing && !removesApart ? .remove : []), within: options.operationTimeout)
                if removesApart { try resumer?.removeCreated() }
            } catch {
                guard error.isLoss, let resumer else { throw error }
                try resumer.closeAgain(after: error, control, removing: removing)
            }
        }
    }

    /// Sessions with the target that went on after a loss; see ``InitiatorOptions/resumeTime``.
    public var resumedSessions: Int { resumer?.resumedSessions ?? 0 }

    /// Why a lost session will not be resumed, though ``InitiatorOptions/resumeTime`` asks for it; nil otherwise.
    public var obstacleToResuming: String? {
        if case .impossible(let reason) = stickyError.resuming { reason } else { nil }
    }

    /// Replaces the pool's attributes on the target.
    public func setAttributes(_ attributes: PoolAttributes) throws(InitiatorError) {
        try isOpen.withLock { isOpen throws(InitiatorError) in
            if !isOpen { throw .closed }
            resumer?.expect(pending: attributes)
            var budget = WaitBudget(stickyError.limit ?? .zero)
            // The budget counts from the first loss on: waiting for an answer is no part of it.
            var mayBeLost = stickyError.flag.pointee.load(ordering: .acquiring)
            while true {
                if mayBeLost { try laneSet.awaitSession(&budget) }
                mayBeLost = true
                do throws(InitiatorError) {
                    try exchange(.setAttributes(attributes))
                    resumer?.expect(attributes)
                    return
                } catch {
                    if case .refused = error {
                        resumer?.expect(pending: nil)
                        throw error
                    }
                    // Sent again in the next session, it changes nothing that has been changed before.
                    if stickyError.isSet { throw stickyError.error ?? error }
                }
            }
        }
    }

    /// Asks the target for digests of blocks of its pool.
    ///
    /// - Returns: ``DigestRequest/digestSize`` bytes for each block, in order. Where the target's storage is slow, digests of the first
    ///   blocks only, of at least one.
    /// - Throws: Also when the session is lost; it is not asked again in one that is resumed.
    package func digests(_ request: DigestRequest) throws(InitiatorError) -> [UInt8] {
        try isOpen.withLock { isOpen throws(InitiatorError) in
            if !isOpen { throw .closed }
            if let error = stickyError.error { throw error }
            var digests: [UInt8] = []
            try exchange(.digest(request)) {
                guard case .digest(let answer) = $0, answer.count.isMultiple(of: DigestRequest.digestSize),
                    (min(1, request.count)...request.count).contains(answer.count / DigestRequest.digestSize)
                else { return "the target answered DIGEST with other digests" }
                digests = answer
                return nil
            }
            return digests
        }
    }

    /// Sends a request, and waits for its answer. Unless the target refuses the request, an error is the pool's; the session may be
    /// resumed then. The caller holds the lock.
    ///
    /// - Parameter objection: Why the answer breaks the protocol; nil when it does not.
    private func exchange(
        _ request: Request, objection: (Response) -> String? = { _ in nil }
    ) throws(InitiatorError) {
        defer { monitor.lookAgain() }
        // Before the connection: an outage that begins in between is then seen below.
        let outages = stickyError.outages.count
        let client = control.value
        do throws(InitiatorError) {
            let response = try client.exchange(request, within: options.operationTimeout)
            if let reason = objection(response) {
                throw .protocolError(target: client.subject, reason: reason, targetLines: [])
            }
        } catch {
            // A refusal leaves the session as it was.
            if case .refused = error { throw error }
            let first = stickyError.fail(error, after: outages)
            laneSet.wakeAll()
            throw first
        }
    }

    // MARK: Data

    /// Copies a range to the target and makes it persistent there. It is persistent when this returns.
    ///
    /// - Parameters:
    ///   - offset: In bytes from the pool's start. The header's ``headerSize`` bytes cannot be written.
    ///   - length: In bytes; the range ends inside the pool.
    ///   - lane: From 0 to ``lanes`` − 1; no other thread uses it meanwhile.
    ///   - mode: In which units the bytes change on the target.
    public func persist(offset: Int, length: Int, lane: Int, mode: Mode = .atomic) throws(InitiatorError) {
        try data.persist(offset: offset, length: length, lane: lane, mode: mode)
    }

    /// Does the same as ``persist(offset:length:lane:mode:)``, down to the target's lowest persistence domain.
    public func deepPersist(offset: Int, length: Int, lane: Int) throws(InitiatorError) {
        try data.deepPersist(offset: offset, length: length, lane: lane)
    }

    /// Starts to copy a range to the target. The range must not change until ``drain(lane:)`` on the same lane has returned.
    /// Then it is persistent.
    public func flush(offset: Int, length: Int, lane: Int, mode: Mode = .atomic) throws(InitiatorError) {
        try data.flush(offset: offset, length: length, lane: lane, mode: mode)
    }

    /// Waits until everything that was flushed on the lane is persistent on the target.
    public func drain(lane: Int) throws(InitiatorError) {
        try data.drain(lane: lane)
    }

    /// Copies a range of the target's pool into all of `destination`. The header may be read.
    public func read(
        into destination: UnsafeMutableRawBufferPointer, offset: Int, lane: Int
    ) throws(InitiatorError) {
        try data.read(into: destination.baseAddress, length: destination.count, offset: offset, lane: lane)
    }

    /// Copies a range of the target's pool into all of `destination`. The header may be read.
    public func read(into destination: inout MutableRawSpan, offset: Int, lane: Int) throws(InitiatorError) {
        try destination.withUnsafeMutableBytes { bytes throws(InitiatorError) in
            try read(into: bytes, offset: offset, lane: lane)
        }
    }
}
