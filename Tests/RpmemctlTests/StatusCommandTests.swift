import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `status` and `metrics` beside real sessions.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
    .enabled(if: OperatedTarget.hasMemory, "/dev/shm is no tmpfs"))
struct StatusCommandTests {
    let target: OperatedTarget

    init() throws { target = try OperatedTarget() }

    private func status(where isExpected: (StatusReport) -> Bool = { _ in true }) throws -> StatusReport {
        try target.status(where: isExpected)
    }

    private func log() throws -> String {
        String(decoding: try readFile(Descriptor.open(target.log, O_RDONLY), limit: 1 << 20), as: UTF8.self)
    }

    // MARK: Sessions

    @Test func aSessionIsShownWhileItCounts() throws {
        try target.makePool()
        #expect(try status().sessions == [])
        let session = try target.hold()
        let first = try status()
        let shown = try #require(first.sessions.first)
        #expect(first.sessions.count == 1 && shown.state == .running && shown.poolSet == "a.set")
        #expect(shown.peer == "127.0.0.1" && shown.provider == "tcp" && shown.method == "GPSPM")
        #expect(shown.lanesGranted == 1 && shown.lanesConnected == 1 && shown.lanesEverConnected == 1)
        let list = try target.run("list", target.address, "--json").document(PoolListReport.self)
        #expect(
            list.pools.first?.holder?.process == shown.process && list.pools.first?.poolSetUUID == shown.poolSetUUID)
        #expect(try log().contains("session=\(shown.session) "))
        let later = try status { $0.sessions.first?.persists.requests ?? 0 > shown.persists.requests }
        #expect(later.clock > first.clock)
        #expect(try #require(later.sessions.first).persists.bytes > shown.persists.bytes)
        let text = try target.run("status", target.address).output
        for word in ["SESSION", shown.session, "running", "127.0.0.1", "a.set", "1/1", "tcp, GPSPM"] {
            #expect(text.contains(word), "\(word): \(text)")
        }
        // The file is the user's own, and named by the id alone.
        #expect(TemporaryDirectory.entries(of: target.statusDirectory) == ["\(shown.session).session", "totals"])
        var state = stat()
        for name in TemporaryDirectory.entries(of: target.statusDirectory) {
            #expect(
                lstat("\(target.statusDirectory)/\(name)", &state) == 0 && state.st_mode & 0o777 == 0o600, "\(name)")
        }
        session.signal(SIGKILL)
        _ = try session.wait()
        let ended = try status { $0.sessions.isEmpty }
        #expect(ended.ended.failed == 1 && ended.ended.lanesEverConnected == 1)
        #expect(ended.ended.persists.requests >= later.sessions[0].persists.requests)
    }

    @Test func whatASessionHasPersistedIsCounted() throws {
        try target.makePool()
        let session = try target.hold(rounds: 20)
        let report = try status { $0.ended.closed == 1 }
        #expect(report.sessions == [] && report.ended.closed == 1 && report.ended.failed == 0)
        // 20 times 10 000 bytes; opening a pool persists nothing.
        #expect(report.ended.persists.bytes == 200_000 && report.ended.persists.requests >= 20, "\(report.ended)")
        #expect(TemporaryDirectory.entries(of: target.statusDirectory) == ["totals"])
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test func aRefusedSessionAndAViolationAreCounted() throws {
        _ = try? target.hold("missing.set")
        var report = try status { $0.ended.refused == 1 }
        #expect(report.ended.refused == 1 && report.ended.violations == 0)
        let daemon = try target.launch(["/bin/sh", "-c", "exec \(target.command)"])
        try daemon.send([UInt8](repeating: 0xff, count: 64))
        _ = try daemon.wait()
        report = try status { $0.ended.refused == 2 }
        #expect(report.ended.refused == 2 && report.ended.violations == 1)
    }

    @Test(.enabled(if: ProcessTitle.isPossible, "the kernel has no PR_SET_MM_MAP"))
    func psShowsThePoolSetAndThePeer() throws {
        try target.makePool()
        let session = try target.hold()
        let process = try #require(try status().sessions.first).process
        func words(_ file: String) throws -> [String] {
            try readFile(Descriptor.open("/proc/\(process)/\(file)", O_RDONLY), limit: 1 << 20).split(separator: 0)
                .map { String(decoding: $0, as: UTF8.self) }
        }
        #expect(try words("cmdline") == ["rpmemd: 127.0.0.1, pool set a.set"])
        #expect(try words("comm") == ["rpmemd\n"])
        #expect(try words("environ").contains("XDG_RUNTIME_DIR=\(target.runtime.path)"))
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test func aKilledDaemonLeavesARecordForTheNextSession() throws {
        try target.makePool()
        let session = try target.hold()
        let shown = try #require(try status().sessions.first)
        kill(shown.process, SIGKILL)
        session.signal(SIGKILL)
        _ = try session.wait()
        // A look changes nothing.
        for _ in 0..<2 {
            let report = try status { $0.sessions.first?.state != .running }
            #expect(report.sessions.map(\.state) == [.unclean] && report.sessions[0].session == shown.session)
            #expect(report.ended.unclean == 0)
        }
        #expect(try target.run("status", target.address).output.contains("process \(shown.process) was killed"))
        #expect(try metrics()["rpmemd_sessions_total{result=\"unclean\"}"] == 1)
        // The kernel gives the pool's lock back once the daemon has ended.
        let deadline = Deadline.after(milliseconds: 60_000)
        while try target.check().0.pool.state == .inUse, !deadline.hasPassed {}
        let next = try target.hold(rounds: 1)
        let report = try status { $0.ended.closed == 1 }
        #expect(report.sessions == [] && report.ended.unclean == 1 && report.ended.closed == 1, "\(report)")
        #expect(try metrics()["rpmemd_sessions_total{result=\"unclean\"}"] == 1)
        let lines = try log().split(separator: "\n").filter { $0.contains("session \(shown.session) of 127.0.0.1") }
        #expect(lines.count == 1 && lines[0].contains(" warn: "), "\(lines)")
        next.signal(SIGKILL)
        _ = try next.wait()
    }

    // MARK: Directories and files that are of no use

    @Test(arguments: ["missing", "on disk", "a file", "writable by others", "a link", "full"])
    func aSessionGoesOnWithoutStatus(_ fault: String) throws {
        try target.makePool()
        var runtime = target.runtime.path
        switch fault {
        case "missing": runtime = target.runtime.file("missing")
        case "on disk":
            runtime = target.directory.path
            let directory = try Descriptor.open(runtime, O_RDONLY)
            if rpmem_is_in_memory(directory.number) == 1 { return }
        case "a file": try write("", to: target.statusDirectory)
        case "writable by others":
            mkdir(target.statusDirectory, 0o700)
            chmod(target.statusDirectory, 0o777)
        case "a link":
            mkdir(target.runtime.file("other"), 0o700)
            symlink("other", target.statusDirectory)
        default:
            mkdir(target.statusDirectory, 0o700)
            for number in 0..<1100 {
                // Nobody knows who they are of, so no session removes them.
                symlink("nowhere", "\(target.statusDirectory)/\(name(number)).session")
            }
        }
        let command = target.command(runtime: runtime) + " --log-level info"
        let session = try target.hold(rounds: 5, command: command)
        #expect(try session.receive(7) == Array("closed\n".utf8))
        let expected = fault == "full" ? "does not show all of this session: " : "does not show this session: "
        let lines = try log().split(separator: "\n").filter { $0.contains("rpmemctl status ") }
        #expect(lines.count == 1 && lines[0].contains(" info: rpmemctl status \(expected)"), "\(lines)")
        let outcome = try target.run(["status", target.address, "--json"], environment: ["RPMEM_CMD": command])
        let report = try outcome.document(StatusReport.self)
        #expect(outcome.ending == .exited(0) && report.sessions == [], "\(outcome)")
        #expect(report.truncated == (fault == "full"))
        #expect(report.problems.isEmpty == ["missing", "on disk"].contains(fault), "\(report)")
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    private func name(_ number: Int) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    @Test func filesThatAreNoRecordsAreNamed() throws {
        try target.makePool()
        let session = try target.hold()
        let shown = try #require(try status().sessions.first)
        let whole = try readFile(
            Descriptor.open("\(target.statusDirectory)/\(shown.session).session", O_RDONLY), limit: 1 << 20)
        var files: [[UInt8]] = [
            [], [1], Array(whole.dropLast()), whole + [0], [UInt8](repeating: 0xff, count: whole.count),
        ]
        // Magic, version, count of workers, lengths of texts.
        for offset in [0, 8, 12, 15, 129, 193, 257, 321, 1025] {
            var bytes = whole
            bytes[offset] = 0xff
            files.append(bytes)
        }
        for (number, bytes) in files.enumerated() { try addFile(bytes, name(number)) }
        mkfifo("\(target.statusDirectory)/aaaaaaa0.session", 0o600)
        mkdir("\(target.statusDirectory)/aaaaaaa1.session", 0o700)
        symlink("/etc/passwd", "\(target.statusDirectory)/aaaaaaa2.session")
        let sparse = try Descriptor.open("\(target.statusDirectory)/aaaaaaa3.session", O_WRONLY | O_CREAT, mode: 0o600)
        ftruncate(sparse.number, 1 << 40)
        // Names that are no session's are nobody's business.
        for other in ["x.session", "AAAAAAAA.session", "aaaaaaaa.new", "\u{1b}[31m.session"] {
            try write("", to: "\(target.statusDirectory)/\(other)")
        }
        // Texts that would be terminal sequences.
        var hostile = whole
        for (index, byte) in "\u{1b}[2J\u{9b}\n\u{202e}".utf8.enumerated() { hostile[1026 + index] = byte }
        try addFile(hostile, "bbbbbbbb")
        let report = try status()
        #expect(report.problems.count == files.count + 4, "\(report.problems)")
        #expect(Set(report.sessions.map(\.state)) == [.running, .unclean] && report.sessions.count == 2)
        let text = try target.run("status", target.address).output
        #expect(!text.unicodeScalars.contains { $0 != "\n" && $0.properties.generalCategory == .control }, "\(text)")
        #expect(try metrics()["rpmemd_status_problems"] == UInt64(report.problems.count))
        // The totals are damaged, and the next session begins them anew.
        try write("damaged", to: "\(target.statusDirectory)/totals")
        #expect(try status().problems.contains { $0.contains("/totals: ") })
        session.signal(SIGKILL)
        _ = try session.wait()
        let ended = try status { $0.ended.failed == 1 }
        #expect(ended.ended.failed == 1 && !ended.problems.contains { $0.contains("/totals: ") })
    }

    private func addFile(_ bytes: [UInt8], _ name: String) throws {
        let file = try Descriptor.open("\(target.statusDirectory)/\(name).session", O_WRONLY | O_CREAT, mode: 0o600)
        try writeAll(bytes, to: file.number)
    }

    @Test func aHostileNameOfAPoolSetIsShownEscaped() throws {
        let name = "\u{1b}[31m..x\u{202e}\u{9b}.set"
        try target.makePool(name)
        let session = try target.hold(name)
        let shown = try #require(try status().sessions.first)
        let text = try target.run("status", target.address).output
        #expect(shown.poolSet.contains("..x") && text.contains("..x"))
        #expect(
            !(shown.poolSet + text).unicodeScalars.contains { $0 == "\u{1b}" || $0 == "\u{202e}" || $0 == "\u{9b}" })
        #expect(TemporaryDirectory.entries(of: target.statusDirectory) == ["\(shown.session).session", "totals"])
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    // MARK: Watching

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func aWatchEndsByASignal(_ number: Int32) throws {
        try target.makePool()
        let session = try target.hold()
        let watch = try target.launch(
            [Binaries.rpmemctl, "status", target.address, "--watch", "--interval", "0.1", "--json"])
        var output: [UInt8] = []
        while output.count(where: { $0 == UInt8(ascii: "\n") }) < 2 {
            let more = try watch.receive(1)
            try #require(!more.isEmpty, "\(watch.errorText)")
            output += more
        }
        watch.signal(number)
        #expect(try watch.wait() == .exited(128 + number))
        let clocks = String(decoding: output, as: UTF8.self).matches(of: /"clock":(\d+)/).compactMap { UInt64($0.1) }
        #expect(clocks.count >= 2 && clocks[0] < clocks[1])
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test(.enabled(if: access("/usr/bin/script", X_OK) == 0, "needs script"), arguments: [false, true])
    func aWatchLeavesTheTerminalAsItWas(_ plain: Bool) throws {
        try target.makePool()
        let session = try target.hold()
        let line = "trap : INT; stty -g; \(Binaries.rpmemctl) status --watch --interval 0.1; echo status $?; stty -g"
        let process = try target.launch(
            ["/usr/bin/script", "-qec", line, "/dev/null"],
            environment: ["TERM": "xterm", "SHELL": "/bin/sh", "NO_COLOR": plain ? "1" : ""])
        var output = ""
        while output.matches(of: /a\.set/).count < 2 {
            let more = try process.receive(1)
            try #require(!more.isEmpty, "\(output)")
            output += String(decoding: more, as: UTF8.self)
        }
        try process.send([3])
        output += String(decoding: try process.receive(1 << 20), as: UTF8.self)
        #expect(output.contains("status 130"), "\(output)")
        #expect(output.contains("\u{1b}[32m") == !plain && output.contains("IDLE"), "\(output)")
        // No alternate screen, no hidden cursor, no colour that stays.
        for sequence in ["\u{1b}[?", "\u{1b}7", "\u{1b}c"] { #expect(!output.contains(sequence)) }
        let colours = output.matches(of: /\u{1b}\[(\d+)m/).map { String($0.1) }
        #expect(colours.last == (plain ? nil : "0"))
        let modes = output.split(whereSeparator: \.isNewline).filter { $0.contains(/^[0-9a-f]+:[0-9a-f:]+$/) }
        #expect(modes.count == 2 && modes.first == modes.last, "\(modes)")
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test func optionsOfAWatchAreChecked() throws {
        for options in [["--interval", "1"], ["--watch", "--interval", "0"], ["--watch", "--interval", "4000"]] {
            #expect(try target.run(["status", target.address] + options).ending == .exited(64), "\(options)")
        }
    }

    // MARK: Metrics

    /// The samples of `metrics`, which must have the form of OpenMetrics 1.0.
    private func metrics() throws -> [String: UInt64] {
        let outcome = try target.run("metrics", target.address)
        #expect(outcome.ending == .exited(0), "\(outcome)")
        return try openMetrics(outcome.output)
    }

    @Test func metricsAreOpenMetricsAndGrow() throws {
        try target.makePool()
        let before = try metrics()
        #expect(before["rpmemd_pools{state=\"clean\"}"] == 1 && before["rpmemd_sessions_active"] == 0)
        #expect(before["rpmemd_build_info{version=\"\(projectVersion)\"}"] == 1)
        let session = try target.hold(rounds: 20)
        _ = try status { $0.ended.closed == 1 }
        let after = try metrics()
        #expect(after["rpmemd_sessions_total{result=\"closed\"}"] == 1 && after["rpmemd_lanes_opened_total"] == 1)
        #expect(after["rpmemd_sessions_resumed_total"] == 0)
        let bytes = ["relaxed", "inline", "deep"].compactMap { after["rpmemd_persist_bytes_total{mode=\"\($0)\"}"] }
        #expect(bytes.count == 3 && bytes.reduce(0, +) == 200_000)
        // One lane: no two requests share a batch.
        let requests = ["relaxed", "inline"].compactMap { after["rpmemd_persist_requests_total{mode=\"\($0)\"}"] }
        #expect(after["rpmemd_persist_batches_total"] == requests.reduce(0, +) && requests.reduce(0, +) >= 20)
        // The first of every 16 batches is timed; each limit counts those below it as well.
        let limits = (0..<22).map { "\(Double(1000 << $0) / 1e9)" } + ["+Inf"]
        let times = limits.compactMap { after["rpmemd_persist_duration_seconds_bucket{le=\"\($0)\"}"] }
        #expect(times.count == 23 && times == times.sorted(), "\(after)")
        #expect(times.last == after["rpmemd_persist_duration_seconds_count"] && times.last.map { $0 > 0 } == true)
        #expect(Set(before.keys) == Set(after.keys))
        session.signal(SIGKILL)
        _ = try session.wait()
    }
}

/// Parses text of OpenMetrics 1.0 strictly.
///
/// - Returns: The samples, by name with labels.
func openMetrics(_ text: String) throws -> [String: UInt64] {
    #expect(text.hasSuffix("\n# EOF\n"))
    var samples: [String: UInt64] = [:]
    var families: Set<Substring> = []
    var family: (name: Substring, type: Substring) = ("", "")
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for (number, line) in lines.enumerated() {
        if line == "# EOF" {
            #expect(number == lines.count - 2)
        } else if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|info|histogram)/) {
            family = (match.1, match.2)
            #expect(families.insert(family.name).inserted, "\(line)")
            #expect(!family.name.hasSuffix("_total") && !family.name.hasSuffix("_info"), "\(line)")
        } else if let match = line.wholeMatch(of: /# (?:HELP|UNIT) ([a-z_]+) .+/) {
            #expect(match.1 == family.name, "\(line)")
        } else if family.type == "histogram",
            let match = line.wholeMatch(of: /([a-z_]+)_(bucket\{le="[^"]+"\}|sum|count) ([0-9.e-]+)/)
        {
            #expect(match.1 == family.name, "\(line)")
            if match.2 == "sum" { continue }
            let count = try #require(UInt64(match.3), "\(line)")
            #expect(samples.updateValue(count, forKey: "\(match.1)_\(match.2)") == nil, "\(line)")
        } else if let match = line.wholeMatch(
            of: /(([a-z_]+)(\{[a-z]+="(?:[^"\\]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\]|\\[\\"n])*")*\})?) (\d+)/)
        {
            let suffix = ["counter": "_total", "info": "_info"][String(family.type)] ?? ""
            #expect(match.2 == family.name + suffix, "\(line)")
            #expect(samples.updateValue(try #require(UInt64(match.4)), forKey: String(match.1)) == nil, "\(line)")
        } else {
            #expect(line.isEmpty && number == lines.count - 1, "\(line)")
        }
    }
    return samples
}
