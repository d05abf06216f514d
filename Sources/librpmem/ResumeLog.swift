import RpmemInitiator

/// What becomes of lost sessions, in the log.
enum ResumeLog {
    static func write(_ event: ResumeEvent) {
        switch event {
        case .lost(let error): Log.write(.errors, "session lost, calls wait while it is resumed: \(error)")
        case .retrying(let error): Log.write(.pools, "session not resumed yet: \(error)")
        case .resumed(let attempts, let time):
            Log.write(.errors, "session resumed after \(time), attempts: \(attempts)")
        case .gaveUp(let error): Log.write(.errors, "session not resumed: \(error)")
        }
    }
}
