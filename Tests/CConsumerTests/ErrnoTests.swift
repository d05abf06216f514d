import Glibc
import SystemSupport
import TestSupport
import Testing

/// The sections ERRORS of rpmem_create(3) and rpmem_persist(3): each error that they list, by a call that fails with it.
@Suite("errors of the man pages", .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
struct ErrnoTests {
    /// An error of a page, and what makes a call fail with it.
    struct Row: Sendable, CustomTestStringConvertible {
        let page: String
        let errno: String
        /// Returns what the program printed; nil where another test has the error.
        let call: (@Sendable (Scene) throws -> String)?
        var testDescription: String { "\(page): \(errno)" }

        init(_ page: String, _ errno: String, _ call: (@Sendable (Scene) throws -> String)? = nil) {
            self.page = page
            self.errno = errno
            self.call = call
        }
    }

    static let rows = create + persist

    private static let create = [
        create("EINVAL") { $0.set = "/srv/pools/a.set" },
        create("EINVAL") { try $0.describe("OPTION SINGLEHDR", "4M %/a.part") },
        create("ENOENT") { $0.set = "none.set" },
        create("ENOENT") { $0.environment["RPMEM_SSH"] = "/nowhere/ssh" },
        create("EEXIST") { try $0.makePool("4M %/a.part") },
        create("EFBIG") { try $0.describe("2M %/a.part") },
        Row("rpmem_create.3", "EBUSY") { scene in
            try scene.makePool("4M %/a.part")
            let part = try Descriptor.open(scene.part, O_RDONLY)
            scene.companions.append(
                try ChildProcess(
                    ["/usr/bin/flock", "/proc/\(getpid())/fd/\(part.number)", "/bin/sh", "-c", "echo; exec cat"]))
            _ = try scene.companions[0].receive(1)
            defer { scene.companions[0].closeInput() }
            return try scene.session("open")
        },
        create("EACCES") { $0.settings = ["permissions = no-create"] },
        create("ENOMEDIUM") { $0.environment["RPMEM_ENABLE_SOCKETS"] = "0" },
        create("EMEDIUMTYPE") { $0.settings = ["providers = tcp"] },
        // A target that answers CREATE with status BADPROTO.
        create("EPROTONOSUPPORT") {
            try $0.answer(#"\0\0\0\0"#, #"\0\0\0\1\0\0\0\2"# + zeros(7) + #"\54"# + zeros(28))
        },
        create("ECONNABORTED") { $0.settings = ["in-band-address = 192.0.2.77"] },
        create("ECONNREFUSED") { scene in
            mkdir("\(scene.place.path)/jump", 0o755)
            scene.environment["RPMEM_SSH"] = try LocalSSH.write(
                in: "\(scene.place.path)/jump", client: "192.0.2.1", environment: [scene.place.mark])
            // Root's daemon has the kernel drop the lane instead.
            if geteuid() == 0 { scene.daemonPrefix = ["setpriv", "--bounding-set=-net_admin"] }
        },
        create("ECONNRESET") { $0.environment["RPMEM_CMD"] = "/nowhere/rpmemd" },
        create("EREMOTEIO") { try $0.describe("4P %/a.part") },
        create("EPROTO") { try $0.answer("Welcome!", "") },
        Row("rpmem_create.3", "EPROTO") { scene in
            try scene.makePool("4M %/a.part")
            scene.environment["RPMEM_SSH"] = "/bin/true"
            return try scene.session("remove")
        },
        Row("rpmem_create.3", "ETIMEDOUT") { try $0.errors("attributes", ["RPMEM_TIMEOUT": "1"]) { $0.stopDaemons() } },
        Row("rpmem_create.3", "EBADF") { try $0.errors("child-close") },
    ]

    /// A creation of a pool of 4 MiB, with a mistake.
    private static func create(_ errno: String, _ make: @escaping @Sendable (Scene) throws -> Void) -> Row {
        Row("rpmem_create.3", errno) { scene in
            try scene.describe("4M %/a.part")
            try make(scene)
            return try scene.session("create")
        }
    }

    private static func zeros(_ count: Int) -> String { String(repeating: #"\0"#, count: count) }

    private static let persist = [
        Row("rpmem_persist.3", "EINVAL") { try $0.errors("range") },
        Row("rpmem_persist.3", "EBUSY") { try $0.errors("twice") { $0.stopDaemons() } },
        Row("rpmem_persist.3", "ECONNRESET") {
            try $0.errors("persist") { scene in
                for daemon in scene.place.daemons() { kill(daemon, SIGKILL) }
            }
        },
        Row("rpmem_persist.3", "ETIMEDOUT") { try $0.errors("persist", ["RPMEM_TIMEOUT": "1"]) { $0.stopDaemons() } },
        // The device of a target reports it for an operation. LaneErrorTests has libfabric's codes.
        Row("rpmem_persist.3", "EREMOTEIO"),
        // LossTests has lanes on which something else arrives.
        Row("rpmem_persist.3", "EPROTO"),
        Row("rpmem_persist.3", "EBADF") { try $0.errors("child") },
    ]

    @Test("a call fails with each", arguments: rows) func aCallFailsWithIt(row: Row) throws {
        guard let printed = try row.call?(Scene()) else { return }
        #expect(printed.prefix { $0.isUppercase } == row.errno, "\(printed)")
    }

    @Test("the pages list them", arguments: ["rpmem_create.3", "rpmem_persist.3"]) func pageListsThem(page: String)
        throws
    {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/\(page)", O_RDONLY)
        let text = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        let section = try #require(text.firstMatch(of: /(?s)\.SH ERRORS\n(.*?)\n\.SH/)?.1)
        let listed = section.matches(of: /(?m)^\.TP\n\.B (E[A-Z]+)$/).map { String($0.1) }
        #expect(Set(listed).count == listed.count)
        #expect(Set(listed) == Set(Self.rows.filter { $0.page == page }.map(\.errno)))
    }
}

extension Scene {
    /// What `session` prints.
    fileprivate func session(_ action: String) throws -> String {
        try run([try Self.programs.get().session, action, target, set, "1", "\(size)"]).output
    }

    /// What `errors` prints when its pool is open and `meanwhile` is done.
    fileprivate func errors(
        _ call: String, _ environment: [String: String] = [:], meanwhile: (Scene) throws -> Void = { _ in }
    ) throws -> String {
        if access("\(place.sets)/a.set", F_OK) != 0 { try describe("4M %/a.part") }
        let process = try start([try Self.programs.get().errors, target, set, call], environment)
        defer { for daemon in place.daemons() { kill(daemon, SIGKILL) } }
        guard try process.receive(6) == Array("ready\n".utf8) else { throw TestSupportError(process.errorText) }
        try meanwhile(self)
        try process.send([10])
        let outcome = try Outcome(process)
        #expect(outcome.isSuccess, "\(outcome)")
        return outcome.output
    }

    fileprivate func stopDaemons() { for daemon in place.daemons() { kill(daemon, SIGSTOP) } }

    /// Has a script in the place of ssh print these, the second when a request arrives; in the form of printf(1).
    fileprivate func answer(_ first: String, _ second: String) throws {
        let script =
            "#!/bin/sh\nprintf '\(first)'\ndd bs=1 count=1 status=none >/dev/null\nprintf '\(second)'\ncat >/dev/null\n"
        try write(script, to: "\(place.path)/wrapper", mode: 0o755)
        environment["RPMEM_SSH"] = "\(place.path)/wrapper"
    }
}
