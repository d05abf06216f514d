import CLinux
import Glibc
import RpmemProtocol
import Synchronization

extension Invocation {
    /// Parses the command line as PMDK 1.12.1 does: getopt_long(3) with unambiguous abbreviations, and options in any order. The
    /// first `--help` or `--version` overrides what follows it.
    ///
    /// Unlike PMDK, the yes/no options take a value (`--persist-apm=no`, `--persist-apm no`), and arguments that are not options
    /// are refused, and so are `--force` and `--pool-set` without `--remove`.
    ///
    /// - Parameter arguments: The first one is the program's name and is skipped.
    package static func parse(_ arguments: [String]) throws(UsageError) -> Invocation {
        var parser = CommandLineParser()
        parser.run(arguments)
        return try parser.result()
    }
}

private struct CommandLineParser {
    private var overrides = CommandLineOverrides()
    private var set: String?
    private var force = false
    private var removePoolSet = false
    private var isDryRun = false
    private var withProgress = false
    private var plan: String?
    /// The queries on the command line, in order. One is allowed.
    private var queries: [Query] = []
    /// The argument of `--doctor`, which may be empty; nil without the option.
    private var doctor: String?
    /// The argument of `--digest`.
    private var digest: String?
    /// The argument of `--length`.
    private var length: UInt64?
    private var checks = false
    private var restricts = false
    private var shown: Invocation?
    private var fault: String?

    mutating func run(_ arguments: [String]) {
        let options = LongOptions()
        let vector = ArgumentVector(arguments.isEmpty ? ["rpmemd"] : arguments)
        // getopt_long keeps its position in global variables.
        getoptTurn.withLock { _ in
            var first = true
            // The options behind an error show whether an initiator is waiting, so the loop goes on.
            while shown == nil {
                let step = options.next(vector, first: first)
                first = false
                if step.code == -1 {
                    if step.next < vector.count { refuse(unexpected(vector[Int(step.next)])) }
                    return
                }
                take(step, options: options, vector: vector)
            }
        }
    }

    /// Commands other than `--check-config` and `--restrict`.
    private var commandCount: Int {
        queries.count + [set, doctor, digest].count { $0 != nil }
    }

    func result() throws(UsageError) -> Invocation {
        let isSession = commandCount == 0 && !checks
        if let fault { throw UsageError(fault, isSession: isSession) }
        if let shown { return shown }
        if force || removePoolSet, set == nil, !restricts {
            let option = "--\((force ? CommandOption.force : .poolSet).name)"
            throw UsageError("\(option) is for --remove; write --remove SET \(option)", isSession: isSession)
        }
        if restricts {
            let isAlone = commandCount == 0 && !force && !removePoolSet && !isDryRun && plan == nil && !withProgress
            if checks, isAlone, overrides.key != nil { return .checkConfiguration(overrides) }
            guard isAlone, !checks else {
                throw UsageError("--restrict takes the command from the client: leave the others out", isSession: false)
            }
            return .restricted(overrides)
        }
        if checks { return .checkConfiguration(overrides) }
        let isAlone = commandCount == 1 && !isDryRun && plan == nil && !withProgress
        if let doctor, isAlone {
            return .doctor(set: doctor.isEmpty ? nil : doctor, overrides)
        }
        if let digest, isAlone {
            return .digest(set: digest, length: length, overrides)
        }
        if length != nil {
            throw UsageError(
                "--length goes with --digest only; write rpmemd --digest SET --length BYTES", isSession: false)
        }
        if let query = try query() { return .query(query, overrides) }
        if let set { return .remove(set: set, force: force, removePoolSet: removePoolSet, overrides) }
        return .serve(overrides)
    }

    /// The query of the options; nil when there is none.
    private func query() throws(UsageError) -> Query? {
        func refuse(_ explanation: String) throws(UsageError) { throw UsageError(explanation, isSession: false) }
        if commandCount > 1 {
            try refuse(
                "two commands at once; give one of --list, --info, --check, --status, --doctor, --digest and --remove")
        }
        if isDryRun, set == nil {
            try refuse("--dry-run goes with --remove only; write rpmemd --remove SET --dry-run")
        }
        if withProgress {
            guard case .list? = queries.first else {
                throw UsageError(
                    "--with-progress goes with --list only; write rpmemd --list --with-progress", isSession: false)
            }
            return .list(withProgress: true)
        }
        if case .check(let set, _)? = queries.first { return .check(set: set, plan: plan) }
        if plan != nil { try refuse("--repair goes with --check only; write rpmemd --check SET --repair PLAN") }
        if let set, isDryRun { return .removal(set: set, force: force, removePoolSet: removePoolSet) }
        return queries.first
    }

