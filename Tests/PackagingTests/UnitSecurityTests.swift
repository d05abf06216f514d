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

    /// Names of the findings that leave something open.
    private static func openItems(_ unit: String) throws -> Set<String> {
        let directory = TemporaryDirectory()
        try write(unit, to: "\(directory.path)/rpmemd@.service")
        let outcome = try Command([
            analyzer, "security", "--offline=true", "--no-pager", "--json=short", "\(directory.path)/rpmemd@.service",
        ])
        func field(_ name: String, of object: Substring) -> Substring? {
            object.firstRange(of: "\"\(name)\":").map { object[$0.upperBound...].prefix { $0 != "," && $0 != "}" } }
        }
        return Set(
            outcome.output.split(separator: "{").compactMap { object in
                guard
                    let name = object.firstRange(of: "\"name\":\"").map({
                        object[$0.upperBound...].prefix { $0 != "\"" }
                    }),
                    let exposure = field("exposure", of: object), exposure != "null"
                else { return nil }
                return String(name)
            })
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

    /// An item that is opened without a reason fails this, and so does a reason for what is not open.
    @Test(.enabled(if: unavailableReason == nil, Comment(rawValue: unavailableReason ?? "")))
    func eachItemThatStaysOpenHasItsReason() throws {
        let unit = try Self.unit("rpmemd@.service")
        let reasons = unit.split(separator: "\n").compactMap { line -> String? in
            guard line.hasPrefix("# "),
                let colon = line.firstRange(of: "=: ") ?? line.firstRange(of: "): ")
                    ?? line.firstRange(of: "AF_UNIX: ") ?? line.firstRange(of: "AF_NETLINK: ")
            else { return nil }
            return String(line[..<colon.upperBound].dropFirst(2).dropLast(2))
        }
        let open = try Self.openItems(unit)
        #expect(!open.isEmpty && reasons.count == Set(reasons).count)
        #expect(open == Set(reasons))
        // The test finds an item that is opened.
        let opened = try Self.openItems(unit.replacing("ProtectClock=yes\n", with: ""))
        #expect(opened.subtracting(open).contains { $0.hasPrefix("ProtectClock=") })
    }

    /// Nobody on the network gets a session without ssh.
    @Test func theSocketListensOnLoopbackAlone() throws {
        let listens = try Self.unit("rpmemd.socket").split(separator: "\n").filter { $0.hasPrefix("Listen") }
        #expect(listens == ["ListenStream=127.0.0.1:7636"])
        let service = try Self.unit("rpmemd@.service").split(separator: "\n")
        #expect(service.contains("User=rpmem"))
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
