import FoundationEssentials
import Glibc
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

@testable import rpmemctl

/// The documents, and what rpmemctl(1) says of them.
@Suite struct ReportDocumentTests {
    // MARK: Samples with a value in each field

    private static var holder: ReportedHolder {
        var holder = ReportedHolder(process: 1, command: "c", user: "u")
        holder.session = "s"
        holder.peer = "p"
        return holder
    }
    private static let extent = ReportedExtent(offset: 1, length: 2)
    private static let header = ReportedHeader(
        signature: "s", major: 1, compatFeatures: 1, incompatFeatures: 2, roCompatFeatures: 3, features: ["F"],
        poolSetUUID: "p", uuid: "u", previousPartUUID: "a", nextPartUUID: "b", previousReplicaUUID: "c",
        nextReplicaUUID: "d", created: 4, userFlags: "f", checksumValid: true)
    private static let state = ReportedShutdownState(
        dirty: true, checksumValid: true, unsafeShutdowns: 1, unsafeShutdownsNow: 2, sameDevices: false)
    private static let mapping = ReportedMapping(
        kind: .deviceDAX, persist: .drain, eADR: true, persistAPM: "auto", method: "APM", methodOverTCP: "GPSPM")
    private static let finding = ReportedFinding(
        severity: .error, code: "c", part: "p", message: "m", remedy: "r", repair: "x")
    private static let file = RemovedFile(path: "p", effect: .clearHeader, size: 1)
    private static let stage = PingReport.PingStage(name: "n", nanoseconds: 1)
    private static let persists = PingReport.PersistTimes(
        count: 1, bytes: 2, first: 3, minimum: 4, median: 5, p99: 6, maximum: 7)

    private static let latencies = BenchDocument.Bucket(fromNanoseconds: 1, toNanoseconds: 2, count: 3)
    private static let figure = BenchDocument.Figure(
        operation: "persist", mode: "relaxed", bytes: 1, lanes: 2, operations: 3, operationsPerSecond: 4,
        bytesPerSecond: 5, latencyNanoseconds: ["p50": 6], histogram: [latencies], baselineNanoseconds: ["p50": 7],
        baselineOperationsPerSecond: 8, ratio: 9, throughputRatio: 10)

    private static var pool: ReportedPool {
        var pool = ReportedPool(name: "n", path: "p", kind: .set, state: .inUse)
        pool.owner = "o"
        pool.options = ["SINGLEHDR"]
        pool.size = 1
        pool.usableSize = 2
        pool.parts = 3
        pool.devices = 4
        pool.created = 5
        pool.signature = "s"
        pool.poolSetUUID = "u"
        pool.holder = holder
        pool.persistentMemory = true
        pool.applianceMethodPossible = true
        pool.badBlocks = 6
        pool.unsafeShutdowns = 7
        pool.problem = "x"
        return pool
    }

    private static var part: ReportedPart {
        var part = ReportedPart(path: "p", kind: .file)
        part.line = 1
        part.configuredSize = 2
        part.size = 3
        part.mappedFrom = 4
        part.mappedLength = 5
        part.header = header
        part.badBlocks = [extent]
        part.region = "region0"
        part.persistenceDomain = "cpu_cache"
        part.problem = "x"
        return part
    }

    private static let list = PoolListReport(rpmemd: "1", directory: "d", truncated: false, pools: [pool])
    private static let info = PoolInfoReport(
        rpmemd: "1", pool: pool, parts: [part], shutdownState: state, mapping: mapping)
    private static let check = PoolCheckReport(rpmemd: "1", pool: pool, findings: [finding], repairPlan: "0")
    private static let removal = PoolRemovalReport(rpmemd: "1", name: "n", files: [file], missing: ["m"], left: ["l"])
    private static let times = ReportedTimes(requests: [1, 2], nanoseconds: 3)
    private static var endedSessions: EndedSessions {
        var ended = EndedSessions()
        ended.persistTimes = times
        ended.resumed = 4
        return ended
    }
    private static var requests: ReportedPersists {
        var requests = ReportedPersists()
        requests.batches = 1
        return requests
    }
    private static let session = ReportedSession(
        session: "s", state: .running, process: 1, user: "u", peer: "p", poolSet: "a", poolSetUUID: "u", since: 2,
        provider: "tcp", method: "APM", lanesGranted: 3, lanesConnected: 4, lanesEverConnected: 5, lanesRefused: 6,
        droppedPackets: 7, persists: requests, persistTimes: times, resumes: 8, idleNanoseconds: 9)
    private static var status: StatusReport {
        var status = StatusReport(
            rpmemd: "1", clock: 1, directories: ["d"], truncated: false, sessions: [session], ended: endedSessions,
            problems: ["p"])
        status.endedUnknown = true
        status.restrictedTo = ["r"]
        return status
    }
    private static let ping = PingReport(
        target: "t", poolSet: "p", provider: "tcp", method: "APM", lanes: 1, created: true, stages: [stage],
        totalNanoseconds: 1, persists: persists)

