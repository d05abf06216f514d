import RpmemProtocol
import Testing

@testable import RpmemTarget

/// `restrict-to`, `permissions` and `providers`.
@Suite struct AccessRulesTests {
    private func settings(_ options: [(SettingKey, String)]) throws -> Settings {
        var settings = Settings(home: "/h")
        for (key, text) in options {
            try settings.assign(key, text, from: .commandLine(option: "--\(key.name)"), home: "/h")
        }
        return settings
    }

    private func allows(_ patterns: String, _ set: String) throws -> Bool {
        try settings([(.restrictTo, patterns)]).restrictTo.value.allows(PoolDescriptor(validating: set))
    }

    @Test(
        arguments: [
            ("any", "x/y"), ("a.set", "a.set"), ("alice", "alice/a.set"), ("alice", "alice/b/a.set"),
            ("alice/*", "alice/a"),
            ("*.set", "a.set"), ("a b/c", "b/c"), ("alice/[ab].set", "alice/b.set"), ("a\\*", "a*"),
            ("al?ce", "alice/x"),
        ])
    func whatIsAllowed(patterns: String, set: String) throws { #expect(try allows(patterns, set)) }

    @Test(
        arguments: [
            ("a.set", "b.set"), ("a.set", "a.sets"), ("alice", "alices/a"), ("alice", "bob/a"),
            ("alice", "alice/../bob/a"),
            ("alice", "./alice/a"), ("alice", "alice//a"), ("alice", "alice/./a"), ("alice", "alice/"), ("*", "a/../b"),
            ("*.set", "b/a.set"), ("alice/*.set", "alice/b/a.set"), ("a\\*", "ab"), ("alice", "Alice/a"), ("*", "a/.."),
        ])
    func whatIsNot(patterns: String, set: String) throws { #expect(try !allows(patterns, set)) }

    @Test(arguments: ["/a", "a/", "../a", "a/../b", "./a", "a//b", "."]) func patternsThatAreRefused(text: String) {
        #expect(throws: SettingValueError.self) { _ = try settings([(.restrictTo, text)]) }
    }

    @Test func repetitionsAddUpInOnePlaceAndReplaceInAnother() throws {
        var repeated = try settings([(.restrictTo, "a"), (.restrictTo, "b c")])
        #expect(repeated.text(of: .restrictTo) == "a b c")
        try repeated.assign(.restrictTo, "d", from: .file(path: "/x", line: 1), home: nil)
        #expect(repeated.text(of: .restrictTo) == "d")
        try repeated.assign(.restrictTo, "e", from: .file(path: "/x", line: 2), home: nil)
        #expect(repeated.text(of: .restrictTo) == "d e")
    }

    /// A walk for the pool sets of a client goes into no other directory.
    @Test(arguments: [
        ("any", "x/y", true), ("alice", "alice", true), ("alice", "alice/deep", true), ("alice", "bob", false),
        ("alice/*.set", "alice", true), ("alice/*.set", "alice/deep", false), ("a/b/c", "a", true),
        ("a/b/c", "a/b", true),
        ("a/b/c", "a/x", false), ("*/own", "bob", true), ("*/own", "bob/other", false), ("a.set", "a.set.d", false),
    ])
    func directoriesOnTheWay(_ patterns: String, _ directory: String, _ leads: Bool) throws {
        let settings = try settings([(.restrictTo, patterns)])
        #expect(settings.restrictTo.value.lead(to: try PoolDescriptor(validating: directory)) == leads)
    }

    @Test func permissionsTakeMoreAndMoreAway() throws {
        let allowed: [(Permissions, [PoolAction])] = [
            (.all, [.create, .open, .remove, .inspect, .repair, .setAttributes]),
            (.noRemove, [.create, .open, .inspect, .repair, .setAttributes]),
            (.noCreate, [.open, .inspect, .repair, .setAttributes]), (.readOnly, [.open, .inspect]),
        ]
        let set = try PoolDescriptor(validating: "a")
        for (permissions, actions) in allowed {
            let settings = try settings([(.permissions, permissions.rawValue)])
            for action in [PoolAction.create, .open, .remove, .inspect, .repair, .setAttributes] {
                #expect(
                    (settings.objection(to: action, set) == nil) == actions.contains(action), "\(permissions) \(action)"
                )
            }
        }
    }

    @Test func providersAndQuotas() throws {
        #expect(try settings([(.providers, "tcp,verbs")]).text(of: .providers) == "verbs,tcp")
        #expect(try settings([(.quota, "4K")]).text(of: .quota) == "4096")
        for (key, text) in [(SettingKey.providers, "tcp,"), (.providers, "udp"), (.quota, "0"), (.quota, "many")] {
            #expect(throws: SettingValueError.self) { _ = try settings([(key, text)]) }
        }
    }
}
