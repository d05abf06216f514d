import Testing

@testable import RpmemTarget

@Suite struct ConfigurationValueTests {
    private let origin = SettingOrigin.file(path: "/c", line: 7)

    private func settings(_ key: SettingKey, _ text: String, home: String? = "/home/u") throws -> Settings {
        var settings = Settings(home: home)
        try settings.assign(key, text, from: origin, home: home)
        return settings
    }

    private func refusal(_ key: SettingKey, _ text: String, home: String? = "/home/u") -> String? {
        var settings = Settings(home: home)
        let before = settings
        do {
            try settings.assign(key, text, from: origin, home: home)
            return nil
        } catch {
            #expect(settings == before, "a refused value changes nothing")
            return "\(error.fault); \(error.remedy)"
        }
    }

    @Test func theDefaultsAreThoseOfTheTable() throws {
        let defaults = Settings(home: "/home/u")
        for key in SettingKey.allCases {
            #expect(defaults.origin(of: key) == .default)
            let expected = key == .poolsetDirectory ? "/home/u" : key.defaultText
            #expect(defaults.text(of: key) == expected, "\(key.name)")
        }
    }

    @Test func eachDefaultCanBeWritten() throws {
        for key in SettingKey.allCases {
            let written = try settings(key, key.defaultText)
            #expect(written.text(of: key) == Settings(home: "/home/u").text(of: key), "\(key.name)")
            #expect(written.origin(of: key) == origin)
        }
    }

    @Test func homeIsReplacedInThePoolSetDirectory() throws {
        #expect(try settings(.poolsetDirectory, "$HOME/pools").poolsetDirectory.value == "/home/u/pools")
        #expect(try settings(.poolsetDirectory, "/mnt$HOME").poolsetDirectory.value == "/mnt/home/u")
    }

    @Test func homeIsReplacedInTheLogFile() throws {
        #expect(try settings(.logFile, "$HOME/.logs/rpmemd.log").logFile.value == "/home/u/.logs/rpmemd.log")
    }

    @Test(arguments: ["/a/$HOMER", "/a/$HOME1/$HOME"])
    func homeIsNotReplacedWhenALetterOrDigitFollows(path: String) throws {
        #expect(try settings(.poolsetDirectory, path).poolsetDirectory.value == path)
    }

    @Test func onlyTheFirstHomeIsReplaced() throws {
        #expect(try settings(.poolsetDirectory, "$HOME_x$HOME").poolsetDirectory.value == "/home/u_x$HOME")
    }

    /// The path that comes of it would be refused when `--check-config` has printed it.
    @Test(arguments: [SettingKey.logFile, .poolsetDirectory])
    func aPlaceholderBeforeTheHomeDirectoryIsRefused(key: SettingKey) {
        #expect(refusal(key, "${HOME}$HOME/sets")?.contains("${HOME} is not replaced here") == true)
        #expect(refusal(key, "~$HOME")?.contains("~ is not replaced here") == true)
    }

