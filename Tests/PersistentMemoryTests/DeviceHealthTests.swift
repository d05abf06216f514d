import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

@Suite struct DeviceHealthTests {
    let directory = TemporaryDirectory("rpmem-health")

    @Test func anOrdinaryFileHasNothingToSay() throws {
        let file = try Descriptor.open(directory.file("a"), O_RDWR | O_CREAT, mode: 0o600)
        #expect(ftruncate(file.number, 2 << 20) == 0)
        let health = DeviceHealth.libpmem2
        #expect(try health.unsafeShutdownCount(file.number, "a") == 0)
        #expect(try health.deviceID(file.number, "a") == nil)
        #expect(try health.badBlocks(file.number, "a") == [])
    }

    @Test func whatTheLibraryRefusesIsNamed() throws {
        let directory = try Descriptor.open(directory.path, O_RDONLY)
        do throws(PersistentMemoryError) {
            _ = try DeviceHealth.libpmem2.unsafeShutdownCount(directory.number, "/the/path")
            Issue.record("a directory was taken")
        } catch {
            guard case .library(let call, let subject, let reason, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(call == "pmem2_source_from_fd" && subject == "/the/path" && !reason.isEmpty)
        }
        #expect(throws: PersistentMemoryError.self) { try DeviceHealth.libpmem2.badBlocks(-1, "closed") }
        #expect(throws: PersistentMemoryError.self) { try DeviceHealth.libpmem2.deviceID(-1, "closed") }
    }
}

@Suite(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
struct BadBlocksOfDevicesTests {
    /// A process without the permission to read the place of a Device DAX in its region can still read whether the region has
    /// bad blocks.
    @Test(arguments: [nil, "", "\n"]) func aRegionWithoutBadBlocksHasNoneInTheDevice(badBlocks: String?) async {
        await #expect(processExitsWith: .success) { [badBlocks] in
            let file = try Self.deviceOfUnknownPlace(badBlocks: badBlocks)
            #expect(try DeviceHealth.libpmem2.badBlocks(file.number, "dax") == [])
        }
    }

    @Test func aRegionWithBadBlocksMayHaveThemInTheDevice() async {
        await #expect(processExitsWith: .success) {
            let file = try Self.deviceOfUnknownPlace(badBlocks: "8 2\n4096 1\n")
            #expect(throws: PersistentMemoryError.badBlocksSomewhere(path: "dax", region: "region0")) {
                try DeviceHealth.libpmem2.badBlocks(file.number, "dax")
            }
        }
    }

    private static func deviceOfUnknownPlace(badBlocks: String?) throws -> Descriptor {
        let failure = FakeDeviceDAX.install(
            size: 16 << 20, alignment: 2 << 20, isPlaceKnown: false, badBlocks: badBlocks)
        try #require(failure == nil)
        return try Descriptor.open(FakeDeviceDAX.devicePath, O_RDWR)
    }
}