    private mutating func take(_ step: rpmem_option_step, options: LongOptions, vector: ArgumentVector) {
        let argument = step.argument.map { String(cString: $0) }
        switch options.meaning(of: step.code) {
        case .command(.config): overrides.configurationFile = argument
        case .command(.remove): set = argument
        case .command(.force): force = true
        case .command(.poolSet): removePoolSet = true
        case .command(.dryRun): isDryRun = true
        case .command(.list): queries.append(.list(withProgress: false))
        case .command(.withProgress): withProgress = true
        case .command(.info): queries.append(.info(set: argument ?? ""))
        case .command(.check): queries.append(.check(set: argument ?? "", plan: nil))
        case .command(.repair): plan = argument
        case .command(.status): queries.append(.status(ownSetsOnly: false))
        case .command(.doctor): doctor = argument ?? ""
        case .command(.digest): digest = argument ?? ""
        case .command(.length):
            length = argument.flatMap { UInt64($0) }
            if length ?? 0 < 8192 {
                refuse("--length: \(quoted(argument ?? "")) is no number of bytes from 8192 on; write --length BYTES")
            }
        case .command(.checkConfiguration): checks = true
        case .command(.restrict):
            restricts = true
            overrides.key = argument
            if let argument, !CommandLineOverrides.isKeyName(argument) {
                refuse(
                    "--restrict: \(quoted(argument)) is no name of a key; write letters, digits, ., _, - and @, and no . first"
                )
            }
        case .command(.help): if fault == nil { shown = .help }
        case .command(.version): if fault == nil { shown = .version }
        case .setting(let key):
            assign(key, argument ?? impliedValue(of: key, step: step, vector: vector))
        case nil:
            switch options.meaning(of: step.refused) {
            case .command(.remove): set = ""
            case .command(.info), .command(.check), .command(.list), .command(.status), .command(.doctor),
                .command(.digest), .command(.length):
                queries.append(.list(withProgress: false))
            default: break
            }
            refuse(explanation(step, options: options, vector: vector))
        }
    }

    private func impliedValue(of key: SettingKey, step: rpmem_option_step, vector: ArgumentVector) -> String {
        guard key.argument == .yesOrNo, step.next < vector.count,
            case let next = vector[Int(step.next)], key.valueSyntax.split(separator: "|").contains(Substring(next))
        else { return "yes" }
        rpmem_take_next_argument()
        return next
    }

    private mutating func assign(_ key: SettingKey, _ text: String) {
        var scratch = Settings(home: "/")
        do {
            try scratch.assign(key, text, from: .commandLine(option: key.name), home: "/")
            overrides.assignments.append(.init(key, text))
        } catch {
            refuse("--\(key.name): \(error.fault); \(error.remedy)")
        }
    }

    private mutating func refuse(_ explanation: String) {
        if fault == nil { fault = explanation }
    }

    private func unexpected(_ argument: String) -> String {
        "unexpected argument \(quoted(argument)); pool sets are named by the initiator or with --remove"
    }

    private func explanation(_ step: rpmem_option_step, options: LongOptions, vector: ArgumentVector) -> String {
        // The argument before getopt_long's position. For a cluster of letters it is the cluster, or the argument behind it.
        let written = vector[max(1, Int(step.next) - 1)]
        if let meaning = options.meaning(of: step.refused) {
            return step.code == Int32(UInt8(ascii: ":"))
                ? "--\(meaning.name): no value; write --\(meaning.name) \(meaning.valueSyntax)"
                : "--\(meaning.name) takes no value; write it alone"
        }
        if step.refused != 0, let letter = UInt8(exactly: step.refused) {
            return "unknown option \(quoted("-" + String(decoding: [letter], as: UTF8.self))); rpmemd --help lists them"
        }
        let name = String(written.drop { $0 == "-" }.prefix { $0 != "=" })
        let begun = options.names.filter { $0.hasPrefix(name) }
        if begun.count > 1 {
            return "option \(quoted("--" + name)) is ambiguous; write one of "
                + begun.map { "--" + $0 }.joined(separator: ", ")
        }
        let meant = nearestName(to: name, in: options.names)
        return "unknown option \(quoted("--" + name)); "
            + (meant.map { "did you mean --\($0)?" } ?? "rpmemd --help lists them")
    }
}

private let getoptTurn = Mutex<Void>(())