    @Test func homeThatIsNotKnownIsRefused() {
        #expect(
            refusal(.poolsetDirectory, "$HOME/a", home: nil)
                == "$HOME is not known: no HOME in the environment, no passwd entry; write the path in full")
    }

    @Test func aRelativePoolSetDirectoryIsRefused() {
        #expect(
            refusal(.poolsetDirectory, "pools")
                == "'pools' is not an absolute path; write '$HOME/pools' or a path that starts with /")
    }

    @Test(arguments: [SettingKey.logFile, .poolsetDirectory])
    func anEmptyPathIsRefused(key: SettingKey) {
        #expect(refusal(key, "")?.hasPrefix("the value is empty; write the path of a ") == true)
    }

    @Test func aPathBeyondThePathLimitIsRefused() {
        #expect(
            refusal(.logFile, "/" + String(repeating: "a", count: 5000))
                == "the path has 5001 bytes; write one of less than 4096 bytes")
    }

    @Test(arguments: [("0600", 0o600), ("640", 0o640), ("0o666", 0o666), ("777", 0o777)] as [(String, UInt32)])
    func partModesAreOctal(text: String, mode: UInt32) throws {
        #expect(try settings(.partMode, text).partMode.value == mode)
    }

    @Test(arguments: ["", "0o", "8", "0x1ff", "rw-------", "-600", "+600", "1777", "4600", "777777777777777777777777"])
    func otherPartModesAreRefused(text: String) {
        #expect(refusal(.partMode, text)?.contains("is not a set of permission bits; write an octal number") == true)
    }

    @Test(arguments: ["0400", "0200", "066"])
    func aPartModeWithoutTheOwnerIsRefused(text: String) {
        #expect(refusal(.partMode, text)?.contains("keeps the owner from reading or writing") == true)
    }

    @Test func aLogFileTurnsSyslogOff() throws {
        let written = try settings(.logFile, "/l")
        #expect(written.useSyslog == Setting(false, from: .implied(by: .logFile, origin)))
    }

    @Test func syslogSetBehindALogFileIsOnAgain() throws {
        var written = try settings(.logFile, "/l")
        try written.assign(.useSyslog, "yes", from: origin, home: nil)
        #expect(written.useSyslog == Setting(true, from: origin))
        #expect(written.logFile.value == "/l")
    }

    @Test(arguments: [SettingKey.useSyslog, .persistGeneral, .confinement])
    func yesOrNoIsNothingElse(key: SettingKey) throws {
        #expect(try settings(key, "no").text(of: key) == "no")
        #expect(try settings(key, "yes").text(of: key) == "yes")
        #expect(refusal(key, "Yes") == "'Yes' is neither yes nor no; write yes or no")
    }

    @Test(arguments: [SettingKey.persistAPM, .verbsODP]) func someAreLeftToTheDaemon(key: SettingKey) throws {
        for word in ["yes", "no", "auto"] { #expect(try settings(key, word).text(of: key) == word) }
        #expect(refusal(key, "1") == "'1' is not known; write yes, no or auto")
    }

    @Test func levelsAreThoseOfTheTable() throws {
        for level in LogLevel.allCases {
            #expect(try settings(.logLevel, level.rawValue).logLevel.value == level)
        }
        #expect(
            refusal(.logLevel, "Invalid") == "'Invalid' is not a level; write err, warn, notice, info or debug")
    }

    @Test func addressesAreSpelledCanonically() throws {
        #expect(try settings(.inBandAddress, "192.0.2.1").inBandAddress.value?.description == "192.0.2.1")
        let address = try settings(.inBandAddress, "2001:DB8:0:0::1").inBandAddress.value
        #expect(address?.description == "2001:db8::1")
        #expect(address?.family == .ipv6)
        #expect(try settings(.inBandAddress, "session").inBandAddress.value == nil)
    }

    @Test(arguments: ["localhost", "192.0.2", "192.0.2.1:80", "::g", "192.0.2.1/24", "1.2.3.4\u{0}"])
    func whatIsNotAnAddressIsRefused(text: String) {
        #expect(refusal(.inBandAddress, text)?.contains("is not a numeric IPv4 or IPv6 address; write one of") == true)
    }

    @Test func bracketsAroundAnAddressAreRefused() {
        #expect(refusal(.inBandAddress, "[::1]") == "'[::1]' has brackets; write ::1")
    }

    @Test func portRanges() throws {
        #expect(try settings(.portRange, "7000-7100").portRange.value == 7000...7100)
        #expect(try settings(.portRange, "7000 - 7100").portRange.value == 7000...7100)
        #expect(try settings(.portRange, "65535").portRange.value == 65535...65535)
        #expect(try settings(.portRange, "any").portRange.value == nil)
    }

    @Test(arguments: ["", "0", "0-5", "1-65536", "-", "1-", "-1", "1-2-3", "70 00", "http", "1-2 3"])
    func whatIsNotARangeOfPortsIsRefused(text: String) {
        #expect(refusal(.portRange, text)?.contains("is not a range of ports; write FIRST-LAST") == true)
    }

    @Test func aRangeBackwardsIsRefused() {
        #expect(refusal(.portRange, "9-3") == "'9-3' ends before it starts; write 3-9")
    }

    @Test(
        arguments: [
            (.maxLanes, "1", "4294967295"), (.laneTimeout, "1", "3600"), (.peerTimeout, "1", "3600"),
            (.threads, "0", "65535"), (.pollTime, "0", "1000000"),
        ] as [(SettingKey, String, String)])
    func numbersUpToTheirBounds(key: SettingKey, low: String, high: String) throws {
        #expect(try settings(key, low).text(of: key) == low)
        #expect(try settings(key, high).text(of: key) == high)
        #expect(refusal(key, "-1") != nil)
        #expect(refusal(key, "+1") != nil)
        #expect(refusal(key, "") != nil)
        #expect(refusal(key, "4294967296")?.contains("write a number from \(low) to \(high)") == true)
        if low == "1" { #expect(refusal(key, "0") != nil) }
    }

    @Test func lanesMayBeUnlimited() throws {
        #expect(try settings(.maxLanes, "unlimited").maxLanes.value == nil)
        #expect(
            refusal(.maxLanes, "many")
                == "'many' is not a number of lanes; write a number from 1 to 4294967295, or unlimited")
    }

    @Test func refusedValuesAreEscapedAndCut() {
        #expect(refusal(.useSyslog, "a\u{1b}[2J\u{202e}")?.hasPrefix("'a\\u{1b}[2J\\u{202e}' is neither") == true)
        let long = refusal(.useSyslog, String(repeating: "y", count: 3000))
        #expect((long?.count ?? .max) < 400)
    }

    @Test func nearNamesAreFound() {
        let names = SettingKey.allCases.map(\.name)
        #expect(nearestName(to: "log_level", in: names) == "log-level")
        #expect(nearestName(to: "poolsetdir", in: names) == "poolset-dir")
        #expect(nearestName(to: "max-laens", in: names) == "max-lanes")
        #expect(nearestName(to: "colour", in: names) == nil)
        #expect(nearestName(to: String(repeating: "x", count: 100_000), in: names) == nil)
    }

    @Test func editDistanceCountsSwaps() {
        #expect(editDistance("", "abc") == 3)
        #expect(editDistance("abc", "acb") == 1)
        #expect(editDistance("kitten", "sitting") == 3)
    }
}
