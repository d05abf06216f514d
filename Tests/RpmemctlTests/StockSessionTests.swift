import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// What an operator types while a program on Debian's libpmemobj has its replica open, in a pool that Debian's pmempool made. Neither
/// knows this project. `RPMEM_LIBRARY` names another librpmem.so.1 than the tests' own, such as PMDK's.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
    .enabled(if: OperatedTarget.hasMemory, "/dev/shm is no tmpfs"),
    .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct StockSessionTests {
    let target: OperatedTarget
    private let localSet: String
    private let program: String
    private let environment: [String: String]

    init() throws {
        target = try OperatedTarget()
        localSet = target.directory.file("local.set")
        program = target.directory.file("objects")
        let libraries = target.directory.file("libraries")
        mkdir(libraries, 0o755)
        symlink(Binaries.librpmem, "\(libraries)/librpmem.so.1")
        environment = ["LD_LIBRARY_PATH": libraries, "RPMEM_ENABLE_SOCKETS": "1", "RPMEM_ENABLE_TCP": "0"]
        try target.addSet("remote.set", "16M @/remote0", "16M @/remote1")
        try target.addSet("test.set", "8M @/test")
        try write(
            "PMEMPOOLSET\n16M \(target.directory.file("l0"))\n16M \(target.directory.file("l1"))\n"
                + "REPLICA \(target.address) remote.set\n", to: localSet)
        let source = "\(Binaries.packageDirectory)/Tests/CConsumerTests/Programs/objects.c"
        try finish(["\(Tools.directory)/gcc", "-O1", source, "-o", program, "-lpmemobj", "-lpmem", "-pthread"])
        try finish(["\(Tools.directory)/pmempool", "create", "obj", "--layout", "objects", localSet])
    }

    @discardableResult
    private func finish(_ command: [String]) throws -> String {
        let process = try target.launch(command, environment: environment)
        process.closeInput()
        let output = try process.finish(within: 120)
        let ending = try process.wait()
        guard ending == .exited(0) else { throw TestSupportError("\(command): \(process.errorText)") }
        return output
    }

    private func rpmemctl(
        _ words: [String], ends status: Int32 = 0, at location: SourceLocation = #_sourceLocation
    ) throws -> OperatedTarget.Outcome {
        let outcome = try target.run(words, environment: ["RPMEM_ENABLE_SOCKETS": "1"])
        #expect(outcome.ending == .exited(status), "\(words): \(outcome)", sourceLocation: location)
        return outcome
    }

    @Test func everyCommandBesideASessionOfLibpmemobj() throws {
        let held = try target.launch([program, "until", localSet, "2"], environment: environment)
        #expect(try held.receive(10) == Array("under way\n".utf8), "\(held.errorText)")
        let address = target.address

        // The sessions of pmempool have ended.
        let first = try target.status()
        let session = try #require(first.sessions.first)
        #expect(first.sessions.count == 1 && session.state == .running && session.poolSet == "remote.set")
        #expect(session.peer == "127.0.0.1" && session.provider == "sockets" && session.user == SystemUser.name)
        #expect(session.lanesConnected == UInt64(session.lanesGranted) && session.lanesGranted >= 2)
        let more = try target.status {
            $0.sessions.first?.persists.requests ?? 0 > session.persists.requests
        }
        #expect(more.sessions.first?.idleNanoseconds != nil)

        let pools = try rpmemctl(["list", address, "--json"]).document(PoolListReport.self).pools
        let pool = try #require(pools.first { $0.name == "remote.set" })
        #expect(pool.state == .inUse && pool.holder?.process == session.process && pool.holder?.peer == "127.0.0.1")
        #expect(pools.contains { $0.name == "test.set" && $0.state == .empty && $0.holder == nil })
        let row = try rpmemctl(["list", address]).output.split(separator: "\n").first { $0.hasPrefix("remote.set") }
        #expect(row?.hasSuffix("process \(session.process) (rpmemd) of \(session.user), initiator 127.0.0.1") == true)

        let info = try rpmemctl(["info", address, "remote.set", "--json"]).document(PoolInfoReport.self)
        #expect(info.pool.holder?.session == session.session && info.pool.signature == "PMEMOBJ")
        #expect(info.pool.poolSetUUID == session.poolSetUUID && info.shutdownState?.dirty == true)

        let check = try rpmemctl(["check", address, "remote.set", "--json"]).document(PoolCheckReport.self)
        #expect(check.findings.contains { $0.code == "in-use" } && !check.findings.contains { $0.severity == .error })

        let metrics = try openMetrics(try rpmemctl(["metrics", address]).output)
        #expect(metrics["rpmemd_sessions_active"] == 1 && metrics["rpmemd_pools{state=\"in use\"}"] == 1, "\(metrics)")
        #expect(metrics["rpmemd_lanes_connected"] == session.lanesConnected)

        let doctor = try rpmemctl(["doctor", address, "remote.set", "--json"]).document(DoctorReport.self)
        #expect(doctor.checks.contains { $0.check == "pool" && $0.verdict == .ok && $0.found.contains("in use") })

        for words in [
            ["remove", address, "remote.set", "--yes"], ["verify", localSet, address, "remote.set"],
            ["sync", localSet, address, "remote.set", "--to-target", "--yes"],
            ["ping", address, "remote.set", "--size", "16"],
        ] {
            let outcome = try rpmemctl(words, ends: 1)
            #expect(outcome.errors.contains("in use") || outcome.errors.contains("used by"), "\(words): \(outcome)")
        }
        let ping = try rpmemctl(["ping", address, "test.set", "--size", "8", "--json"]).document(PingReport.self)
        #expect(ping.created && ping.totalNanoseconds > 0)

        // Nothing of it was felt by the session: it persists, ends, and its replicas are the same.
        let before = try target.status()
        let after = try target.status {
            $0.sessions.first?.persists.requests ?? 0 > before.sessions.first?.persists.requests ?? 0
        }
        #expect(after.sessions.map(\.session) == [session.session])
        try held.send([10])
        #expect(try held.wait() == .exited(0), "\(held.errorText)")
        let ended = try target.status { $0.sessions.isEmpty }
        #expect(ended.sessions.isEmpty && ended.ended.failed == 0 && ended.ended.unclean == 0, "\(ended)")
        _ = try rpmemctl(["check", address, "remote.set"])
        #expect(try finish([program, "digest", localSet]).contains(" objects, digest "))
        let removal = try rpmemctl(["remove", address, "remote.set", "--yes", "--json"])
        #expect(try removal.document(PoolRemovalReport.self).files.count == 2)
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }
}

/// A file of the packages that these tests need; nil when all are there.
private let missingPackage: String? = ["/usr/bin/gcc", "/usr/bin/pmempool", "/usr/include/libpmemobj.h"].first {
    (path: String) in access(path, F_OK) != 0
}

/// The user of this process, as status shows it.
private enum SystemUser {
    static var name: String { getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())" }
}
