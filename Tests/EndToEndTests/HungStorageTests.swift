import Fabric
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Storage that does not answer any more: fsfreeze(8) lets write faults wait in the kernel, where nothing interrupts them. The
/// session's end does not wait for it.
@Suite struct HungStorageTests {
    @Test(.enabled(if: FrozenDisk.skipReason == nil, "\(FrozenDisk.skipReason ?? "")"), .timeLimit(.minutes(10)))
    func theSessionEndsAllTheSame() async {
        await #expect(processExitsWith: .success) {
            try #require(PrivateMounts.enter() == nil)
            for provider in loopbackProviders { try expectEnd(by: "SIGTERM", provider) { $0.process.signal(SIGTERM) } }
            try expectEnd(by: "CLOSE", .sockets) { try $0.send(Request.close([]).encode()) }
            try expectEnd(by: "loss of the initiator", .sockets) { $0.process.closeInput() }
        }
    }

    /// CREATE and OPEN may take any time while an initiator waits for them. When it is gone, the daemon ends in bounded time.
    @Test(.enabled(if: FrozenDisk.skipReason == nil, "\(FrozenDisk.skipReason ?? "")"), .timeLimit(.minutes(10)))
    func anOpeningSessionEndsAllTheSame() async {
        await #expect(processExitsWith: .success) {
            try #require(PrivateMounts.enter() == nil)
            let target = try Target("peer-timeout = 1")
            let disk = try FrozenDisk(at: target.parts)
            try target.addSet("one.set", "40M %/part")
            try target.addSet("two.set", "40M %/other")
            try target.makePool("one.set")
            try disk.freeze(true)
            for (request, happen) in [
                (try Request.create("two.set"), { $0.process.signal(SIGTERM) }),
                (try Request.open("one.set"), { $0.process.closeInput() }),
            ] as [(Request, (Session) -> Void)] {
                let session = try target.session().ready()
                try session.send(request.encode())
                try session.waitForHungThread()
                happen(session)
                #expect(try session.process.receive(1 << 16, within: 60_000) == [])
                #expect(session.hasEndOfOutput)
                #expect(session.process.errorText.contains("storage hangs"), "\(session.process.errorText)")
                #expect(session.process.errorText.contains(".set"))
                try disk.freeze(false)
                #expect(try session.end().ending == .exited(1))
                try disk.freeze(true)
            }
            try disk.freeze(false)
            // Nothing is left that is in the way.
            try target.makePool("two.set")
            let again = try target.session().ready()
            _ = try again.pool(.open("one.set"))
            try again.close()
        }
    }
}

private func expectEnd(by cause: String, _ provider: Provider, _ happen: (Session) throws -> Void) throws {
    let target = try Target("peer-timeout = 1", "nthreads = 1")
    let disk = try FrozenDisk(at: target.parts)
    try target.addSet("one.set", "40M %/part")
    let session = try target.session().ready()
    let (lanes, _) = try session.pool(.create("one.set", lanes: 1, provider: provider))
    let client = try LaneClient(provider, lanes)
    _ = try client[0].persist(.inline, at: 8192, size: 4, data: [1, 2, 3, 4])
    try disk.freeze(true)
    try client[0].send(client[0].header(.inline, at: 16384, size: 4), [5, 6, 7, 8])
    try session.waitForHungThread()
    try happen(session)

    // Long before the storage answers: the control connection and the lane end, and nothing is acknowledged.
    #expect(try session.process.receive(1 << 16, within: 60_000) == [], "\(cause)")
    #expect(session.hasEndOfOutput, "\(cause)")
    #expect(throws: FabricError.self, "\(cause)") { try client[0].response() }
    #expect(session.process.errorText.contains("storage hangs"), "\(cause): \(session.process.errorText)")
    #expect(session.process.errorText.contains("\(target.parts)/part"))
    try disk.freeze(false)
    let (rest, ending) = try session.end()
    #expect(rest == [] && ending == .exited(1), "\(cause)")
    #expect(try session.messages("err").contains { $0.contains("storage hangs") })
    #expect(try target.isDirty("part"), "\(cause)")
}

extension Session {
    fileprivate func waitForHungThread() throws {
        let deadline = Deadline.after(milliseconds: 20_000)
        while !hasHungThread {
            if deadline.hasPassed { throw TestSupportError("no thread of the daemon waits for the storage") }
            usleep(5000)
        }
    }

    /// Whether a thread is in uninterruptible sleep.
    private var hasHungThread: Bool {
        let tasks = "/proc/\(process.identifier)/task"
        return TemporaryDirectory.entries(of: tasks).contains { task in
            guard let file = try? Descriptor.open("\(tasks)/\(task)/stat", O_RDONLY),
                let bytes = try? readFile(file, limit: 4096)
            else { return false }
            return String(decoding: bytes, as: UTF8.self).contains(") D ")
        }
    }

    fileprivate var hasEndOfOutput: Bool {
        guard (try? PollSet.wait(for: process.output, until: .now)) == true else { return false }
        var byte: UInt8 = 0
        return read(process.output, &byte, 1) == 0
    }
}

/// An ext4 on a loop device, mounted for the calling process only. Thawed and unmounted when its owner lets go of it.
private final class FrozenDisk {
    private let directory = TemporaryDirectory()
    private let path: String

    /// Why there can be none here; nil when there can.
    static let skipReason: String? = {
        if let reason = PrivateMounts.skipReason { return reason }
        for program in ["/usr/sbin/mkfs.ext4", "/usr/sbin/fsfreeze", "/usr/bin/mount"] where access(program, X_OK) != 0
        {
            return "needs \(program)"
        }
        if access("/dev/loop-control", R_OK | W_OK) != 0 { return "needs loop devices" }
        return nil
    }()

    init(at path: String) throws {
        self.path = path
        let image = directory.file("disk.img")
        do {
            let file = try Descriptor.open(image, O_RDWR | O_CREAT, mode: 0o600)
            guard ftruncate(file.number, 96 << 20) == 0 else { throw SystemCallError.last("ftruncate") }
        }
        try Self.run("/usr/sbin/mkfs.ext4", "-q", image)
        // The loop device goes with the mount.
        try Self.run("/usr/bin/mount", "-o", "loop", image, path)
    }

    deinit {
        try? freeze(false)
        PrivateMounts.unmount(path)
    }

    func freeze(_ isFrozen: Bool) throws { try Self.run("/usr/sbin/fsfreeze", isFrozen ? "-f" : "-u", path) }

    private static func run(_ command: String...) throws {
        let child = try ChildProcess(command, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
        let ending = try child.wait()
        guard ending == .exited(0) else {
            throw TestSupportError("\(command): \(String(describing: ending)): \(child.errorText)")
        }
    }
}
