import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

/// A Device DAX that libdaxctl and libndctl find in a fake sysfs.
@Suite(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
struct DeviceDAXTests {
    @Test func sizeAlignmentAndRegionAreRead() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096) == nil)
            let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
            let device = try DeviceDAX(descriptor: file.number, path: FakeDeviceDAX.devicePath)
            #expect(device.size == 16 << 20)
            #expect(device.alignment == 4096)
            #expect(device.regionName == "region0")
            #expect(device.deepFlush == .available)
        }
    }

    @Test func olderKernelsHaveTheAlignmentInTheRegion() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 0) == nil)
            let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
            #expect(try DeviceDAX(descriptor: file.number, path: "").alignment == 2 << 20)
        }
    }

    @Test func otherDevicesAreNotDeviceDAX() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096) == nil)
            let null = try Descriptor.open("/dev/null", O_RDWR)
            #expect(throws: PersistentMemoryError.notDeviceDAX(path: "null")) {
                try DeviceDAX(descriptor: null.number, path: "null")
            }
        }
    }

    @Test func aMappedDeviceIsPersistentMemoryAndDeepFlushed() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20, deepFlush: "9\n") == nil)
            let mapping = try Self.mapDevice()
            #expect(mapping.persister.isPersistentMemory)
            #expect(mapping.persister.kind == .flushAndDrain)
            mapping.base.storeBytes(of: 1, as: UInt8.self)
            #expect(mapping.persister.deepPersist(mapping.base, 64) == 0)
            #expect(FakeDeviceDAX.text(of: FakeDeviceDAX.deepFlushPath) == "1\n")
            try mapping.close()
        }
    }

    /// The whole of a device of 16 MiB.
    private static func mapDevice() throws -> Mapping {
        let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
        let device = try DeviceDAX(descriptor: file.number, path: FakeDeviceDAX.devicePath)
        return try Mapping([
            Segment(
                descriptor: file.number, offset: 0, length: 16 << 20, device: device, path: FakeDeviceDAX.devicePath)
        ])
    }

    @Test(arguments: ["cpu_cache", "memory_controller"]) func cachesPersistWhereTheirDomainSaysSo(domain: String) async
    {
        await #expect(processExitsWith: .success) { [domain] in
            let failure = FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20, persistenceDomain: domain)
            try #require(failure == nil)
            let mapping = try Self.mapDevice()
            #expect(mapping.persister.isPersistentMemory)
            #expect(mapping.persister.cachesPersist == (domain == "cpu_cache"))
            try mapping.close()
        }
    }

    @Test func withoutFlushHintsADrainIsAll() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096, deepFlush: "0\n") == nil)
            let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
            let device = try DeviceDAX(descriptor: file.number, path: "dax")
            #expect(device.deepFlush == .notNeeded)
            let mapping = try Mapping([
                Segment(descriptor: file.number, offset: 0, length: 4096, device: device, path: "dax")
            ])
            #expect(mapping.deviceWithDeniedFlush == nil)
            #expect(mapping.persister.deepPersist(mapping.base, 64) == 0)
            #expect(FakeDeviceDAX.text(of: FakeDeviceDAX.deepFlushPath) == "0\n")
        }
    }

    @Test func withoutARegionThereIsNoDeepFlush() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 4096, hasRegion: false) == nil)
            let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
            let device = try DeviceDAX(descriptor: file.number, path: "dax")
            #expect(device.regionName == nil && device.deepFlush == .noRegion)
            let mapping = try Mapping([
                Segment(descriptor: file.number, offset: 0, length: 4096, device: device, path: "dax")
            ])
            #expect(mapping.persister.deepPersist(mapping.base, 64) == EOPNOTSUPP)
            // close() accepts a missing deep flush, because it promises nothing to an initiator.
            try mapping.close()
        }
    }

    @Test func partsStartAtMultiplesOfTheAlignment() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            let file = try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
            let device = try DeviceDAX(descriptor: file.number, path: "dax")
            let segment = Segment(descriptor: file.number, offset: 0, length: 4096, device: device, path: "dax")
            #expect(throws: PersistentMemoryError.misaligned(path: "dax", offset: 4096, alignment: 2 << 20)) {
                try Mapping([segment, segment])
            }
        }
    }
}
