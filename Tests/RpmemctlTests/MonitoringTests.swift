import FoundationEssentials
import Glibc
import SystemSupport
import TestSupport
import Testing

/// The dashboard and the alert rules, against the metrics that rpmemctl has.
@Suite struct MonitoringTests {
    private static let directory = "\(Binaries.packageDirectory)/config/monitoring"

    private func text(_ name: String) throws -> String {
        String(
            decoding: try readFile(Descriptor.open("\(Self.directory)/\(name)", O_RDONLY), limit: 1 << 20),
            as: UTF8.self)
    }

    /// Names of samples in the program's text.
    private func samples() throws -> Set<String> {
        let path = "\(Binaries.packageDirectory)/Sources/rpmemctl/Metrics.swift"
        let source = String(decoding: try readFile(Descriptor.open(path, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        return Set(source.matches(of: /sample\(\s*"(rpmemd_[a-z_]+)"/).map { String($0.1) })
    }

    @Test(arguments: ["rpmemd-dashboard.json", "rpmemd-alerts.yml"]) func namesOnlyMetricsThatThereAre(_ file: String)
        throws
    {
        let known = try samples()
        #expect(known.count >= 12)
        let named = Set(try text(file).matches(of: /\brpmemd_[a-z_]+/).map { String($0.0) })
        #expect(named.count >= 4 && named.isSubset(of: known), "\(named.subtracting(known))")
    }

    private struct Dashboard: Decodable {
        struct Panel: Decodable {
            struct Target: Decodable { var expr: String }
            var id: Int
            var title: String
            var targets: [Target]
        }
        var title: String
        var schemaVersion: Int
        var panels: [Panel]
    }

    @Test func theDashboardIsOne() throws {
        let dashboard = try JSONDecoder().decode(Dashboard.self, from: Data(try text("rpmemd-dashboard.json").utf8))
        #expect(!dashboard.title.isEmpty && dashboard.panels.count >= 6)
        #expect(Set(dashboard.panels.map(\.id)).count == dashboard.panels.count)
        for panel in dashboard.panels {
            #expect(!panel.targets.isEmpty, "\(panel.title)")
            for target in panel.targets {
                #expect(target.expr.count { $0 == "(" } == target.expr.count { $0 == ")" }, "\(target.expr)")
            }
        }
    }

    private func promtool(_ words: [String], input: String = "") throws {
        let process = try ChildProcess(
            [try #require(promtoolPath)] + words, environment: ["PATH": "/usr/bin:/bin"])
        try process.send(Array(input.utf8))
        let output = try process.finish(within: 120)
        #expect(try process.wait() == .exited(0), "\(words): \(output)\(process.errorText)")
        // It has nothing to say of a name, a type or a text either.
        #expect(process.errorText == "", "\(words)")
    }

    @Test(.enabled(if: promtoolPath != nil, isMissing)) func promtoolTakesTheRules() throws {
        try promtool(["check", "rules", "\(Self.directory)/rpmemd-alerts.yml"])
    }

    /// What fires each alert, and what does not.
    @Test(.enabled(if: promtoolPath != nil, isMissing)) func eachAlertFiresWhenItShould() throws {
        let path = "\(Binaries.packageDirectory)/Tests/RpmemctlTests/Monitoring/rpmemd-alerts-test.yml"
        try promtool(["test", "rules", path])
        let tests = String(decoding: try readFile(Descriptor.open(path, O_RDONLY), limit: 1 << 20), as: UTF8.self)
        let alerts = try text("rpmemd-alerts.yml").matches(of: /- alert: (\w+)/).map { String($0.1) }
        for alert in alerts {
            // Once where it does not fire, and once where it does.
            #expect(
                tests.contains("alertname: \(alert)}") && tests.contains("alertname: \(alert)\n        exp_alerts:"))
        }
        #expect(alerts.count == 7)
    }

    /// With the parser of node_exporter's textfile collector, which refuses the whole file for one line.
    @Test(
        .enabled(if: promtoolPath != nil, isMissing),
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func promtoolTakesTheMetrics() throws {
        let target = try OperatedTarget()
        try target.makePool()
        let session = try target.hold()
        let metrics = try target.run("metrics", target.address, "--format", "prometheus")
        #expect(
            metrics.ending == .exited(0) && metrics.output.contains("\nrpmemd_pools{state=\"in use\"} 1\n"),
            "\(metrics)")
        try promtool(["check", "metrics"], input: metrics.output)
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    /// What each rule needs, without a parser of YAML.
    @Test func eachRuleHasItsFields() throws {
        let text = try text("rpmemd-alerts.yml")
        let rules = text.split(separator: "      - alert: ").dropFirst()
        #expect(rules.count == 7 && !text.contains("\t"))
        for rule in rules {
            for field in ["expr: ", "labels:", "severity: ", "annotations:", "summary: ", "description: "] {
                #expect(rule.contains(field), "\(field): \(rule)")
            }
        }
    }
}

/// Debian's promtool, or the one that `make test` takes out of Debian's package; nil when there is none.
private let promtoolPath: String? = ["/usr/bin/promtool", "\(Binaries.packageDirectory)/.build/promtool/promtool"]
    .first { (path: String) in access(path, X_OK) == 0 }

private let isMissing: Comment = "promtool is missing: config/fetch-promtool .build/promtool"
