import RpmemInitiator
import RpmemProtocol

/// The target's pools, by medium.
enum Medium: Int, CaseIterable {
    /// ext4 on a disk: pages that were not synced are lost with the guest's memory.
    case firstFile, secondFile
    case firstDevice, secondDevice
    /// A file on ext4 with `-o dax`.
    case directAccessFile

    /// The pool set that `Tests/VM/cases/power-loss.sh` makes for it.
    var poolSet: String {
        switch self {
        case .firstFile: "file0.set"
        case .secondFile: "file1.set"
        case .firstDevice: "dax0.set"
        case .secondDevice: "dax1.set"
        case .directAccessFile: "fsdax.set"
        }
    }

    var isPersistentMemory: Bool {
        switch self {
        case .firstFile, .secondFile: false
        case .firstDevice, .secondDevice, .directAccessFile: true
        }
    }
}

/// The use of one pool between two losses of power.
struct SessionPlan {
    let medium: Medium
    let provider: Provider
    /// Whether the target is configured for the Appliance Persistency Method. Without eADR it uses that method only over verbs.
    let asksForAPM: Bool
    let lanes: Int

    /// The sessions of a round: two or three pools at once. The other pools keep their contents over more than one loss of power.
    /// Over the rounds each medium is used with each provider that can use it, both methods and one to four lanes.
    static func sessions(round: Int) -> [SessionPlan] {
        let media = Medium.allCases
        return (0..<3 - round % 2).map { plan(media[(round * 3 + $0) % media.count], round: round) }
    }

    /// Sessions with all pools.
    static func all(round: Int) -> [SessionPlan] { Medium.allCases.map { plan($0, round: round) } }

    private static func plan(_ medium: Medium, round: Int) -> SessionPlan {
        let turn = round + medium.rawValue
        // Without on-demand paging the kernel refuses to register a file's own persistent memory.
        let providers: [Provider] = medium == .directAccessFile ? [.tcp, .sockets] : [.verbs, .tcp, .sockets]
        return SessionPlan(
            medium: medium, provider: providers[turn % providers.count], asksForAPM: turn / 2 % 2 == 0,
            lanes: 1 + turn % 4)
    }

    var method: PersistMethod { asksForAPM && medium.isPersistentMemory && provider == .verbs ? .apm : .gpspm }

    /// Whether ``InitiatorPool/Mode/atomic`` is atomic with this provider.
    var isAtomic: Bool { provider != .sockets }

    var description: String {
        "\(medium) over \(provider.name), \(method.name), \(lanes) \(lanes == 1 ? "lane" : "lanes")"
    }
}
