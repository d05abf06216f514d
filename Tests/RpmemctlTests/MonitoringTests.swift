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

    private static let promtool: String? = ["/usr/bin/promtool", "/usr/local/bin/promtool"].first { (path: String) in
        access(path, X_OK) == 0
    }

    @Test(.enabled(if: promtool != nil, "promtool is missing: apt-get install prometheus"))
    func promtoolTakesTheRules() throws {
        let outcome = try ChildProcess(
            [try #require(Self.promtool), "check", "rules", "\(Self.directory)/rpmemd-alerts.yml"],
            environment: ["PATH": "/usr/bin:/bin"])
        let output = try outcome.finish(within: 60)
        #expect(try outcome.wait() == .exited(0), "\(output)\(outcome.errorText)")
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
