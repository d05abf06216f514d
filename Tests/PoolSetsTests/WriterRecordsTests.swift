import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import PoolSets

/// Who could write last to a Device DAX: a file for each device, in a directory that all daemons of the machine share.
@Suite struct WriterRecordsTests {
    private let place = TemporaryDirectory("rpmem-writers")
    private static let record = WriterRecord(WriterToken(SIMD16(repeating: 7)), resumes: 3)
    private static let uuid = "5f7a1f0c-8a0e-4a3b-9c58-2d1f6f1f0a01"

    private var directory: String { place.file("records") }
    private var file: String { "\(directory)/\(Self.uuid)" }

    /// A device in a made tree of sysfs.
    private func device(size: Int = 4096) throws -> DeviceIdentity {
        let sysfs = place.file("sysfs")
        var path = sysfs
        for name in [
            "", "/bus", "/bus/dax", "/bus/dax/devices", "/region0", "/region0/dax0.1", "/region0/dax0.1/dax0.0",
        ] {
            path = sysfs + name
            mkdir(path, 0o755)
        }
        for (name, text) in [("uuid", Self.uuid), ("size", "\(size)"), ("align", "4096")] {
            try write(text, to: "\(sysfs)/region0/dax0.1/\(name)")
        }
        symlink("\(sysfs)/region0/dax0.1/dax0.0", "\(sysfs)/bus/dax/devices/dax0.0")
        return try #require(try DeviceIdentity.find(device: "dax0.0", sysfs: sysfs))
    }

    private func records() throws -> WriterRecords {
        mkdir(directory, 0o755)
        return try #require(try WriterRecords(at: directory))
    }

    @Test func aRecordStaysUntilItIsReplacedOrForgotten() throws {
        let (records, device) = (try records(), try device())
        #expect(records.isWritable)
        #expect(try records.record(of: device) == nil)
        #expect(try records.keep(Self.record, of: device))
        #expect(try records.record(of: device) == Self.record)
        let other = WriterRecord(WriterToken(SIMD16(repeating: 8)))
        #expect(try records.keep(other, of: device))
        #expect(try records.record(of: device) == other)
        #expect(TemporaryDirectory.entries(of: directory) == [Self.uuid])
        try records.forget(device, mayBeBack: true)
        #expect(try records.record(of: device) == nil)
        try records.forget(device, mayBeBack: true)
        #expect(TemporaryDirectory.entries(of: directory) == [])
    }

    /// The same uuid with another size: `ndctl` can be told to use a uuid again.
    @Test func anotherConfigurationOfTheDeviceHasNoRecord() throws {
        let records = try records()
        #expect(try records.keep(Self.record, of: device()))
        #expect(try records.record(of: device(size: 8192)) == nil)
        // A session that could write removes the record all the same.
        try records.forget(device(size: 8192), mayBeBack: true)
        #expect(try records.record(of: device()) == nil)
    }

    @Test func whatIsNoRecordCountsAsNone() throws {
        let (records, device) = (try records(), try device())
        #expect(try records.keep(Self.record, of: device))
        let bytes = try readFile(Descriptor.open(file, O_RDONLY), limit: 4096)
        for damaged in [[], Array(bytes.dropLast()), bytes + [10], [bytes[0] ^ 1] + bytes.dropFirst()] {
            try put(damaged, to: file)
            #expect(try records.record(of: device) != Self.record)
        }
        try put([UInt8](repeating: 0, count: 5000), to: file)
        #expect(try records.record(of: device) == nil)
        // A link to a whole record.
        try put(bytes, to: place.file("elsewhere"))
        unlink(file)
        symlink(place.file("elsewhere"), file)
        #expect(try records.record(of: device) == nil)
        try records.forget(device, mayBeBack: true)
        #expect(access(place.file("elsewhere"), F_OK) == 0 && access(file, F_OK) != 0)
    }

