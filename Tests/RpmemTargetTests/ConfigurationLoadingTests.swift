import Glibc
import SystemPackage
import SystemSupport
import Testing

@testable import RpmemTarget

/// A directory with a global file and a home, removed at the end.
final class ConfigurationTestDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/rpmemd-configuration-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        mkdir(home, 0o700)
    }

    deinit {
        for name in ["home/.rpmemd.conf", "rpmemd.conf", "log", "other.conf", "fifo"] { unlink("\(path)/\(name)") }
        rmdir("\(path)/other.conf")
        unlink("\(path)/keys/alice.conf")
        rmdir("\(path)/keys")
        rmdir(home)
        rmdir(path)
    }

    var home: String { path + "/home" }
    var globalFile: String { path + "/rpmemd.conf" }
    var userFile: String { home + "/.rpmemd.conf" }
    var otherFile: String { path + "/other.conf" }
    var sources: ConfigurationSources { ConfigurationSources(globalFile: globalFile, home: home) }

    func write(_ text: String, to file: String) throws {
        let descriptor = try Descriptor.open(file, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try writeAll(Array(text.utf8), to: descriptor.number)
    }

    func read(_ file: String) throws -> String {
        String(decoding: try readFile(Descriptor.open(file, O_RDONLY), limit: 1 << 20), as: UTF8.self)
    }
}

@Suite struct ConfigurationLoadingTests {
    private let directory: ConfigurationTestDirectory

    init() throws { directory = try ConfigurationTestDirectory() }

    private func load(_ overrides: CommandLineOverrides = CommandLineOverrides()) throws(ConfigurationError) -> Settings
    {
        try Settings.load(overrides, from: directory.sources)
    }

    private func failure(_ overrides: CommandLineOverrides = CommandLineOverrides()) -> ConfigurationError? {
        do {
            _ = try load(overrides)
            return nil
        } catch { return error }
    }

    @Test func theFileOfAKeyIsReadBehindTheOthers() throws {
        mkdir("\(directory.path)/keys", 0o700)
        let file = "\(directory.path)/keys/alice.conf"
        try directory.write("permissions = no-remove\nmax-lanes = 8\nlane-timeout = 7\n", to: directory.globalFile)
        try directory.write("max-lanes = 9\nrestrict-to = any\n", to: directory.userFile)
        try directory.write("restrict-to = alice\nmax-lanes = 2\nquota = 40G\n", to: file)
        let settings = try load(CommandLineOverrides(key: "alice", assignments: [.init(.quota, "8M")]))
        #expect(settings.restrictTo.value.patterns == ["alice"])
        #expect(settings.restrictTo.origin == .file(path: file, line: 1))
        #expect(settings.maxLanes.value == 2 && settings.permissions.value == .noRemove)
        #expect(settings.laneTimeout.value == 7 && settings.quota.value == 8 << 20)
        #expect(settings.files.map(\.path) == [directory.globalFile, directory.userFile, file])
        // It lies beside the file of --config.
        try directory.write("poolset-dir = /other\n", to: directory.otherFile)
        let other = try load(CommandLineOverrides(configurationFile: directory.otherFile, key: "alice"))
        #expect(other.poolsetDirectory.value == "/other" && other.maxLanes.value == 2 && other.laneTimeout.value == 30)
    }

