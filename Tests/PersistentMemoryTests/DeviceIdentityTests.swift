import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

/// What tells one Device DAX from another, in made trees of sysfs.
@Suite struct DeviceIdentityTests {
    private let directory = TemporaryDirectory("rpmem-sysfs")
    private static let uuid = "5f7a1f0c-8a0e-4a3b-9c58-2d1f6f1f0a01"

    /// A Device DAX named `name` of a device of libnvdimm in region 0; `between` is a directory of kernels before 5.1.
    private func add(
        _ name: String = "dax0.0", uuid: String? = uuid, size: String = "1048576", align: String? = "4096",
        cookie: String? = "0x1234", between: String = ""
    ) throws {
        let region = "\(directory.path)/devices/ndbus0/region0"
        let parent = "\(region)/dax0.1"
        let device = "\(parent)\(between)/\(name)"
        for path in ["\(device)", "\(directory.path)/bus/dax/devices"] { makeDirectories(path) }
        for (path, text) in [
            ("\(parent)/uuid", uuid), ("\(parent)/size", size), ("\(parent)/align", align),
            ("\(region)/set_cookie", cookie), ("\(device)/size", "7"),
        ] {
            unlink(path)
            if let text { try write("\(text)\n", to: path) }
        }
        unlink("\(directory.path)/bus/dax/devices/\(name)")
        symlink(device, "\(directory.path)/bus/dax/devices/\(name)")
    }

    private func makeDirectories(_ path: String) {
        var sofar = ""
        for component in path.split(separator: "/") {
            sofar += "/\(component)"
            mkdir(sofar, 0o755)
        }
    }

    private func find(_ name: String = "dax0.0") throws -> DeviceIdentity? {
        try DeviceIdentity.find(device: name, sysfs: directory.path)
    }

    @Test(arguments: ["", "/dax"]) func theDeviceOfLibnvdimmHasIt(between: String) throws {
        try add(between: between)
        let found = try #require(try find())
        #expect(found.uuid == Self.uuid)
        #expect(found.text == "\(Self.uuid) size 1048576 align 4096 set 0x1234")
    }

    /// The kernel numbers devices anew with each boot.
    @Test func theNameDoesNotMatter() throws {
        try add()
        let before = try find()
        try add("dax3.0")
        #expect(try find("dax3.0") == before)
    }

    @Test func anotherConfigurationIsAnotherDevice() throws {
        try add()
        let before = try find()
        try add(size: "2097152")
        #expect(try find() != before)
        try add(align: "2097152")
        #expect(try find() != before)
        try add(cookie: "0x99")
        #expect(try find() != before)
        try add(cookie: nil)
        #expect(try find()?.text.hasSuffix(" set -") == true)
        try add(uuid: "5f7a1f0c-8a0e-4a3b-9c58-2d1f6f1f0a02")
        #expect(try find() != before && find()?.uuid.hasSuffix("02") == true)
    }

    /// Volatile memory of CXL and of `efi_fake_mem`; a device that is not set up; a name that leads out of the directory.
    @Test(arguments: [
        nil, "", "00000000-0000-0000-0000-000000000000", "../../../../../etc/passwd-------------",
        "5F7A1F0C-8A0E-4A3B-9C58-2D1F6F1F0A01",
    ])
    func otherDevicesHaveNone(uuid: String?) throws {
        try add(uuid: uuid)
        #expect(try find() == nil)
    }

    /// A region of CXL has a uuid, and no alignment.
    @Test func aRegionIsNoDevice() throws {
        try add(align: nil)
        #expect(try find() == nil)
    }

    @Test func aMissingDeviceIsAnError() throws {
        try add()
        #expect(throws: SystemCallError.self) { try find("dax9.0") }
    }
}