    private static let range = ReportedRange(offset: 1, length: 2)
    private static let comparison = ReportedComparison(
        local: "l", target: "t", poolSet: "p", poolSetUUID: "u", identified: true, same: false, halfWritten: .target,
        from: 1, to: 2, blockSize: 3, differingBlocks: 4, differingBytes: 5, ranges: [range], truncated: true)
    private static let sync = PoolSyncReport(direction: .toTarget, comparison: comparison)

    private static var doctor: DoctorReport {
        var doctor = DoctorReport(rpmemctl: "1", target: "t", poolSet: "p")
        doctor.rpmemd = "1"
        doctor.provider = "tcp"
        doctor.clockOffset = -1
        doctor.checks = [result]
        return doctor
    }

    private static let result = ReportedCheck(.name, .target, .warn, "f", remedy: "r")

    private static let bench = BenchDocument(
        target: "t", provider: "tcp", method: "APM", baseline: "loopback", baselineReason: "r", figures: [figure])

    /// Each object that a document may have, by the heading of its section in the man page.
    private static var samples: [(section: String, sample: any Encodable)] {
        [
            ("document of list", list), ("document of info", info), ("document of check", check),
            ("document of status", status), ("session", session), ("ended sessions", endedSessions),
            ("persist requests", requests), ("times of persist requests", times),
            ("document of remove", removal), ("document of ping", ping), ("document of bench", bench),
            ("document of doctor", doctor), ("result", result), ("pool", pool),
            ("document of verify", PoolVerifyReport(comparison)), ("document of sync", sync),
            ("comparison", comparison), ("range", range),
            ("holder", holder), ("part", part),
            ("bad block", extent), ("header", header), ("shutdown state", state), ("mapping", mapping),
            ("finding", finding), ("file", file), ("stage", stage), ("persists", persists),
            ("figure", figure), ("range of latencies", latencies),
        ]
    }

    /// Version 1. A field that leaves this list, or changes its name, needs a new version.
    @Test func theFieldsAreThoseOfVersion1() throws {
        #expect(reportVersion == 1)
        let page = try manualPage()
        var sections = 0
        for (section, sample) in Self.samples {
            // Every property is a field, and has a value in the sample.
            let properties = Mirror(reflecting: sample).children.compactMap(\.label)
            let text = jsonText(AnyEncodable(sample))
            for property in properties { #expect(text.contains("\"\(property)\":"), "\(section): \(property)") }
            #expect(page[section] == properties, "\(section)")
            sections += 1
        }
        #expect(page.count == sections)
    }

    /// The names of the fields in each section about JSON.
    private func manualPage() throws -> [String: [String]] {
        let bytes = try readFile(
            Descriptor.open("\(Binaries.packageDirectory)/man/rpmemctl.1", O_RDONLY), limit: 1 << 20)
        var fields: [String: [String]] = [:]
        var section: String?
        var isTag = false
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            if line.hasPrefix(".SS The "), line.hasSuffix(" in JSON") {
                section = String(line.dropFirst(8).dropLast(8))
                fields[section ?? ""] = []
            } else if line.hasPrefix(".SH") || line.hasPrefix(".SS") {
                section = nil
            } else if isTag, let section {
                fields[section]?.append(String(line.dropFirst(3)))
            }
            isTag = line == ".TP"
        }
        return fields
    }

