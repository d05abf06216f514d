import Glibc
import PersistentMemory
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// Pools on a fake Device DAX. Its mappings do not share bytes, so a header that was written cannot be read.
@Suite(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
struct DevicePoolTests {
    @Test func autoIsTheDevicesSize() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            fixture.writeSet("a.set", "OPTION NOHDRS", "AUTO /dev/dax0.0")
            let pool = try fixture.store().create(
                descriptor: .named("a.set"), attributes: .none, requestedSize: 16 << 20)
            #expect(pool.size == 16 << 20 && pool.isPersistentMemory)
            #expect(pool.parts == [.init(path: "/dev/dax0.0", size: 16 << 20, isDeviceDAX: true, isNew: false)])
            #expect(
                poolError { () throws(PoolError) in
                    _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
                }?.status == .busy)
            try pool.close()
            let again = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 16 << 20)
            #expect(again.persister.persist(again.base, again.size) == 0)
            try again.close()
            #expect(try fixture.store().inspect(descriptor: .named("a.set")).usableSize == 16 << 20)
            try fixture.store().remove(descriptor: .named("a.set"), force: false, removePoolSet: true)
            #expect(fixture.exists("/dev/dax0.0") && !fixture.exists("\(fixture.sets)/a.set"))
        }
    }

    @Test func aLockedPoolReadsTheDevice() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            fixture.writeSet("a.set", "OPTION NOHDRS", "AUTO /dev/dax0.0")
            let pool = try fixture.store().lock(descriptor: .named("a.set"), writable: false)
            #expect(pool.size == 16 << 20)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 300_000, alignment: 8)
            defer { buffer.deallocate() }
            for offset in [0, 5 << 20, (16 << 20) - 300_000] {
                buffer.initializeMemory(as: UInt8.self, repeating: 0xff)
                try pool.read(into: buffer, at: offset)
                #expect(buffer.allSatisfy { $0 == 0 })
            }
        }
    }

    @Test func headersAreWrittenThroughTheDevice() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            fixture.writeSet("a.set", "16M /dev/dax0.0")
            let pool = try fixture.store().create(
                descriptor: .named("a.set"), attributes: .captured(), requestedSize: 16 << 20)
            #expect(pool.hasHeaders)
            try pool.abandonCreated()
            #expect(fixture.exists("/dev/dax0.0"))
        }
    }

    /// An overview asks devices, and no files: only persistent memory keeps such counts.
    @Test func anOverviewAsksDevices() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            fixture.writeSet("device.set", "OPTION NOHDRS", "AUTO /dev/dax0.0")
            fixture.writeSet("file.set", "OPTION NOHDRS", "16M @/p0")
            fixture.makeFile(fixture.part("p0"), size: 16 << 20)
            let bad = [BadBlock(offset: 0, length: 512), BadBlock(offset: 4096, length: 512)]
            let store = try fixture.store(health: .fake(unsafeShutdowns: 7, badBlocks: bad))
            let device = try store.examine(.named("device.set"), depth: .overview)
            #expect(device.badBlockCount == 2 && device.unsafeShutdowns == 7)
            let file = try store.examine(.named("file.set"), depth: .overview)
            #expect(file.badBlockCount == nil && file.unsafeShutdowns == nil)
            let whole = try store.examine(.named("file.set"), depth: .whole)
            #expect(whole.badBlockCount == 2 && whole.unsafeShutdowns == 7)
        }
    }

    @Test func sizesOfDevicesAreExact() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096) == nil)
            fixture.writeSet("a.set", "15M /dev/dax0.0")
            let error = poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }
            #expect("\(error!)".contains("has 16777216 bytes, the set says 15728640: write AUTO here, or 16777216B"))
        }
    }

    @Test func aDeviceThatIsTooSmallIsNotSaidToGrow() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096) == nil)
            for (option, hint) in [
                ("# none", "use a larger device, or add another one and `OPTION SINGLEHDR`"),
                ("OPTION NOHDRS", "use a larger device, or add another one"),
            ] {
                fixture.writeSet("a.set", option, "AUTO /dev/dax0.0")
                let attributes = option == "# none" ? PoolAttributes.captured() : .none
                let error = poolError { () throws(PoolError) in
                    _ = try fixture.store().create(
                        descriptor: .named("a.set"), attributes: attributes, requestedSize: 17 << 20)
                }
                #expect(error?.status == .badSize)
                #expect("\(error!)".hasSuffix(": \(hint)"))
            }
        }
    }

    @Test func devicesAndFilesAreNotMixed() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            for lines in ["16M /dev/dax0.0\n2M @/p0", "2M @/p0\nAUTO /dev/dax0.0"] {
                fixture.writeSet("a.set", lines)
                let error = poolError { () throws(PoolError) in
                    _ = try fixture.store().create(
                        descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
                }
                #expect(error?.status == .badPoolConfiguration)
                #expect("\(error!)".contains("either all parts are or none"))
            }
            #expect(!fixture.exists(fixture.part("p0")))
        }
    }

    @Test func severalDevicesNeedPagesOrASingleHeader() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            // A second inode of the same device passes for another device, except in the kernel.
            mknod("/dev/other", S_IFCHR | 0o600, dev_t((1 << 8) | 5))
            fixture.writeSet("a.set", "16M /dev/dax0.0", "16M /dev/other")
            let error = poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }
            #expect("\(error!)".contains("has an alignment of 2097152 bytes"))
            fixture.writeSet("b.set", "OPTION SINGLEHDR", "16M /dev/dax0.0", "16M /dev/other")
            let pool = try fixture.store().create(
                descriptor: .named("b.set"), attributes: .captured(singleHeader: true), requestedSize: 32 << 20)
            #expect(pool.size == 32 << 20)
            try pool.close()
        }
    }

    /// What CREATE refuses is said before there is a pool, too.
    @Test func anExaminationFindsDevicesThatDoNotFit() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            mknod("/dev/other", S_IFCHR | 0o600, dev_t((1 << 8) | 5))
            fixture.makeFile(fixture.part("p0"), size: 2 << 20)
            let store = try fixture.store()
            let two = ["16M /dev/dax0.0", "16M /dev/other"]
            for (number, (lines, codes)) in [
                (two, [PoolFinding.Code.partAlignment, .noPool]), (["OPTION SINGLEHDR"] + two, [.noPool]),
                (["16M /dev/dax0.0"], [.noPool]), (["16M /dev/dax0.0", "2M @/p1"], [.noPool]),
                (["16M /dev/dax0.0", "2M @/p0"], [.mixedParts, .noPool]),
            ].enumerated() {
                fixture.writeSet("\(number).set", lines.joined(separator: "\n"))
                let findings = try store.examine(.named("\(number).set"), depth: .overview).findings
                #expect(findings.map(\.code) == codes, "\(findings)")
                guard let wrong = findings.first, wrong.code == .partAlignment else { continue }
                #expect(wrong.severity == .error && wrong.part == "/dev/dax0.0")
                #expect(wrong.message.hasPrefix("has an alignment of 2097152 bytes"))
                let remedy = "write the line `OPTION SINGLEHDR`, here and in the initiator's pool set"
                #expect(wrong.remedy == remedy)
            }
        }
    }

    /// The rules of the mapping, for devices that no test has.
    @Test func aDeviceIsAtAMultipleOfItsAlignment() {
        func fits(_ alignment: Int, at megabytes: UInt64, of parts: Int, single: Bool) -> Bool {
            DeviceAlignment.objection(
                to: alignment, at: megabytes << 20, partCount: parts, options: single ? .singleHeader : []) == nil
        }
        #expect(fits(2 << 20, at: 502, of: 2, single: true))
        #expect(!fits(1 << 30, at: 502, of: 2, single: true))
        #expect(fits(1 << 30, at: 2048, of: 2, single: true))
        #expect(fits(4096, at: 7, of: 2, single: false))
        #expect(!fits(2 << 20, at: 0, of: 2, single: false))
        #expect(fits(1 << 30, at: 0, of: 1, single: false))
    }

    @Test func aPlainDeviceIsAPool() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096) == nil)
            let store = try PoolStore(directory: "/dev")
            let pool = try store.create(
                descriptor: .named("dax0.0"), attributes: .captured(), requestedSize: 16 << 20)
            #expect(pool.parts[0].isDeviceDAX)
            try pool.close()
            try store.remove(descriptor: .named("dax0.0"), force: false, removePoolSet: true)
            #expect(access("/dev/dax0.0", F_OK) == 0)
        }
    }
}
