import Fabric
import Glibc
import TargetReports
import TestSupport
import Testing

@testable import DoctorChecks

/// Limits, RDMA devices in made trees of sysfs, providers, and clocks.
@Suite struct MachineChecksTests {
    // MARK: Limits

    private func limits(
        lockedMemory: UInt64? = 8 << 20, mayLockAll: Bool = false, openFiles: UInt64 = 1 << 20
    ) -> LimitChecks {
        LimitChecks(
            machine: .target, user: "ann", lockedMemory: lockedMemory, mayLockAll: mayLockAll, openFiles: openFiles)
    }

    @Test func lockedMemory() {
        func verdict(_ limits: LimitChecks, pool: UInt64?, rdma: Bool = true, odp: Bool = false)
            -> ReportedCheck.Verdict
        {
            limits.memory(pool: pool, hasRDMA: rdma, pagesOnDemand: odp).verdict
        }
        #expect(verdict(limits(), pool: 8 << 20) == .fail)
        #expect(verdict(limits(), pool: 8 << 20, odp: true) == .warn)
        #expect(verdict(limits(), pool: 8 << 20, rdma: false) == .skip)
        #expect(verdict(limits(), pool: 7 << 20) == .ok)
        #expect(verdict(limits(), pool: nil) == .ok)
        #expect(verdict(limits(mayLockAll: true), pool: 8 << 20) == .ok)
        #expect(verdict(limits(lockedMemory: nil), pool: .max) == .ok)
        #expect(
            limits().memory(pool: 8 << 20, hasRDMA: true).remedy
                == "`echo 'ann - memlock unlimited' | sudo tee -a /etc/security/limits.d/rpmem.conf`, then log in again"
        )
    }

    /// The initiator does not know the size of the pool, and pins it over verbs.
    @Test func lockedMemoryOfAnInitiator() {
        let found = limits().memory(pool: nil, hasRDMA: true, pinsPools: true)
        #expect(found.verdict == .warn && found.found.contains("8388608 bytes may be locked"), "\(found)")
        #expect(found.remedy?.contains("memlock unlimited") == true)
        #expect(limits(lockedMemory: nil).memory(pool: nil, hasRDMA: true, pinsPools: true).verdict == .ok)
        #expect(limits(mayLockAll: true).memory(pool: nil, hasRDMA: true, pinsPools: true).verdict == .ok)
        #expect(limits().memory(pool: nil, hasRDMA: false, pinsPools: true).verdict == .skip)
    }

    @Test func openFilesOfAnInitiator() {
        func verdict(_ openFiles: UInt64) -> ReportedCheck.Verdict {
            limits(openFiles: openFiles).files(laneLimit: nil, perLane: 5, others: 24).verdict
        }
        #expect(verdict(24 + 5 * 1024) == .ok && verdict(24 + 5 * 1024 - 1) == .warn && verdict(28) == .fail)
    }

    @Test func openFiles() {
        #expect(limits(openFiles: 64 + 3 * 1024).files(laneLimit: nil).verdict == .ok)
        #expect(limits(openFiles: 64 + 3 * 1024 - 1).files(laneLimit: nil).verdict == .warn)
        #expect(limits(openFiles: 64 + 3 * 8).files(laneLimit: 8).verdict == .ok)
        #expect(limits(openFiles: 66).files(laneLimit: 8).verdict == .fail)
        #expect(limits(openFiles: 10).files(laneLimit: nil).verdict == .fail)
        // What the remedy sets is enough.
        #expect(limits(openFiles: 16384).files(laneLimit: nil).verdict == .ok)
        #expect(
            limits(openFiles: 10).files(laneLimit: nil).remedy
                == "`echo 'ann - nofile 16384' | sudo tee -a /etc/security/limits.d/rpmem-files.conf`, then log in again"
        )
    }

    @Test func theCapabilityIsRead() throws {
        let root = try Tree(["proc/self/status": "Name:\tx\nCapEff:\t0000000000004000\n"])
        #expect(LimitChecks.mayLockAll(root.tree))
        try root.add("proc/self/status", "CapEff:\t000001ffffffbfff\n")
        #expect(!LimitChecks.mayLockAll(root.tree))
        #expect(!LimitChecks.mayLockAll(SystemTree(root: "/nowhere")))
    }

    // MARK: RDMA

    private static let hardware = "sys/devices/pci0000:00/0000:00:03.0/0000:5e:00.0/infiniband/mlx5_0"

    private func device(state: String = "4: ACTIVE", gid: String = "fe80::1", mtu: String = "9000") throws -> Tree {
        let port = "\(Self.hardware)/ports/1"
        let tree = try Tree([
            "\(port)/state": state, "\(port)/link_layer": "Ethernet", "\(port)/gids/0": "0000:0000:0000:0000",
            "\(port)/gids/1": gid, "\(port)/gid_attrs/ndevs/0": "eth7", "\(port)/gid_attrs/ndevs/1": "eth7",
            "sys/class/net/eth7/mtu": mtu,
        ])
        try tree.link("sys/class/infiniband/mlx5_0", to: Self.hardware)
        return tree
    }

    private func check(_ tree: Tree, isNeeded: Bool = true) -> ReportedCheck {
        RDMAChecks(tree.tree, pagesOnDemand: { _ in true }).check(.target, isNeeded: isNeeded)
    }

    @Test func aDeviceThatWorks() throws {
        let found = try check(device())
        #expect(found.verdict == .ok && found.remedy == nil, "\(found)")
        #expect(found.found == "mlx5_0, pages on demand; mlx5_0 port 1 is up, GID fe80::1, MTU 9000")
        #expect(try check(Tree([:])).verdict == .skip)
    }

    @Test func aLinkThatIsDown() throws {
        for (isNeeded, verdict) in [(true, ReportedCheck.Verdict.fail), (false, .warn)] {
            let found = try check(device(state: "1: DOWN"), isNeeded: isNeeded)
            #expect(found.verdict == verdict && found.found.contains("mlx5_0 port 1 is DOWN"), "\(found)")
            #expect(found.remedy?.contains("`sudo ip link set dev eth7 up`") == true)
        }
    }

    @Test func aPortWithoutGID() throws {
        let found = try check(device(gid: "0000:0000:0000:0000:0000:0000:0000:0000"))
        #expect(found.verdict == .fail && found.found.contains("without a GID"), "\(found)")
        #expect(found.remedy?.contains("`sudo ip address add ADDRESS/24 dev eth7`") == true)
    }

    @Test func aSmallMTU() throws {
        let found = try check(device(mtu: "1500"))
        #expect(found.verdict == .warn && found.found.contains("MTU 1500"), "\(found)")
        #expect(found.remedy?.contains("`sudo ip link set dev eth7 mtu 4200`") == true)
        // Followed.
        #expect(try check(device(mtu: "4200")).verdict == .ok)
    }

    @Test func aDeviceInSoftware() throws {
        let place = "sys/devices/virtual/infiniband/rxe0"
        let tree = try Tree([
            "\(place)/ports/1/state": "4: ACTIVE", "\(place)/ports/1/link_layer": "Ethernet",
            "\(place)/ports/1/gids/0": "fe80::1", "\(place)/ports/1/gid_attrs/ndevs/0": "eth0",
            "sys/class/net/eth0/mtu": "1500",
        ])
        try tree.link("sys/class/infiniband/rxe0", to: place)
        let found = check(tree)
        #expect(found.verdict == .ok && found.found.hasPrefix("rxe0 (in software), pages on demand"), "\(found)")
    }

    // MARK: Providers, lanes and clocks

    private static let offer = [
        DoctorListener(provider: "verbs", problem: "no device"), DoctorListener(provider: "sockets", port: 1),
        DoctorListener(provider: "tcp", problem: "left out", setting: "providers"),
    ]

    private func providers(_ enabled: [String], _ chosen: String?, _ offered: [DoctorListener]? = offer)
        -> [ReportedCheck]
    {
        FabricChecks.providers(.init(enabled: enabled, chosen: chosen, problem: "none here"), offered: offered)
    }

    @Test func commonProviders() {
        #expect(providers(["sockets"], "sockets").map(\.verdict) == [.ok, .ok])
        #expect(providers(["sockets"], "sockets", nil).map(\.verdict) == [.ok])
        let none = providers(["verbs"], nil)
        #expect(none.map(\.verdict) == [.fail] && none[0].found == "none here")
        #expect(none[0].remedy == "enable one that both machines have: `export RPMEM_ENABLE_SOCKETS=1`")
        let other = providers(["verbs"], "verbs")
        #expect(other.map(\.verdict) == [.ok, .fail] && other[1].found.contains("asks for verbs"))
        #expect(other[1].remedy == "use sockets on the initiator: `export RPMEM_ENABLE_VERBS=0 RPMEM_ENABLE_SOCKETS=1`")
        let common = providers(["tcp", "sockets"], "tcp")
        #expect(
            common[1].remedy
                == "correct the setting providers there; or leave it out on the initiator, so that sockets is used: "
                + "`export RPMEM_ENABLE_TCP=0`")
        // Possible, though no port was left to try it.
        let untried = [DoctorListener(provider: "sockets", port: 1), DoctorListener(provider: "tcp")]
        #expect(providers(["tcp"], "tcp", untried).map(\.verdict) == [.ok, .ok])
        #expect(providers(["verbs"], "verbs", [])[1].remedy == "make verbs possible there")
    }

    /// sockets follows where the target does not have tcp.
    @Test func theProviderThatFollows() {
        let own = FabricChecks.OwnProviders(enabled: ["tcp", "sockets"], chosen: "tcp", next: "sockets", problem: nil)
        let warned = FabricChecks.providers(own, offered: Self.offer)
        #expect(warned.map(\.verdict) == [.ok, .warn])
        #expect(warned[1].found.hasSuffix("has not: left out; it logs in again, and uses sockets"), "\(warned)")
        #expect(own.used(Self.offer) == "sockets")
        // It is neither needed where the target has tcp, nor of use where it has neither.
        let both = [DoctorListener(provider: "sockets", port: 1), DoctorListener(provider: "tcp", port: 2)]
        #expect(own.used(both) == "tcp" && own.used(nil) == "tcp" && own.used([]) == "tcp")
        #expect(FabricChecks.providers(own, offered: both).map(\.verdict) == [.ok, .ok])
        #expect(FabricChecks.providers(own, offered: []).map(\.verdict) == [.ok, .fail])
    }

    @Test func lanes() {
        func check(_ failure: String?, chosen: Bool = true, refusal: DoctorRefusal? = nil) -> ReportedCheck {
            FabricChecks.inBand(
                .init(provider: "tcp", host: "h", port: 7, failure: failure, milliseconds: 3), isChosen: chosen,
                refusal: refusal)
        }
        #expect(check(nil).verdict == .ok && check(nil, refusal: .init(.peer, provider: "tcp", "x")).verdict == .ok)
        #expect(check("refused").verdict == .fail && check("refused", chosen: false).verdict == .warn)
        #expect(check("late").found == "tcp: h port 7: late" && check("late").remedy?.contains("`port-range`") == true)
        let refused = check("late", refusal: .init(.peer, provider: "tcp", "not yours"))
        #expect(refused.found == "tcp: h port 7: not yours" && refused.remedy?.contains("in-band-peer = any") == true)
        // A setting of security is no remedy for anything else.
        let other = check("late", refusal: .init(.other, provider: "tcp", "too many"))
        #expect(other.found == "tcp: h port 7: too many" && other.remedy?.contains("in-band-peer") == false, "\(other)")
    }

    @Test func aSecretThatIsLeftOut() {
        #expect(FabricChecks.secret(isRequired: false, isOffered: false) == nil)
        #expect(FabricChecks.secret(isRequired: true, isOffered: true) == nil)
        let refused = FabricChecks.secret(isRequired: true, isOffered: false)
        #expect(refused?.verdict == .fail && refused?.found.contains("in-band-secret = require") == true)
        #expect(refused?.remedy?.contains("`unset RPMEM_EXTENSIONS`") == true)
    }

    /// The target can write any number.
    @Test func clocksOfATargetThatLies() {
        for clock in [Int64.min, .max, 0] {
            let found = FabricChecks.compare(clock: clock, sent: 1_700_000_000_000_000_000, received: .max)
            if let found { _ = FabricChecks.clocks(offset: found.offset, uncertainty: found.uncertainty) }
        }
        #expect(FabricChecks.compare(clock: .min, sent: 4, received: 8) == nil)
        #expect(FabricChecks.compare(clock: 7, sent: 8, received: 4) == nil)
        #expect(FabricChecks.compare(clock: 7, sent: .max, received: .min) == nil)
        let found = FabricChecks.compare(clock: 16, sent: 4, received: 8)
        #expect(found?.offset == 10 && found?.uncertainty == 2)
        #expect(FabricChecks.clocks(offset: .min, uncertainty: 0).verdict == .warn)
        #expect(FabricChecks.clocks(offset: .max, uncertainty: .max).verdict == .ok)
    }

    /// The machine and the name of a check are the target's word.
    @Test func checksThatAreNotTheTargets() throws {
        var unknown = ReportedCheck(.log, .target, .ok, "")
        unknown.check = "made-up"
        let findings = DoctorFindings(
            checks: [ReportedCheck(.log, .initiator, .fail, "x", remedy: "y"), unknown], refusals: [])
        #expect(findings.checksOfTarget == [ReportedCheck(.log, .target, .fail, "x", remedy: "y")])
    }

    @Test func clocks() {
        let second: Int64 = 1_000_000_000
        #expect(FabricChecks.clocks(offset: second, uncertainty: 0).verdict == .ok)
        #expect(FabricChecks.clocks(offset: -9 * second, uncertainty: 8 * second).verdict == .ok)
        let wrong = FabricChecks.clocks(offset: -3 * second, uncertainty: 1000)
        #expect(wrong.verdict == .warn && wrong.found.contains("3000 ms behind"))
        #expect(wrong.remedy?.contains("`sudo timedatectl set-ntp true`") == true)
    }

    @Test func libfabric() {
        func check(_ reason: String) -> ReportedCheck {
            FabricChecks.unusableLibrary(.initiator, FabricError(.loadLibrary, code: ENOSYS, detail: reason))
        }
        let missing = check("libfabric.so.1: cannot open shared object file: No such file or directory")
        #expect(missing.verdict == .fail && missing.remedy == "`sudo apt-get install libfabric1`")
        let broken = check("/srv/libfabric.so.1: file too short")
        #expect(broken.found == "libfabric cannot be loaded: /srv/libfabric.so.1: file too short")
        #expect(broken.remedy == "remove /srv/libfabric.so.1, or take its directory out of LD_LIBRARY_PATH")
        // As a program's error has it.
        let error = FabricError(.loadLibrary, code: ENOSYS, detail: "/usr/lib/libfabric.so.1: file too short")
        #expect(
            "\(error)"
                == "loading libfabric.so.1: /usr/lib/libfabric.so.1: file too short: `apt-get install --reinstall libfabric1`"
        )
    }
}

/// Files in a directory that stands for a machine's root.
final class Tree {
    private let directory = TemporaryDirectory("doctor")
    var tree: SystemTree { SystemTree(root: directory.path) }

    init(_ files: [String: String]) throws {
        for (path, text) in files { try add(path, text) }
    }

    func add(_ path: String, _ text: String) throws {
        try makeParents(of: path)
        try write("\(text)\n", to: directory.file(path))
    }

    func link(_ path: String, to other: String) throws {
        try makeParents(of: path)
        #expect(symlink(directory.file(other), directory.file(path)) == 0)
    }

    private func makeParents(of path: String) throws {
        var prefix = ""
        for component in path.split(separator: "/").dropLast() {
            prefix += "\(prefix.isEmpty ? "" : "/")\(component)"
            mkdir(directory.file(prefix), 0o755)
        }
    }
}
