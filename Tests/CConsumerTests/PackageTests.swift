import Glibc
import SystemSupport
import TestSupport
import Testing

/// A package that depends on this one by URL and version. The test clones the repository, tags the clone, builds the program of
/// the first article in a package that depends on it, and runs the program against the daemon.
@Suite(
    "package that depends on RpmemInitiator", .timeLimit(.minutes(30)),
    .enabled(if: BuildHere.unavailableReason == nil, Comment(rawValue: BuildHere.unavailableReason ?? "")))
struct PackageTests {
    private static let version = "9876.5.4"
    private static let repository = Binaries.packageDirectory

    @Test("builds and runs, and fetches no plug-in")
    func buildsAndRuns() throws {
        let place = try Workplace()
        let origin = "\(place.path)/rpmemd"
        try Self.tagClone(origin, Self.environment(place))

        let consumer = "\(place.path)/consumer"
        mkdir(consumer, 0o755)
        mkdir("\(consumer)/Sources", 0o755)
        mkdir("\(consumer)/Sources/consumer", 0o755)
        try write(
            """
            // swift-tools-version: 6.2
            import PackageDescription

            let package = Package(
                name: "consumer",
                dependencies: [.package(url: "file://\(origin)", exact: "\(Self.version)")],
                targets: [
                    .executableTarget(
                        name: "consumer", dependencies: [.product(name: "RpmemInitiator", package: "rpmemd")])
                ])

            """, to: "\(consumer)/Package.swift")
        let program = try Descriptor.open("\(Self.repository)/examples/swift/rpmem-counter/Main.swift", O_RDONLY)
        try write(
            String(decoding: try readFile(program, limit: 1 << 20), as: UTF8.self),
            to: "\(consumer)/Sources/consumer/Main.swift")

        try Self.run(
            [
                BuildHere.swift, "build", "--package-path", consumer, "--cache-path", "\(place.path)/cache", "--jobs",
                "2",
            ],
            Self.environment(place))
        let resolved = try Descriptor.open("\(consumer)/Package.resolved", O_RDONLY)
        let pins = String(decoding: try readFile(resolved, limit: 1 << 20), as: UTF8.self)
        #expect(pins.contains(Self.version) && !pins.contains("docc"), "\(pins)")

        try place.addTargetSet("counter.set", "32M %/counter.part")
        for number in 1...2 {
            let outcome = try place.run("\(consumer)/.build/debug/consumer", Workplace.target, "counter.set")
            #expect(outcome.isSuccess && outcome.output == "Run \(number)\n", "\(outcome)")
        }
    }

    // MARK: Preparation

    /// A clone of this repository whose tag has the files as they are here, committed or not.
    private static func tagClone(_ clone: String, _ environment: [String: String]) throws {
        try run(["/usr/bin/git", "clone", "--quiet", "--no-checkout", repository, clone], environment)
        let git = ["/usr/bin/git", "--git-dir=\(clone)/.git", "--work-tree=\(repository)"]
        try run(git + ["add", "--all", "."], environment)
        try run(
            git + [
                "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgSign=false", "commit",
                "--quiet", "--allow-empty", "--no-verify", "--message", "As it is here",
            ], environment)
        try run(git + ["tag", version], environment)
    }

    /// No network: git takes each dependency from the copy that the build under test has.
    private static func environment(_ place: Workplace) -> [String: String] {
        var environment = [
            "PATH": "\(BuildHere.swift.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }):/usr/bin:/bin",
            "HOME": place.path, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        ]
        var settings = [("safe.directory", "*")]
        for (url, copy) in BuildHere.dependencies { settings.append(("url.file://\(copy).insteadOf", url)) }
        for (index, setting) in settings.enumerated() {
            environment["GIT_CONFIG_KEY_\(index)"] = setting.0
            environment["GIT_CONFIG_VALUE_\(index)"] = setting.1
        }
        environment["GIT_CONFIG_COUNT"] = "\(settings.count)"
        return environment
    }

    /// Runs a program to its end: a build takes a minute, or several on a busy machine.
    private static func run(_ arguments: [String], _ environment: [String: String]) throws {
        let process = try ChildProcess(arguments, environment: environment)
        process.closeInput()
        var output: [UInt8] = []
        let deadline = Deadline.after(milliseconds: 1_200_000)
        var ending: ChildProcess.Ending?
        while ending == nil, !deadline.hasPassed {
            output += try process.receive(1 << 16, within: 1000)
            ending = try process.wait(within: 1)
        }
        output += try process.receive(1 << 20, within: 10)
        guard ending == .exited(0) else {
            throw TestSupportError(
                "\(arguments.joined(separator: " ")): \(ending.map { "\($0)" } ?? "still running"): "
                    + "\(process.errorText)\n\(String(decoding: output, as: UTF8.self))")
        }
    }
}

/// The files of this machine that a build of another package needs.
private enum BuildHere {
    /// The dependencies' URLs and SwiftPM's bare clones of them, from the clones' own configuration.
    static let dependencies: [(url: String, copy: String)] = {
        let clones = "\(Binaries.packageDirectory)/.build/repositories"
        return TemporaryDirectory.entries(of: clones).compactMap { name in
            guard let file = try? Descriptor.open("\(clones)/\(name)/config", O_RDONLY),
                let text = try? String(decoding: readFile(file, limit: 1 << 16), as: UTF8.self),
                let url = text.firstMatch(of: #/url = (\S+)/#)?.1
            else { return nil }
            return (String(url), "\(clones)/\(name)")
        }
    }()

    /// The compiler that the tests' own `PATH` has first.
    static let swift: String = {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        return path.split(separator: ":").map { "\($0)/swift" }.first { access($0, X_OK) == 0 } ?? ""
    }()

    /// The reason why such a build cannot run; nil when it can.
    static var unavailableReason: String? {
        if Sanitizer.isOn { return "it is about an ordinary build" }
        if swift.isEmpty { return "there is no swift in PATH" }
        if let missing = missingPrograms("git") { return missing }
        let repository = Binaries.packageDirectory
        if access("\(repository)/.git", F_OK) != 0 { return "\(repository) is no clone of a git repository" }
        return dependencies.isEmpty ? "\(repository)/.build has no clones of the dependencies" : nil
    }
}
