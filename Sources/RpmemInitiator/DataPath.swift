import Synchronization

/// The calls that move data: they check their arguments, take the lane, and have it do the work (``InitiatorLane``).
///
/// It is a view of a ``LaneSet``, which must outlive it. Copying it and calling it count no references, so that threads on
/// different lanes write to no common cache line.
package struct DataPath: BitwiseCopyable, @unchecked Sendable {
    // Unchecked: everything in it is constant but the lanes, and each of those belongs to the thread that took it.
    private let lanes: LaneTable
    private let laneCount: Int
    /// Bytes of the pool.
    private let size: Int
    /// The first offset that may be written: behind the pool's header where it has one.
    private let firstOffset: Int
    private let recipes: PersistRecipes
    private let hasFailed: UnsafeMutablePointer<Atomic<Bool>>
    /// Only errors and the first long read of a lane need it.
    private let laneSet: Unmanaged<LaneSet>

    init(_ laneSet: LaneSet, size: Int, firstOffset: Int, recipes: PersistRecipes) {
        lanes = laneSet.lanes
        laneCount = laneSet.count
        self.size = size
        self.firstOffset = firstOffset
        self.recipes = recipes
        hasFailed = laneSet.stickyError.flag
        self.laneSet = .passUnretained(laneSet)
    }

    // MARK: Calls

    /// See ``InitiatorPool/persist(offset:length:lane:mode:)``.
    package func persist(
        offset: Int, length: Int, lane: Int, mode: InitiatorPool.Mode
    ) throws(InitiatorError) {
        try checkWritable(offset, length, lane)
        let slot = try take(lane)
        defer { release(slot) }
        let recipe = recipes.forPersist(mode, length: length)
        do throws(LaneError) {
            try slot.pointee.lane.persist(offset: offset, length: length, by: recipe)
        } catch {
            try resume(.persist(offset: offset, length: length, by: recipe, deep: false), after: error, lane)
        }
    }

    /// See ``InitiatorPool/deepPersist(offset:length:lane:)``.
    package func deepPersist(offset: Int, length: Int, lane: Int) throws(InitiatorError) {
        try checkWritable(offset, length, lane)
        let slot = try take(lane)
        defer { release(slot) }
        do throws(LaneError) {
            try slot.pointee.lane.persist(offset: offset, length: length, by: recipes.deep, deep: true)
        } catch {
            try resume(.persist(offset: offset, length: length, by: recipes.deep, deep: true), after: error, lane)
        }
    }

    /// See ``InitiatorPool/flush(offset:length:lane:mode:)``.
    package func flush(
        offset: Int, length: Int, lane: Int, mode: InitiatorPool.Mode
    ) throws(InitiatorError) {
        try checkWritable(offset, length, lane)
        let slot = try take(lane)
        defer { release(slot) }
        let recipe = mode == .atomic ? recipes.atomic : recipes.relaxed
        do throws(LaneError) {
            try slot.pointee.lane.flush(offset: offset, length: length, by: recipe)
        } catch {
            try resume(.flush(offset: offset, length: length, by: recipe), after: error, lane)
        }
    }

    /// See ``InitiatorPool/drain(lane:)``.
    package func drain(lane: Int) throws(InitiatorError) {
        try checkReadable(0, 0, lane)
        let slot = try take(lane)
        defer { release(slot) }
        do throws(LaneError) { try slot.pointee.lane.drain() } catch { try resume(.drain, after: error, lane) }
    }

    /// See ``InitiatorPool/read(into:offset:lane:)``.
    ///
    /// - Parameter destination: nil where `length` is 0.
    package func read(
        into destination: UnsafeMutableRawPointer?, length: Int, offset: Int, lane: Int
    ) throws(InitiatorError) {
        try checkReadable(offset, length, lane)
        let slot = try take(lane)
        defer { release(slot) }
        guard let destination else { return }
        if length > InitiatorLane.longestShortRead, slot.pointee.lane.longReadBuffer == nil {
            prepareLongReads(lane)
        }
        do throws(LaneError) {
            try slot.pointee.lane.read(into: destination, offset: offset, length: length)
        } catch { try resume(.read(destination: destination, offset: offset, length: length), after: error, lane) }
    }

    // MARK: Lanes

    /// Takes a lane for the calling thread, unless the pool has failed or another thread has the lane.
    @inline(__always)
    private func take(_ number: Int) throws(InitiatorError) -> UnsafeMutablePointer<LaneSlot> {
        let slot = lanes[number]
        if slot.pointee.isTaken.exchange(true, ordering: .acquiring) { try waitForLane(number) }
        if hasFailed.pointee.load(ordering: .acquiring) { try waitForSession(number) }
        return slot
    }

    @inline(__always)
    private func release(_ slot: UnsafeMutablePointer<LaneSlot>) {
        slot.pointee.isTaken.store(false, ordering: .releasing)
    }

    @inline(never)
    private func prepareLongReads(_ number: Int) {
        laneSet._withUnsafeGuaranteedRef { $0.prepareLongReads(number) }
    }

    // MARK: Errors

    /// Takes a lane that is taken; see ``LaneSet/waitForLane(_:)``.
    @inline(never)
    private func waitForLane(_ number: Int) throws(InitiatorError) {
        if let error = laneSet._withUnsafeGuaranteedRef({ $0.waitForLane(number) }) { throw error }
    }

    /// Waits for a session on a lane that the calling thread has, and gives it back when there is none any more.
    @inline(never)
    private func waitForSession(_ number: Int) throws(InitiatorError) {
        if let error = laneSet._withUnsafeGuaranteedRef({ $0.recover(number) }) { throw error }
    }

    /// Makes a call again once the session is resumed; see ``LaneSet/resume(_:after:lane:)``.
    @inline(never)
    private func resume(_ call: LaneCall, after error: LaneError, _ number: Int) throws(InitiatorError) {
        let failure = laneSet._withUnsafeGuaranteedRef { $0.resume(call, after: error, lane: number) }
        if let failure { throw failure }
    }

    @inline(__always)
    private func checkWritable(_ offset: Int, _ length: Int, _ lane: Int) throws(InitiatorError) {
        try check(offset, length, lane, firstOffset)
    }

    @inline(__always)
    private func checkReadable(_ offset: Int, _ length: Int, _ lane: Int) throws(InitiatorError) {
        try check(offset, length, lane, 0)
    }

    @inline(__always)
    private func check(_ offset: Int, _ length: Int, _ lane: Int, _ first: Int) throws(InitiatorError) {
        let isValid =
            offset >= first && length >= 0 && offset <= size && length <= size &- offset && lane >= 0
            && lane < laneCount
        if !isValid { throw argumentError(offset, length, lane) }
    }

    @inline(never)
    private func argumentError(_ offset: Int, _ length: Int, _ lane: Int) -> InitiatorError {
        if lane < 0 || lane >= laneCount {
            return .invalidArgument("lane \(lane) does not exist: there are \(laneCount), from 0 on")
        }
        if offset >= 0, length >= 0, offset <= size, length <= size - offset {
            return .invalidArgument("offset \(offset) is inside the pool's header: \(firstOffset) is the first")
        }
        return .invalidArgument("range of \(length) bytes at offset \(offset) is not inside the pool of \(size) bytes")
    }
}