    private func put(_ bytes: [UInt8], to path: String) throws {
        unlink(path)
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT, mode: 0o600)
        try writeAll(bytes, to: file.number)
    }

    @Test func whatAKilledSessionLeftIsNoRecord() throws {
        let (records, device) = (try records(), try device())
        try put(Array("half".utf8), to: "\(file).new")
        #expect(try records.record(of: device) == nil)
        #expect(try records.keep(Self.record, of: device))
        #expect(TemporaryDirectory.entries(of: directory) == [Self.uuid])
    }

    /// A session that was killed may have removed the file, and not made that durable: after a loss of power it would be back.
    @Test func aRecordThatIsGoneIsGoneDurably() throws {
        let (records, device) = (try records(), try device())
        // O_PATH: names in the directory can be changed with it, and fsync(2) fails.
        let unsynchronizable = try Descriptor.open(directory, 0x20_0000 | O_DIRECTORY)
        #expect(dup2(unsynchronizable.number, records.descriptor.number) >= 0)
        let error = poolError { () throws(PoolError) in try records.forget(device, mayBeBack: true) }
        #expect(error.map { "\($0)" }?.contains("fsync") == true, "\(String(describing: error))")
    }

    /// A file system that became read-only, after an error of its disk for instance, makes nothing durable.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func aRecordOnAReadOnlyFileSystemIsNotGoneDurably() async {
        await #expect(processExitsWith: .success) {
            let test = WriterRecordsTests()
            mkdir(test.directory, 0o755)
            try #require(
                PrivateMounts.enter() == nil && PrivateMounts.mountTmpfs(at: test.directory, options: "mode=755") == nil
            )
            let (records, device) = (try test.records(), try test.device())
            // MS_REMOUNT | MS_RDONLY
            try #require(PrivateMounts.mount("tmpfs", test.directory, "tmpfs", 0x21, nil) == nil)
            let error = poolError { () throws(PoolError) in try records.forget(device, mayBeBack: true) }
            #expect(error?.errno == .readOnlyFileSystem, "\(String(describing: error))")
            try records.forget(device, mayBeBack: false)
            PrivateMounts.unmount(test.directory)
        }
    }

    /// Without the directory nobody keeps a record, so nobody is forgotten.
    @Test func withoutADirectoryThereAreNoRecords() throws {
        #expect(try WriterRecords(at: place.file("none")) == nil)
    }

    @Test func aDirectoryThatEverybodyMayChangeIsRefused() throws {
        mkdir(directory, 0o755)
        chmod(directory, 0o777)
        let error = poolError { () throws(PoolError) in _ = try WriterRecords(at: directory) }
        #expect(error?.errno == .notPermitted)
        unlink(directory)
        rmdir(directory)
        symlink(place.path, directory)
        #expect(poolError { () throws(PoolError) in _ = try WriterRecords(at: directory) } != nil)
    }

    /// A user without a right to the directory may write to a device that has no record, and to no other.
    @Test(.enabled(if: geteuid() == 0, "needs root")) func aRecordThatCannotBeForgottenIsAnError() async {
        await #expect(processExitsWith: .success) {
            let test = WriterRecordsTests()
            chmod(test.place.path, 0o755)
            let (records, device) = (try test.records(), try test.device())
            try #require(seteuid(65534) == 0)
            #expect(!records.isWritable)
            try records.forget(device, mayBeBack: true)
            #expect(try !records.keep(Self.record, of: device))
            try #require(seteuid(0) == 0)
            #expect(try records.keep(Self.record, of: device))
            try #require(seteuid(65534) == 0)
            let error = poolError { () throws(PoolError) in try records.forget(device, mayBeBack: true) }
            #expect("\(error!)".contains("so that no other initiator resumes its session"))
            try #require(seteuid(0) == 0)
            #expect(try records.record(of: device) == Self.record)
        }
    }

    // MARK: Pools

    private static func claim(
        _ store: PoolStore, _ purpose: ClaimPurpose, _ token: WriterToken
    ) throws -> (outcome: ClaimOutcome, resumes: UInt64) {
        let pool = try store.open(descriptor: .named("a.set"), requestedSize: 16 << 20)
        defer { try? pool.close() }
        #expect(pool.keepsWriter && pool.writerDirectory != nil)
        return try pool.claim(purpose, token)
    }

    /// A pool on a Device DAX keeps the token of the last initiator, like one of files.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func poolsOnDevicesKeepATokenThere() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            let directory = fixture.directory.file("records")
            mkdir(directory, 0o755)
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            fixture.writeSet("a.set", "OPTION NOHDRS", "AUTO /dev/dax0.0")
            let store = try PoolStore(directory: fixture.sets, writerDirectory: directory)
            try store.create(descriptor: .named("a.set"), attributes: .none, requestedSize: 16 << 20).close()
            let (mine, other) = (WriterToken(SIMD16(repeating: 7)), WriterToken(SIMD16(repeating: 8)))
            #expect(try WriterRecordsTests.claim(store, .resume, mine).outcome == .otherWriter)
            #expect(try WriterRecordsTests.claim(store, .new, mine).outcome == .kept)
            for count in 1...3 {
                let found = try WriterRecordsTests.claim(store, .resume, mine)
                #expect(found.outcome == .kept && found.resumes == count)
            }
            #expect(try WriterRecordsTests.claim(store, .resume, other).outcome == .otherWriter)
            #expect(try WriterRecordsTests.claim(store, .new, other).outcome == .kept)
            #expect(try WriterRecordsTests.claim(store, .resume, mine).outcome == .otherWriter)
            let third = try store.open(descriptor: .named("a.set"), requestedSize: 16 << 20)
            try third.forgetWriter()
            try third.close()
            #expect(try WriterRecordsTests.claim(store, .resume, other).outcome == .otherWriter)
            // On a machine without the directory the session goes on, and is never resumed.
            let poor = try PoolStore(directory: fixture.sets, writerDirectory: "\(directory)/none")
            let pool = try poor.open(descriptor: .named("a.set"), requestedSize: 16 << 20)
            #expect(try !pool.keepsWriter && pool.claim(.new, mine).outcome == .notKept)
            try pool.forgetWriter()
            try pool.close()
            // Where nobody can tell what is kept, nobody writes.
            chmod(directory, 0o777)
            let last = try store.open(descriptor: .named("a.set"), requestedSize: 16 << 20)
            #expect(!last.keepsWriter)
            #expect(poolError { () throws(PoolError) in try last.forgetWriter() }?.errno == .notPermitted)
            #expect(last.hasFailed)
        }
    }
}
