import RpmemProtocol

/// The requests of a recorded run, and when each was made and answered, in positions of the disk's record.
struct PowerLossHistory: Sendable {
    enum Action: Sendable, Equatable {
        case create(PoolAttributes)
        case open, close
        case setAttributes(PoolAttributes)
        /// Bytes that are persisted at an offset of the pool.
        case persist(Int, [UInt8])
        case remove
        /// Of the pool set file.
        case removeSet
    }

    struct Step: Sendable {
        /// Of the row of the table.
        var name: String
        var action: Action
        /// Before the request was made.
        var begin: Int
        /// After its answer had come.
        var end: Int
    }

    var steps: [Step] = []

    /// What a disk with the record up to a position may have.
    struct State {
        /// The step that was under way, or the last one that was answered.
        var name: String
        var pool: PoolState
        /// Whether the pool set file is there; nil while it may be.
        var hasSet: Bool? = true
        /// The pool's attributes: one of these.
        var attributes: [PoolAttributes] = []
        /// Ranges that were acknowledged.
        var acknowledged: [(offset: Int, bytes: [UInt8])] = []
        /// Ranges that were under way.
        var unanswered: [(offset: Int, bytes: [UInt8])] = []

        var isChangingAttributes: Bool { pool == .whole && attributes.count > 1 }

        enum PoolState {
            case absent, creating, whole, removing
        }
    }

    /// The state at the last moment before the disk got its next write. A step that was answered by then counts even if it
    /// wrote nothing; of a step that began then, the disk has nothing.
    func state(at position: Int) -> State {
        var state = State(name: "before CREATE", pool: .absent)
        for step in steps where step.begin < position || step.end <= position {
            let isAnswered = step.end <= position
            state.name = isAnswered ? "after \(step.name)" : step.name
            switch step.action {
            case .create(let attributes):
                state = State(name: state.name, pool: isAnswered ? .whole : .creating)
                state.attributes = [attributes]
            case .setAttributes(let attributes):
                state.attributes = isAnswered ? [attributes] : state.attributes + [attributes]
            case .persist(let offset, let bytes):
                if isAnswered {
                    state.acknowledged.append((offset, bytes))
                } else {
                    state.unanswered.append((offset, bytes))
                }
            case .remove: state.pool = isAnswered ? .absent : .removing
            case .removeSet: state.hasSet = isAnswered ? false : nil
            case .open, .close: break
            }
        }
        return state
    }
}