    /// The daemon's encoder against Foundation's decoder.
    @Test func whatTheDaemonWritesReadsBack() throws {
        func expectSame<Document: Report>(_ document: Document) throws {
            let text = jsonText(document)
            #expect(!text.contains("\n"))
            let back = try JSONDecoder().decode(Document.self, from: Data(text.utf8))
            #expect(jsonText(back) == text)
            #expect(back.version == 1 && back.command == Document.command)
        }
        try expectSame(Self.list)
        try expectSame(Self.info)
        try expectSame(Self.check)
        try expectSame(Self.status)
        try expectSame(Self.removal)
        try expectSame(Self.ping)
        try expectSame(Self.bench)
        try expectSame(Self.doctor)
        try expectSame(PoolVerifyReport(Self.comparison))
        try expectSame(Self.sync)
        try expectSame(
            DigestHead(
                rpmemd: "1", frames: 1, size: .max, blockSize: 65536, first: 4096, ignored: [6688, 8192],
                attributes: "00"))
        try expectSame(DoctorGreeting(rpmemd: "1"))
        try expectSame(
            DoctorOffer(
                listeners: [DoctorListener(provider: "tcp", port: 1, problem: "p", setting: "s")], requiresSecret: true)
        )
        try expectSame(DoctorClock(realtime: .min))
        try expectSame(DoctorFindings(checks: [Self.result], refusals: [DoctorRefusal(.peer, provider: "tcp", "r")]))
        try expectSame(
            PoolListReport(
                rpmemd: "\u{0}\u{1b}[31m\"\\\u{202e}\u{7f}é漢😀\u{fffd}", directory: "", truncated: true, pools: []))
        var extremes = Self.pool
        extremes.size = .max
        extremes.holder?.process = .min
        try expectSame(PoolListReport(rpmemd: "", directory: "/", truncated: true, pools: [extremes]))
    }

    @Test func textIsSafeForTerminals() {
        let text = jsonText("\u{0}\u{1b}\u{7f}\u{9b}\u{202e}\u{2028}\u{e0001}é漢")
        #expect(text == #""\u0000\u001b\u007f\u009b\u202e\u2028\udb40\udc01é漢""#)
    }

    /// The reason names the value that a field may not have.
    @Test func aDocumentThatCannotBeReadIsSafeForTerminals() throws {
        let text = jsonText(Self.status).replacing("\"running\"", with: #""\u001b[2J\u009b31m\u000a\u202e""#)
        let error = #expect(throws: ToolError.self) {
            _ = try TargetQuery.decode(text, as: StatusReport.self, of: "host")
        }
        let description = try #require(error).description
        #expect(description.contains("[2J"), "\(description)")
        #expect(description == escapingControls(description), "\(description)")
    }

    @Test func fieldsWithoutAValueAreLeftOut() {
        let text = jsonText(ReportedPool(name: "n", path: "p", kind: .plain, state: .empty))
        #expect(text == #"{"name":"n","path":"p","kind":"plain","state":"empty","options":[],"parts":0,"devices":0}"#)
    }

    // MARK: The rest of the man page

    @Test func theManualHasEveryStateCodeAndOption() throws {
        let bytes = try readFile(
            Descriptor.open("\(Binaries.packageDirectory)/man/rpmemctl.1", O_RDONLY), limit: 1 << 20)
        let text = String(decoding: bytes, as: UTF8.self).split(separator: "\\").joined()
        for state in ReportedPool.State.allCases { #expect(text.contains("\n.B \(state.rawValue)\n"), "\(state)") }
        for state in ReportedSession.State.allCases { #expect(text.contains("\n.B \(state.rawValue)\n"), "\(state)") }
        for verdict in ReportedCheck.Verdict.allCases {
            #expect(text.contains("fB\(verdict.rawValue)fR"), "\(verdict)")
        }
        for name in ReportedCheck.Name.allCases { #expect(text.contains("\n.B \(name.rawValue)\n"), "\(name)") }
        for code in PoolFindingCodes.all { #expect(text.contains(code), "\(code)") }
        for command in ["list", "info", "check", "status", "doctor", "verify", "sync", "remove"] {
            let process = try ChildProcess([Binaries.rpmemctl, "help", command], environment: [:])
            let help = String(decoding: try process.receive(1 << 16), as: UTF8.self)
            let options = Set(help.split(whereSeparator: { " \n[]():,.".contains($0) }).filter { $0.hasPrefix("--") })
            #expect(options.contains("--json"))
            for option in options where option != "--help" && option != "--version" {
                #expect(text.contains(option), "\(option) of \(command)")
            }
        }
    }
}

/// Encodes a value of any type.
private struct AnyEncodable: Encodable {
    let value: any Encodable
    init(_ value: any Encodable) { self.value = value }
    func encode(to encoder: any Encoder) throws { try value.encode(to: encoder) }
}
