import TargetReports
import Testing

@testable import rpmemctl

/// The text of `metrics`, from documents that no machine of the tests gives.
@Suite struct MetricsTextTests {
    private func pool(_ name: String, badBlocks: UInt64?, unsafeShutdowns: UInt64?) -> ReportedPool {
        var pool = ReportedPool(name: name, path: "/sets/\(name)", kind: .set, state: .clean)
        pool.badBlocks = badBlocks
        pool.unsafeShutdowns = unsafeShutdowns
        return pool
    }

    private func samples(batches: UInt64?, _ pools: [ReportedPool]) throws -> [String: UInt64] {
        var ended = EndedSessions()
        ended.persists.batches = batches
        let status = StatusReport(
            rpmemd: "1", clock: 1, directories: [], truncated: false, sessions: [], ended: ended, problems: [])
        let list = PoolListReport(rpmemd: "1", directory: "/sets", truncated: false, pools: pools)
        return try openMetrics(MetricsText(status, list).text)
    }

    @Test func eachPoolOnPersistentMemoryHasItsDevicesCounts() throws {
        let found = try samples(
            batches: 5,
            [
                pool("a.set", badBlocks: 2, unsafeShutdowns: 7), pool("b.set", badBlocks: 0, unsafeShutdowns: 0),
                pool("file.set", badBlocks: nil, unsafeShutdowns: nil),
            ])
        #expect(found["rpmemd_persist_batches_total"] == 5)
        let counts = found.filter { $0.key.hasPrefix("rpmemd_pool_") }
        #expect(
            counts == [
                "rpmemd_pool_bad_blocks{pool=\"a.set\"}": 2, "rpmemd_pool_bad_blocks{pool=\"b.set\"}": 0,
                "rpmemd_pool_unsafe_shutdowns_total{pool=\"a.set\"}": 7,
                "rpmemd_pool_unsafe_shutdowns_total{pool=\"b.set\"}": 0,
            ])
    }

    /// A daemon that does not count them says nothing, and no zero is made of that.
    @Test func whatAnOlderDaemonDoesNotCountIsLeftOut() throws {
        let found = try samples(batches: nil, [])
        #expect(found["rpmemd_persist_batches_total"] == nil)
        #expect(!found.keys.contains { $0.hasPrefix("rpmemd_pool_") })
    }

    /// A sum that shrinks with the end of a session would be no counter.
    @Test func aRestrictedKeyHasNoCounters() throws {
        var status = StatusReport(
            rpmemd: "1", clock: 1, directories: [], truncated: false, sessions: [], ended: EndedSessions(), problems: []
        )
        status.restrictedTo = ["alice"]
        let list = PoolListReport(
            rpmemd: "1", directory: "/sets", truncated: false,
            pools: [pool("alice/a.set", badBlocks: 1, unsafeShutdowns: 2)])
        let found = try openMetrics(MetricsText(status, list).text)
        #expect(
            found.keys.filter { $0.contains("_total") } == ["rpmemd_pool_unsafe_shutdowns_total{pool=\"alice/a.set\"}"])
        #expect(found["rpmemd_sessions_active"] == 0 && found["rpmemd_pools{state=\"clean\"}"] == 1)
    }

    /// Names that are no UTF-8, or have control characters, may look the same once they are text. A series that is there twice
    /// would have Prometheus refuse all others, too.
    /// As Prometheus' text format 0.0.4 has it: a family has the name of its samples, and one of three types.
    @Test func theFormatOfATextfileCollectorHasTheSameSamples() throws {
        let status = StatusReport(
            rpmemd: "1", clock: 1, directories: [], truncated: false, sessions: [], ended: EndedSessions(), problems: []
        )
        let list = PoolListReport(
            rpmemd: "1", directory: "/sets", truncated: false, pools: [pool("a.set", badBlocks: 1, unsafeShutdowns: 2)])
        func samples(_ text: String) -> [Substring] { text.split(separator: "\n").filter { !$0.hasPrefix("#") } }
        let text = MetricsText(status, list, .prometheus).text
        #expect(samples(text) == samples(MetricsText(status, list).text) && samples(text).count > 20)
        #expect(!text.contains("# UNIT") && !text.contains("# EOF"))
        var family: (name: Substring, type: Substring) = ("", "")
        for line in text.split(separator: "\n") {
            if let match = line.wholeMatch(of: /# TYPE (\w+) (counter|gauge|histogram)/) {
                #expect((match.2 == "counter") == match.1.hasSuffix("_total"), "\(line)")
                #expect(match.1 == family.name, "\(line)")
                family.type = match.2
            } else if let match = line.wholeMatch(of: /# HELP (\w+) .+/) {
                family = (match.1, "")
            } else {
                let name = line.prefix { $0 != "{" && $0 != " " }
                #expect(family.type == "histogram" ? name.hasPrefix(family.name) : name == family.name, "\(line)")
            }
        }
    }

    @Test func poolsWithTheSameTextAreOneSeries() throws {
        let text = try samples(
            batches: nil,
            [
                pool("\u{fffd}.set", badBlocks: 2, unsafeShutdowns: 7), pool("a\n", badBlocks: 1, unsafeShutdowns: nil),
                pool("\u{fffd}.set", badBlocks: 3, unsafeShutdowns: 8),
                pool("a\\n", badBlocks: 1, unsafeShutdowns: nil),
            ])
        #expect(text["rpmemd_pool_bad_blocks{pool=\"\u{fffd}.set\"}"] == 5)
        #expect(text["rpmemd_pool_unsafe_shutdowns_total{pool=\"\u{fffd}.set\"}"] == 15)
        #expect(text["rpmemd_pool_bad_blocks{pool=\"a\\\\n\"}"] == 2)
    }

    /// A counter that goes down stands for a restart, and all that it had counts a second time when it is back.
    @Test(arguments: [true, false]) func countersThatAreNotWholeAreLeftOut(isTruncated: Bool) throws {
        var status = StatusReport(
            rpmemd: "1", clock: 1, directories: ["/run"], truncated: isTruncated, sessions: [], ended: EndedSessions(),
            problems: isTruncated ? [] : ["p"])
        if !isTruncated { status.endedUnknown = true }
        let list = PoolListReport(rpmemd: "1", directory: "/sets", truncated: false, pools: [])
        let found = try openMetrics(MetricsText(status, list).text)
        #expect(!found.keys.contains { $0.contains("_total") || $0.contains("_duration_") }, "\(found)")
        #expect(found["rpmemd_status_problems"] == 1 && found["rpmemd_sessions_active"] == 0)
    }

    @Test func aHostileNameOfAPoolIsEscaped() throws {
        let list = PoolListReport(
            rpmemd: "1", directory: "/sets", truncated: false,
            pools: [pool("\u{1b}[31m\"\n.set", badBlocks: 1, unsafeShutdowns: nil)])
        let status = StatusReport(
            rpmemd: "1", clock: 1, directories: [], truncated: false, sessions: [], ended: EndedSessions(), problems: []
        )
        let lines = MetricsText(status, list).text.split(separator: "\n")
        let line = try #require(lines.first { $0.contains("bad_blocks{") })
        #expect(line.hasSuffix(".set\"} 1") && line.contains("\\\""), "\(line)")
        #expect(!line.unicodeScalars.contains { $0.properties.generalCategory == .control }, "\(line)")
    }
}