    /// A client whose file is missing must not get what everybody gets.
    @Test func aKeyWithoutAFileHasNoSettings() {
        let error = failure(CommandLineOverrides(key: "bob"))
        #expect(
            error?.problems.map { "\($0)" } == [
                "\(directory.path)/keys/bob.conf: cannot be read: No such file or directory; make the file of this key"
            ])
    }

    @Test func missingDefaultFilesAreFine() throws {
        let settings = try load()
        #expect(settings.poolsetDirectory == Setting(directory.home))
        #expect(
            settings.files == [
                .init(path: directory.globalFile, exists: false), .init(path: directory.userFile, exists: false),
            ])
    }

    @Test func theUserFileBeatsTheGlobalOneAndOptionsBeatBoth() throws {
        try directory.write("log-level = warn\nmax-lanes = 3\nnthreads = 5\n", to: directory.globalFile)
        try directory.write("log-level = info\nmax-lanes = 4\n", to: directory.userFile)
        let settings = try load(CommandLineOverrides(assignments: [.init(.logLevel, "debug")]))
        #expect(settings.logLevel == Setting(.debug, from: .commandLine(option: "--log-level")))
        #expect(settings.maxLanes == Setting(4, from: .file(path: directory.userFile, line: 2)))
        #expect(settings.threads == Setting(5, from: .file(path: directory.globalFile, line: 3)))
    }

    @Test func theLastOfDuplicateKeysWins() throws {
        try directory.write("persist-apm = yes\npersist-apm = no\n", to: directory.globalFile)
        #expect(try load().persistAPM == Setting(.no, from: .file(path: directory.globalFile, line: 2)))
    }

    @Test func aGivenFileReplacesTheDefaultOnes() throws {
        try directory.write("nonsense\n", to: directory.globalFile)
        try directory.write("max-lanes = 9\n", to: directory.otherFile)
        let settings = try load(CommandLineOverrides(configurationFile: directory.otherFile))
        #expect(settings.maxLanes.value == 9)
        #expect(settings.files == [.init(path: directory.otherFile, exists: true)])
    }

    @Test func aGivenFileMustExist() {
        let error = failure(CommandLineOverrides(configurationFile: directory.otherFile))
        #expect(error?.errno == .noSuchFileOrDirectory)
        #expect(
            error?.description == "\(directory.otherFile): cannot be read: No such file or directory; "
                + "name a file that exists with --config")
    }

    @Test func aGivenFileWithoutNameIsRefused() {
        let error = failure(CommandLineOverrides(configurationFile: ""))
        #expect(error?.errno == .noSuchFileOrDirectory)
        #expect(error?.description.hasPrefix("'': cannot be read: ") == true)
    }

    @Test func aDirectoryIsNotAConfigurationFile() {
        mkdir(directory.otherFile, 0o700)
        #expect(failure(CommandLineOverrides(configurationFile: directory.otherFile))?.errno == .isDirectory)
    }

    @Test func aDefaultFileThatCannotBeReadIsAnError() {
        mkdir(directory.globalFile, 0o700)
        defer { rmdir(directory.globalFile) }
        #expect(failure()?.errno == .isDirectory)
    }

    @Test func aFileWithoutEndIsRefused() {
        #expect(failure(CommandLineOverrides(configurationFile: "/dev/zero"))?.errno == .fileTooLarge)
    }

    @Test func aHomeThatIsNoDirectoryHasNoFile() throws {
        let settings = try Settings.load(
            from: ConfigurationSources(globalFile: directory.globalFile, home: "/dev/null"))
        #expect(settings.files.last == .init(path: "/dev/null/.rpmemd.conf", exists: false))
    }

    @Test func withoutAHomeThePoolSetDirectoryMustBeSet() throws {
        let sources = ConfigurationSources(globalFile: directory.globalFile, home: nil)
        #expect {
            try Settings.load(from: sources)
        } throws: { error in
            "\(error)" == "poolset-dir: no home directory; set poolset-dir"
        }
        let overrides = CommandLineOverrides(assignments: [.init(.poolsetDirectory, "/pools")])
        #expect(try Settings.load(overrides, from: sources).poolsetDirectory.value == "/pools")
    }

    @Test func aRelativeHomeIsNoPoolSetDirectory() {
        #expect {
            try Settings.load(from: ConfigurationSources(globalFile: directory.globalFile, home: "."))
        } throws: { error in
            "\(error)" == "poolset-dir: HOME is '.', not an absolute path; set poolset-dir"
        }
    }

    @Test func anUnknownKeySuggestsTheNearest() throws {
        try directory.write("\nlog-levle = err\n", to: directory.globalFile)
        let error = failure()
        #expect(error?.description == "\(directory.globalFile):2: log-levle: unknown key; did you mean log-level?")
        #expect(error?.errno == .invalidArgument)
    }

    @Test func anUnknownKeyFarFromAllNamesTheManual() throws {
        try directory.write("colour = red\n", to: directory.globalFile)
        #expect(
            failure()?.description
                == "\(directory.globalFile):1: colour: unknown key; rpmemd.conf(5) lists the keys")
    }

    @Test func aMalformedValueNamesFileLineAndKey() throws {
        try directory.write("# comment\npersist-apm = maybe\n", to: directory.userFile)
        #expect(
            failure()?.description
                == "\(directory.userFile):2: persist-apm: 'maybe' is not known; write yes, no or auto")
    }

    @Test func everyProblemIsReported() throws {
        try directory.write("what\nnthreads = -1\n", to: directory.globalFile)
        try directory.write("max-lanes = 0\n", to: directory.userFile)
        let error = failure(CommandLineOverrides(assignments: [.init(.pollTime, "long")]))
        #expect(
            error?.problems.map(\.place) == [
                "\(directory.globalFile):1", "\(directory.globalFile):2", "\(directory.userFile):1", "--poll-time",
            ])
        #expect(error?.description.split(separator: "\n").count == 4)
        #expect(error?.errno == .invalidArgument)
    }

    @Test func errnoIsNeverZero() {
        let problem = ConfigurationError.Problem(at: "x", "y", errno: Errno(rawValue: 0))
        #expect(ConfigurationError(problem).errno == .invalidArgument)
    }

    @Test func syslogOnTheCommandLineBeatsALogFileInAFile() throws {
        try directory.write("log-file = /var/log/x\n", to: directory.globalFile)
        let settings = try load(CommandLineOverrides(assignments: [.init(.useSyslog, "yes")]))
        #expect(settings.useSyslog.value)
    }

    @Test func aLogFileOnTheCommandLineBeatsSyslogInAFile() throws {
        try directory.write("use-syslog = yes\n", to: directory.globalFile)
        let settings = try load(CommandLineOverrides(assignments: [.init(.logFile, "/l")]))
        #expect(!settings.useSyslog.value)
    }

    @Test func theHomeOfThisUserIsFound() {
        #expect(ConfigurationSources.ofThisUser().home?.hasPrefix("/") == true)
        #expect(ConfigurationSources.ofThisUser().globalFile == "/etc/rpmemd/rpmemd.conf")
    }
}
