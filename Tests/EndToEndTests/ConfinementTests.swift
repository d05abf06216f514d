import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// What a session can still do once its pool is open. `Programs/planted.c` makes calls that no session makes, on a worker's thread.
@Suite(
    .disabled(if: Sanitizer.isOn, "a sanitizer's runtime needs other system calls, so its daemon is not confined"))
struct ConfinementTests {
    /// A page that only the planted call looks at, and what makes it act.
    private static let page: UInt64 = 1 << 20
    private static let trigger: [UInt8] = [0xEE, 1, 2, 3]

    private let target: Target
    /// Of `planted.c`.
    private let library: String

    init() throws {
        target = try Target()
        try target.addSet("one.set", "10M %/one")
        try target.addSet("two.set", "10M %/two")
        library = "\(target.path)/planted.so"
        let source = "\(Binaries.packageDirectory)/Tests/EndToEndTests/Programs/planted.c"
        let compiler = try ChildProcess(
            ["\(Tools.directory)/gcc", "-shared", "-fPIC", "-o", library, source],
            environment: ["PATH": Tools.searchPath])
        guard try compiler.wait() == .exited(0) else { throw TestSupportError("gcc: \(compiler.errorText)") }
    }

    private func session(planting call: String, file: String = "") throws -> Session {
        try target.session(environment: [
            "LD_PRELOAD": library, "RPMEM_TEST_PLANTED": call, "RPMEM_TEST_FILE": file,
        ]).ready()
    }

    /// Creates the pool, makes a range durable, and then has the call made.
    ///
    /// - Returns: nil when the request that made the call was answered, and the error of the lane otherwise.
    private func plant(
        in session: Session, _ provider: Provider
    ) throws -> (client: LaneClient, error: (any Error)?) {
        let (lanes, _) = try session.pool(.create("one.set", size: 8 << 20, lanes: 1, provider: provider))
        let client = try LaneClient(provider, lanes)
        try client[0].write([7, 8, 9], at: 65536)
        #expect(try client[0].persist(.write, at: 65536, size: 3) == PersistResponse(lane: 0))
        do {
            try client[0].write(Self.trigger, at: Self.page)
            _ = try client[0].persist(.write, at: Self.page, size: 4)
            return (client, nil)
        } catch {
            return (client, error)
        }
    }

    // MARK: System calls

    @Test(
        .enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"),
        arguments: [
            "execve", "clone", "ptrace", "process_vm_readv", "socket", "kill", "tgkill", "mount", "bpf", "keyctl",
            "io_uring_setup", "prctl", "prlimit64", "fcntl", "ioctl", "unshare", "setns", "socketpair",
        ])
    func aPlantedCallEndsItsSessionAlone(_ call: String) throws {
        let other = try target.session().ready()
        let (otherLanes, _) = try other.pool(.create("two.set", size: 8 << 20, lanes: 1, provider: .tcp))
        let otherClient = try LaneClient(.tcp, otherLanes)

        let session = try session(planting: call)
        let (_, error) = try plant(in: session, .tcp)
        #expect(error != nil, "the request with the planted call is acknowledged")
        try session.expectEnd(1)
        let errors = try session.messages("err")
        #expect(
            errors.count == 1 && errors[0].hasPrefix("system call ") && errors[0].contains("(\(call))"), "\(errors)")
        #expect(!session.process.errorText.contains("planted"), "the call came back")
        #expect(try target.isDirty("one"))
        #expect(try target.bytes(of: "one", at: 65536, count: 3) == [7, 8, 9])

