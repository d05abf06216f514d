import Glibc
import PoolSets
import RpmemProtocol

/// What a client may do with the pools that it may use at all. Each word takes away more than the one before it.
package enum Permissions: String, CaseIterable, Hashable, Sendable {
    case all
    /// Removes no pool. A session may still take back what its own CREATE made.
    case noRemove = "no-remove"
    /// Creates no pool, either.
    case noCreate = "no-create"
    /// Opens pools and reads them.
    case readOnly = "read-only"
}

/// What a client wants to do with a pool.
enum PoolAction: String {
    case create, open, remove, inspect, repair
    case setAttributes = "change the attributes of"
    case write = "write to"
}

/// Pool sets that a client may use: patterns of glob(7), relative to the pool set directory. A pattern also stands for
/// everything below the directories that match it.
package struct PoolPatterns: Equatable, Sendable {
    /// Empty: any pool set.
    package internal(set) var patterns: [String] = []

    /// Whether a client may use the pool set. A name with a component that is empty, `.` or `..` matches no pattern.
    func allows(_ set: PoolDescriptor) -> Bool {
        if patterns.isEmpty { return true }
        guard let components = Self.components(of: set) else { return false }
        return (1...components.count).contains { count in
            patterns.contains { Self.matches($0, components[..<count]) }
        }
    }

    /// Whether there may be a pool set that a client may use in or below a directory.
    func lead(to directory: PoolDescriptor) -> Bool {
        if allows(directory) { return true }
        guard let components = Self.components(of: directory) else { return false }
        return patterns.contains { pattern in
            // A backslash may stand before a slash.
            if pattern.contains("\\") { return true }
            let beginning = pattern.split(separator: "/").prefix(components.count).joined(separator: "/")
            return Self.matches(beginning, components[...])
        }
    }

    /// For walks that look at nothing else.
    var walkFilter: PoolDirectoryWalk.Filter {
        var filter = PoolDirectoryWalk.Filter()
        filter.isPool = { allows($0) }
        filter.leadsToPools = { lead(to: $0) }
        return filter
    }

    /// nil when one is empty, `.` or `..`.
    private static func components(of set: PoolDescriptor) -> [ArraySlice<UInt8>]? {
        let components = set.bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let dot = UInt8(ascii: ".")
        let isPlain = components.allSatisfy {
            !$0.isEmpty && !$0.elementsEqual([dot]) && !$0.elementsEqual([dot, dot])
        }
        return isPlain ? components : nil
    }

    private static func matches(_ pattern: some StringProtocol, _ components: ArraySlice<ArraySlice<UInt8>>) -> Bool {
        let name = Array(components.joined(separator: [UInt8(ascii: "/")])) + [0]
        return name.withUnsafeBytes {
            fnmatch(String(pattern), $0.bindMemory(to: CChar.self).baseAddress!, FNM_PATHNAME) == 0
        }
    }
}

extension SettingType where Value == PoolPatterns {
    /// `any`, or patterns with blanks between them.
    static let poolPatterns = SettingType(
        syntax: "SET...|any",
        parse: { text, _ throws(SettingValueError) in
            if text == "any" { return PoolPatterns() }
            let words = words(of: text)
            for word in words {
                let components = word.split(separator: "/", omittingEmptySubsequences: false)
                if components.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) {
                    throw SettingValueError(
                        fault: "\(quoted(word)) is not a path below the pool set directory",
                        remedy: "write it without a / at its ends, without . and .., like alice or alice/*.set")
                }
            }
            guard !words.isEmpty else {
                throw SettingValueError(fault: "the value is empty", remedy: "write pool sets, or any")
            }
            return PoolPatterns(patterns: words)
        },
        print: { $0.patterns.isEmpty ? "any" : $0.patterns.joined(separator: " ") })
}

extension SettingType where Value == Set<Provider> {
    /// `any`, or names with commas between them.
    static let providers = SettingType(
        syntax: "PROVIDER,...|any",
        parse: { text, _ throws(SettingValueError) in
            if text == "any" { return Set(Provider.allCases) }
            var providers: Set<Provider> = []
            for word in text.split(separator: ",", omittingEmptySubsequences: false) {
                guard let provider = Provider.allCases.first(where: { $0.name == word }) else {
                    throw SettingValueError(
                        fault: "\(quoted(String(word))) is not a provider",
                        remedy: "write verbs, sockets and tcp, with commas between them, or any")
                }
                providers.insert(provider)
            }
            return providers
        },
        print: { providers in
            providers.count == Provider.allCases.count
                ? "any" : Provider.allCases.filter(providers.contains).map(\.name).joined(separator: ",")
        })
}

extension Settings {
    /// The client's quota: the part files of all pool sets that it may use count. nil for no limit.
    var poolQuota: PoolQuota? { quota.value.map { PoolQuota(bytes: $0, sets: restrictTo.value.walkFilter) } }

    /// Why the client may not do this with the pool set; nil when it may.
    func objection(to action: PoolAction, _ set: PoolDescriptor) -> String? {
        guard restrictTo.value.allows(set) else {
            return
                "restrict-to (\(restrictTo.origin)) keeps the client from pool set \(set): use one of its own, or ask the "
                + "operator of the target"
        }
        let isPermitted =
            switch action {
            case .open, .inspect: true
            case .setAttributes, .write, .repair: permissions.value != .readOnly
            case .create: permissions.value == .all || permissions.value == .noRemove
            case .remove: permissions.value == .all
            }
        if isPermitted { return nil }
        return
            "permissions = \(permissions.value.rawValue) (\(permissions.origin)) keeps the client from this: it may not "
            + "\(action.rawValue) pool set \(set)"
    }
}
