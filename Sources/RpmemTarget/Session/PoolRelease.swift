import PoolSets

extension ServedPool {
    /// Takes the lanes down, then closes the pool.
    ///
    /// - Parameter removing: Whether CLOSE asks for the pool's removal. Only the session that created the pool may remove it. A
    ///   client that may not remove pools takes back what its CREATE made, and no file that was there before.
    /// - Returns: False when something failed, which the log shows.
    func release(removing: Bool) -> Bool {
        lanes.shutDown()
        status?.note(lanes.counts)
        // The watchdog may have given up waiting for the workers.
        abruptEnd.waitIfBegun()
        // The workers are joined, so this is final.
        if lanes.hasFailedToPersist {
            log.error("a range of the pool could not be made durable: the pool stays marked as not cleanly closed")
            pool.leaveDirty()
            return false
        }
        let isUnused = isCreated && lanes.lanesEverConnected == 0
        if isUnused { log.notice("no lane ever was connected: the pool that this session created is removed again") }
        if removing, !isCreated {
            log.notice(
                "CLOSE asks to remove the pool: only the session that created the pool may do that, so the pool is kept"
            )
        }
        let permissions = settings.permissions
        let mayRemove = isCreated && permissions.value == .all
        if removing, isCreated, !mayRemove {
            log.notice(
                "CLOSE asks to remove the pool: with permissions = \(permissions.value.rawValue) (\(permissions.origin)) files that "
                    + "were there before CREATE are kept")
        }
        // Removing large files may take any time.
        if isUnused || removing { watchdog.endTurn() }
        return pool.dispose(
            isUnused || removing && isCreated && !mayRemove ? .undoCreation : removing && mayRemove ? .remove : .keep,
            log)
    }
}

/// What becomes of a pool's files when the session ends.
enum PoolDisposal {
    case keep
    /// The directory becomes what it was before CREATE.
    case undoCreation
    case remove
}

extension Pool {
    /// Closes the pool, and does with its files what `disposal` says.
    ///
    /// - Returns: False when something failed, which the log shows.
    @discardableResult
    func dispose(_ disposal: PoolDisposal, _ log: SessionLog) -> Bool {
        do throws(PoolError) {
            switch disposal {
            case .keep: try close()
            case .undoCreation: try abandonCreated()
            case .remove: try remove()
            }
            return true
        } catch {
            log.error("closing the pool: \(error)")
            return false
        }
    }
}