        // The other session does not notice.
        try otherClient[0].write([1], at: 65536)
        #expect(try otherClient[0].persist(.deep, at: 65536, size: 1) == PersistResponse(lane: 0))
        otherClient.shutDown()
        try other.close()
        try target.expectOpens("one.set", size: 8 << 20)
    }

    /// Threads are needed, and clone(2) takes more flags with them.
    @Test(.enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"))
    func aThreadGetsNoNamespaceOfItsOwn() throws {
        let session = try session(planting: "namespace")
        let (_, error) = try plant(in: session, .tcp)
        #expect(error != nil && !session.process.errorText.contains("planted"), "\(session.process.errorText)")
        try session.expectEnd(1)
        #expect(try session.messages("err").contains { $0.contains("(clone)") })
    }

    /// A taken process could hide the signal that tells of it.
    @Test(.enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"))
    func aHandlerOfSIGSYSIsNotTaken() throws {
        let session = try session(planting: "rt_sigaction")
        let (_, error) = try plant(in: session, .sockets)
        #expect(error != nil)
        #expect(try session.end().ending == .signalled(SIGSYS))
        #expect(try target.isDirty("one"))
    }

    /// glibc takes clone(2) instead, and a library that cannot be loaded is an error of its caller's.
    @Test(
        .enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"),
        arguments: [
            ("clone3", "ENOSYS"), ("mmap", "EPERM"), ("stream", "EACCES"), ("datagrams", "done"),
        ])
    func someCallsFailInstead(_ call: String, _ code: String) throws {
        try expect(call, code)
    }

    /// A session over sockets may have sockets of its own: libfabric makes one for each lane. Landlock keeps them from connecting.
    @Test(
        .enabled(if: FileRules.version >= 4, "this kernel's Landlock has no rule about connections"),
        arguments: loopbackProviders)
    func noNewConnectionIsMade(_ provider: Provider) throws {
        let listener = try LoopbackListener()
        let session = try session(planting: "connect", file: "\(listener.port)")
        let (client, error) = try plant(in: session, provider)
        if provider == .sockets {
            #expect(error == nil, "\(session.process.errorText)")
            client.shutDown()
            try session.close()
            #expect(session.process.errorText.contains("planted connect: EACCES\n"), "\(session.process.errorText)")
        } else {
            // There is no socket to connect.
            #expect(error != nil)
            try session.expectEnd(1)
            #expect(try session.messages("err").contains { $0.contains("(socket)") })
        }
        #expect(!listener.wasConnected)
    }

    /// Without confinement the same call connects.
    @Test func theConnectionIsPossibleWithoutConfinement() throws {
        let listener = try LoopbackListener()
        try target.configure(["confinement = no"])
        try expect("connect", "done", file: "\(listener.port)")
        #expect(listener.wasConnected)
    }

    // MARK: Digests

    /// Runs `rpmemd --digest` over a pool of which a block plants the call.
    private func digest(
        planting call: String, file: String = ""
    ) throws -> (ending: ChildProcess.Ending?, output: [UInt8], errors: String) {
        try target.makePool("one.set", size: 8 << 20)
        try target.overwrite("one", at: 2 << 20, with: Self.trigger)
        let process = try ChildProcess(
            [Binaries.rpmemd, "--config", target.configuration, "--digest", "one.set"],
            environment: ["LD_PRELOAD": library, "RPMEM_TEST_PLANTED": call, "RPMEM_TEST_FILE": file])
        try process.send(Array((String(repeating: "5a", count: 32) + "\n").utf8))
        let output = try process.receive(1 << 20)
        return (try process.wait(), output, process.errorText)
    }

    @Test(
        .enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"),
        arguments: ["execve", "clone", "socket", "kill", "mount", "unshare", "bpf", "prctl"])
    func aPlantedCallEndsItsDigestAlone(_ call: String) throws {
        let (ending, output, errors) = try digest(planting: call)
        #expect(ending == .exited(1) && !errors.contains("planted"), "\(errors)")
        let lines = try target.log().filter { $0.level == "err" }
        #expect(
            lines.count == 1 && lines[0].message.hasPrefix("digests of one.set: system call ")
                && lines[0].message.contains("(\(call))"), "\(lines)")
        // The frame that ends the digests has no digest.
        #expect(output.suffix(4) != [0, 0, 0, 0])
        try target.expectOpens("one.set", size: 8 << 20)
    }

    @Test(.enabled(if: FileRules.areThere, "this kernel has no Landlock"), arguments: ["open", "create", "unlink"])
    func otherFilesAreOutOfReachOfADigest(_ call: String) throws {
        let secret = "\(target.path)/secret"
        if call != "create" { try write("secret", to: secret) }
        let (ending, _, errors) = try digest(planting: call, file: secret)
        #expect(ending == .exited(0) && errors.contains("planted \(call): EACCES\n"), "\(errors)")
        #expect(unlink(secret) == (call == "create" ? -1 : 0))
    }

    @Test func theSettingTurnsTheDigestsConfinementOffWithAWarning() throws {
        try target.configure(["confinement = no"])
        let (ending, _, errors) = try digest(planting: "open", file: target.configuration)
        #expect(ending == .exited(0) && errors.contains("planted open: done\n"), "\(errors)")
        #expect(try target.log().contains { $0.level == "warn" && $0.message.hasPrefix("confinement = no (") })
    }

    // MARK: Files

    @Test(
        .enabled(if: FileRules.areThere, "this kernel has no Landlock"), arguments: ["open", "create", "unlink"])
    func otherFilesAreOutOfReach(_ call: String) throws {
        let secret = "\(target.path)/secret"
        // A file that CREATE's directory does not have.
        if call != "create" { try write("secret", to: secret) }
        try expect(call, "EACCES", file: secret)
        #expect(unlink(secret) == (call == "create" ? -1 : 0))
    }

    /// The kernel's memory is for root alone; Landlock lets a session read what is below /proc.
    @Test(
        .enabled(if: geteuid() == 0, "only root starts daemons of other users"),
        arguments: ["/proc/kcore", "/proc/1/mem"])
    func anOrdinaryUserReadsNoMemoryOfTheKernel(_ file: String) throws {
        for name in [target.parts, target.logFile] {
            if name == target.logFile { try write("", to: name) }
            #expect(chown(name, 65534, 65534) == 0)
        }
        chmod(library, 0o755)
        let session = try target.sessionOfNobody(environment: [
            "LD_PRELOAD": library, "RPMEM_TEST_PLANTED": "open", "RPMEM_TEST_FILE": file,
        ]).ready()
        let (client, error) = try plant(in: session, .tcp)
        #expect(error == nil, "\(session.process.errorText)")
        client.shutDown()
        try session.close()
        let text = session.process.errorText
        #expect(text.contains("planted open: EACCES\n") || text.contains("planted open: ENOENT\n"), "\(text)")
    }

    /// The tests above show something: without confinement the same calls are carried out.
    @Test(arguments: [("open", "done"), ("clone3", "EINVAL"), ("mmap", "done")])
    func theSettingTurnsItOffWithAWarning(_ call: String, _ result: String) throws {
        try target.configure(["confinement = no"])
        let session = try expect(call, result, file: target.configuration)
        let warnings = try session.messages("warn")
        #expect(
            warnings.contains { $0.hasPrefix("confinement = no (\(target.configuration):4): the session keeps all") },
            "\(warnings)")
    }

    /// Plants a call that comes back, and expects this of it. The session goes on.
    @discardableResult
    private func expect(_ call: String, _ result: String, file: String = "") throws -> Session {
        let session = try session(planting: call, file: file)
        let (client, error) = try plant(in: session, .tcp)
        #expect(error == nil, "\(session.process.errorText)")
        client.shutDown()
        try session.close()
        #expect(session.process.errorText.contains("planted \(call): \(result)\n"), "\(session.process.errorText)")
        return session
    }

    // MARK: The process

    /// Every thread has the filter, those of the provider and those that start later included.
    @Test(.enabled(if: CallFilter.isThere, "this kernel has no seccomp filters"), arguments: loopbackProviders)
    func everyThreadIsConfined(_ provider: Provider) throws {
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", size: 8 << 20, lanes: 2, provider: provider))
        let client = try LaneClient(provider, lanes)
        #expect(try client[0].persist(.write, at: 65536, size: 3) == PersistResponse(lane: 0))
        let process = "/proc/\(session.process.identifier)"
        let threads = TemporaryDirectory.entries(of: "\(process)/task")
        #expect(threads.count > 2)
        for thread in threads {
            let status = try text(of: "\(process)/task/\(thread)/status")
            #expect(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "\(status)")
        }
        let limits = try text(of: "\(process)/limits").split(separator: "\n").map { $0.split(separator: " ") }
        #expect(limits.contains { $0.prefix(6) == ["Max", "core", "file", "size", "0", "0"] }, "\(limits)")
        client.shutDown()
        try session.close()
        let line = try session.messages("info").first { $0.hasPrefix("confined: ") } ?? ""
        #expect(line.contains("no core files") && line.contains("system calls"), "\(line)")
        if FileRules.areThere { #expect(line.contains("Landlock"), "\(line)") }
    }

    /// The kernel gives the files of a process that is not dumpable to root.
    @Test(.enabled(if: geteuid() == 0, "only root starts daemons of other users"))
    func noOtherProcessOfTheUserReadsItsMemory() throws {
        for name in [target.parts, target.logFile] {
            if name == target.logFile { try write("", to: name) }
            #expect(chown(name, 65534, 65534) == 0)
        }
        let session = try target.sessionOfNobody().ready()
        _ = try session.pool(.create("one.set", size: 8 << 20, lanes: 1))
        var status = stat()
        #expect(stat("/proc/\(session.process.identifier)/mem", &status) == 0)
        #expect(status.st_uid == 0)
        try session.close()
    }

    /// A kernel without Landlock and seccomp, as the daemon sees it.
    @Test func anOlderKernelDoesWithout() throws {
        let session = try target.session(environment: [
            "LD_PRELOAD": library, "RPMEM_TEST_LACKS": "1",
        ]).ready()
        let (_, error) = try plant(in: session, .tcp)
        #expect(error == nil)
        try session.close()
        let lines = try session.messages("info")
        for call in ["landlock_create_ruleset", "seccomp"] {
            #expect(
                lines.contains { $0.contains("less confined") && $0.contains("this kernel has no \(call)") }, "\(lines)"
            )
        }
        #expect(lines.contains("confined: no new privileges, no core files"))
        #expect(try session.messages("warn") == [])
    }

    private func text(of path: String) throws -> String {
        String(decoding: try readFile(try Descriptor.open(path, O_RDONLY), limit: 1 << 20), as: UTF8.self)
    }
}

/// Whether this kernel has seccomp filters.
private enum CallFilter {
    static let isThere = access("/proc/sys/kernel/seccomp/actions_avail", F_OK) == 0 && SystemCallFilter.isPossible
}

/// Whether this kernel has Landlock.
private enum FileRules {
    static var areThere: Bool { version > 0 }

    /// Of Landlock; 0 without it.
    static let version: Int = {
        do throws(SystemCallError) { return try PathConfinement().version } catch { return 0 }
    }()
}

/// A port of 127.0.0.1 that connections can be made to.
private final class LoopbackListener {
    private let socket: Descriptor
    let port: UInt16

    init() throws {
        let number = Glibc.socket(
            AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemCallError.last("socket") }
        socket = Descriptor(owning: number)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(number, $0, size) != 0 || listen(number, 8) != 0 || getsockname(number, $0, &size) != 0
            }
        }
        if failed { throw SystemCallError.last("bind") }
        port = UInt16(bigEndian: address.sin_port)
    }

    /// Whether there was a connection.
    var wasConnected: Bool {
        let connection = accept(socket.number, nil, nil)
        if connection >= 0 { close(connection) }
        return connection >= 0
    }
}
