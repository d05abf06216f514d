import Glibc
import TestSupport
import Testing

/// What the units of systemd/ leave open.
@Suite struct UnitSecurityTests {
    private static let analyzer = "/usr/bin/systemd-analyze"

    private static func unit(_ name: String) throws -> String {
        let file = "\(Binaries.packageDirectory)/systemd/\(name)"
        return try #require(try? Command(["/bin/cat", file]).output)
    }

    /// The exposure that `systemd-analyze security` gives, from 0 to 10, and the findings.
    private static func findings(_ unit: String) throws -> String {
        let directory = TemporaryDirectory()
        try write(unit, to: "\(directory.path)/rpmemd@.service")
        let outcome = try Command([
            analyzer, "security", "--offline=true", "--no-pager", "--threshold=15", "\(directory.path)/rpmemd@.service",
        ])
        return "\(outcome.isSuccess ? "within" : "beyond") the threshold\n\(outcome.output)"
    }

    /// Why the analyzer cannot be used; nil when it can.
    private static let unavailableReason: String? =
        access(analyzer, X_OK) != 0
        ? "no systemd-analyze here"
        : (try? findings("[Service]\nExecStart=/bin/true\n"))?.contains("Overall exposure level") == true
            ? nil : "systemd-analyze cannot look at files (--offline) here"

    @Test(.enabled(if: unavailableReason == nil, Comment(rawValue: unavailableReason ?? "")))
    func theExposureOfASessionIsAtMostOneAndAHalf() throws {
        let unit = try Self.unit("rpmemd@.service")
        let found = try Self.findings(unit)
        #expect(found.hasPrefix("within the threshold"), "\(found)")
        // The threshold is one that a unit without a sandbox misses.
        let without = unit.split(separator: "\n").filter { $0.hasPrefix("[") || $0.hasPrefix("ExecStart=") }
        #expect(try Self.findings(without.joined(separator: "\n") + "\n").hasPrefix("beyond the threshold"))
    }

    @Test func oneAddressCannotTakeAllSessions() throws {
        let socket = try Self.unit("rpmemd.socket")
        func number(_ key: String) -> Int? {
            socket.split(separator: "\n").first { $0.hasPrefix("\(key)=") }.flatMap { Int($0.dropFirst(key.count + 1)) }
        }
        let all = try #require(number("MaxConnections"))
        let one = try #require(number("MaxConnectionsPerSource"))
        #expect(one < all)
    }
}
