import TestSupport

/// The n-th call of a function.
struct Call: Hashable, CustomStringConvertible {
    let name: String
    /// From 1.
    let number: Int

    var description: String { "\(name):\(number)" }

    /// Calls that make bytes durable. When one of them fails, the pool must not count as cleanly closed.
    var isDurability: Bool {
        ["msync", "fsync", "fdatasync", "syncfs", "pwritev2", "pmem_msync", "sync_file_range"].contains(name)
    }
}

/// The two programs of a session.
enum Program: String, CaseIterable {
    case daemon = "rpmemd"
    case initiator = "every-call-initiator"

    var path: String {
        switch self {
        case .daemon: Binaries.rpmemd
        case .initiator: Binaries.everyCallInitiator
        }
    }
}
