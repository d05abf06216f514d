import RpmemProtocol
import Testing

@testable import RpmemTarget

@Suite struct ConfigurationEffectiveTests {
    private let directory: ConfigurationTestDirectory

    init() throws { directory = try ConfigurationTestDirectory() }

    /// The settings that come out when `text` is the only file.
    private func reread(_ text: String) throws -> Settings {
        try directory.write(text, to: directory.otherFile)
        return try Settings.load(
            CommandLineOverrides(configurationFile: directory.otherFile), from: directory.sources)
    }

    private func expectSameValues(_ one: Settings, _ other: Settings) {
        for key in SettingKey.allCases { #expect(one.text(of: key) == other.text(of: key), "\(key.name)") }
    }

    @Test func eachSettingIsOneLineWithItsOrigin() throws {
        try directory.write("log-file = /l\n", to: directory.globalFile)
        let settings = try Settings.load(
            CommandLineOverrides(assignments: [.init(.threads, "3")]), from: directory.sources)
        let lines = settings.effectiveText().split(separator: "\n").map(String.init)
        #expect(lines[0] == "# rpmemd \(projectVersion): the settings in effect")
        #expect(lines[1] == "# \(directory.globalFile): read")
        #expect(lines[2] == "# \(directory.userFile): not there")
        #expect(lines.count == 3 + SettingKey.allCases.count)
        func line(_ key: SettingKey) -> String? {
            lines.first { $0.hasPrefix(key.name + " ") }
        }
        #expect(line(.logFile)?.hasSuffix(" # \(directory.globalFile):1") == true)
        #expect(line(.useSyslog)?.contains("= no ") == true)
        #expect(line(.useSyslog)?.hasSuffix(" # because of log-file: \(directory.globalFile):1") == true)
        #expect(line(.threads)?.contains("= 3 ") == true)
        #expect(line(.threads)?.hasSuffix(" # command line, --nthreads") == true)
        #expect(line(.pollTime)?.hasSuffix(" # default") == true)
        let columns = Set(lines[3...].map { $0.prefix { $0 != "#" }.count })
        #expect(columns.count == 1, "the origins are aligned")
    }

    @Test func theDefaultsReadBackAsTheyAre() throws {
        let defaults = try Settings.load(from: directory.sources)
        expectSameValues(try reread(defaults.effectiveText()), defaults)
    }

    @Test func anySettingsReadBackAsTheyAre() throws {
        let samples: [SettingKey: [String]] = [
            .poolsetDirectory: ["/", "/srv/pmem sets", "$HOME/x", "/a=b"], .partMode: ["600", "0660", "777"],
            .logFile: ["/l", "log", "/dev/stderr"], .useSyslog: ["yes", "no"],
            .logLevel: LogLevel.allCases.map(\.rawValue), .persistAPM: ["yes", "no", "auto"],
            .persistGeneral: ["yes", "no"],
            .inBandAddress: ["session", "127.0.0.1", "::1"], .portRange: ["any", "1", "7000-7009"],
            .inBandPeer: ["ssh", "any"], .inBandSecret: ["auto", "require"], .commitWrites: ["auto", "no"],
            .maxLanes: ["unlimited", "1", "16"], .laneTimeout: ["1", "3600"],
            .verbsODP: OnDemandPaging.allCases.map(\.rawValue), .peerTimeout: ["1", "3600"], .threads: ["0", "8"],
            .pollTime: ["0", "50"],
            .restrictTo: ["any", "a.set", "a b/*.set"],
            .permissions: Permissions.allCases.map(\.rawValue), .quota: ["unlimited", "1", "40G"],
            .providers: ["any", "tcp", "verbs,sockets"], .confinement: ["yes", "no"],
            .environment: ["none", "FI_A", "PMEM_IS_PMEM_FORCE=1 FI_A B="],
        ]
        #expect(samples.count == SettingKey.allCases.count)
        var generator = ConfigurationTestGenerator(seed: 7)
        for _ in 0..<200 {
            var settings = Settings(home: directory.home)
            for _ in 0..<Int.random(in: 0...20, using: &generator) {
                let key = SettingKey.allCases.randomElement(using: &generator)!
                let text = samples[key]!.randomElement(using: &generator)!
                try settings.assign(key, text, from: .commandLine(option: "--\(key.name)"), home: directory.home)
            }
            expectSameValues(try reread(settings.effectiveText()), settings)
        }
    }

    @Test(arguments: ["/a#b", "/a\nmax-lanes = 1", "/a ", "/a/$HOME"])
    func aValueThatNoFileCanHoldIsAComment(path: String) throws {
        var settings = Settings(home: directory.home)
        // $HOME stays in a path when another replaced it before.
        let text = path.hasSuffix("$HOME") ? "$HOME" + path : path
        try settings.assign(.poolsetDirectory, text, from: .commandLine(option: "--poolset-dir"), home: "/h")
        let printed = settings.effectiveText()
        #expect(printed.contains("# poolset-dir"))
        #expect(printed.contains("; no file can hold this value\n"))
        let again = try reread(printed)
        #expect(again.poolsetDirectory.origin == .default)
        #expect(again.maxLanes.value == nil)
    }
}