/// The meaning of an option.
private enum OptionMeaning: Equatable {
    case command(CommandOption)
    case setting(SettingKey)

    static let all = CommandOption.allCases.map(Self.command) + SettingKey.allCases.map(Self.setting)

    var name: String {
        switch self {
        case .command(let option): option.name
        case .setting(let key): key.name
        }
    }

    var letter: Character? {
        switch self {
        case .command(let option): option.letter
        case .setting(let key): key.letter
        }
    }

    var valueSyntax: String {
        switch self {
        case .command(let option): option.argument ?? ""
        case .setting(let key): key.valueSyntax
        }
    }

    /// no_argument, required_argument or optional_argument of getopt.h.
    var argumentRule: Int32 {
        switch self {
        case .command(let option):
            option.argument == nil
                ? no_argument : option.takesArgumentOptionally ? optional_argument : required_argument
        case .setting(let key): key.argument == .yesOrNo ? optional_argument : required_argument
        }
    }

    var letterRule: String {
        guard let letter else { return "" }
        return argumentRule == required_argument ? "\(letter):" : "\(letter)"
    }
}

/// The options in getopt_long's form. It owns the strings.
private final class LongOptions {
    private let entries: UnsafeMutableBufferPointer<option>
    private let letters: UnsafeMutablePointer<CChar>
    let names = OptionMeaning.all.map(\.name)

    /// Codes start above every letter.
    private static let firstCode: Int32 = 256

    init() {
        let all = OptionMeaning.all
        // Abbreviations that PMDK 1.12.1, or earlier versions of this project, take, and that newer options would make ambiguous:
        // `--check-config`, `--check`, `--repair`, `--verbs-odp`, `--doctor`, `--confinement`.
        let abbreviations: [(String, CommandOption)] = [
            ("c", .config), ("co", .config), ("con", .config), ("conf", .config), ("confi", .config),
            ("v", .version), ("ve", .version), ("r", .remove), ("re", .remove), ("d", .dryRun),
            ("ch", .checkConfiguration), ("che", .checkConfiguration), ("chec", .checkConfiguration),
        ]
        entries = .allocate(capacity: all.count + abbreviations.count + 1)
        for (index, meaning) in all.enumerated() {
            entries.initializeElement(
                at: index,
                to: option(
                    name: strdup(meaning.name), has_arg: meaning.argumentRule, flag: nil,
                    val: Self.firstCode + Int32(index)))
        }
        for (index, (text, meant)) in abbreviations.enumerated() {
            let meaning = OptionMeaning.command(meant)
            entries.initializeElement(
                at: all.count + index,
                to: option(
                    name: strdup(text), has_arg: meaning.argumentRule, flag: nil,
                    val: Self.firstCode + Int32(all.firstIndex(of: meaning) ?? 0)))
        }
        entries.initializeElement(at: all.count + abbreviations.count, to: option())
        // With the colon in front, getopt_long returns ':' instead of '?' when an argument is missing.
        letters = strdup(":" + all.map(\.letterRule).joined())
    }

    deinit {
        for entry in entries { free(UnsafeMutablePointer(mutating: entry.name)) }
        entries.deallocate()
        free(letters)
    }

    func next(_ vector: ArgumentVector, first: Bool) -> rpmem_option_step {
        rpmem_next_option(Int32(vector.count), vector.pointers.baseAddress, letters, entries.baseAddress, first ? 1 : 0)
    }

    /// The option that getopt_long reports as `code`; nil for `?` and `:`.
    func meaning(of code: Int32) -> OptionMeaning? {
        let all = OptionMeaning.all
        if code >= Self.firstCode, code - Self.firstCode < Int32(all.count) { return all[Int(code - Self.firstCode)] }
        guard let byte = UInt8(exactly: code) else { return nil }
        let letter = Character(Unicode.Scalar(byte))
        return all.first { $0.letter == letter }
    }
}

/// C's argv, which getopt_long reorders.
private final class ArgumentVector {
    let pointers: UnsafeMutableBufferPointer<UnsafeMutablePointer<CChar>?>
    let count: Int

    init(_ arguments: [String]) {
        count = arguments.count
        pointers = .allocate(capacity: arguments.count + 1)
        _ = pointers.initialize(from: arguments.map { strdup($0) } + [nil])
    }

    deinit {
        for pointer in pointers { free(pointer) }
        pointers.deallocate()
    }

    subscript(index: Int) -> String {
        index < count ? pointers[index].map { String(cString: $0) } ?? "" : ""
    }
}
