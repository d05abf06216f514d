import Glibc
import SystemSupport
import TestSupport
import Testing

/// glibc's words for a library that cannot be used, and what mends it.
@Suite struct LibraryFaultTests {
    private func reason(opening name: String) throws -> String {
        try #require(dlopen(name, RTLD_NOW | RTLD_LOCAL) == nil)
        return String(cString: try #require(dlerror()))
    }

    @Test func aLibraryThatIsNotThere() throws {
        let fault = LibraryFault(try reason(opening: "librpmem-none.so.1"))
        #expect(fault.isMissing && fault.file == "librpmem-none.so.1", "\(fault)")
        #expect(fault.remedy(package: "none1", root: "sudo ") == "`sudo apt-get install none1`")
        #expect(fault.remedy(package: nil) == "install its package")
        // What the library itself needs is in another package.
        let remedy = fault.remedy(for: "libfabric.so.1", package: "libfabric1")
        #expect(remedy == "install the package of librpmem-none.so.1, which libfabric.so.1 needs")
    }

    /// Another package, or the same one again, does not help: the linker finds this file first.
    @Test func aFileThatIsNoLibrary() throws {
        let directory = TemporaryDirectory("library")
        let path = directory.file("libfabric.so.1")
        try write("no library", to: path)
        let fault = LibraryFault(try reason(opening: path))
        #expect(!fault.isMissing && fault.file == path, "\(fault)")
        #expect(
            fault.remedy(for: "libfabric.so.1", package: "libfabric1")
                == "remove \(path), or take its directory out of LD_LIBRARY_PATH")
    }

    @Test(arguments: [
        "/lib/x86_64-linux-gnu/libfabric.so.1: invalid ELF header",
        "/usr/lib/libfabric.so.1: undefined symbol: fi_getinfo, version FABRIC_1.3",
        "/lib/libc.so.6: version `GLIBC_9' not found (required by /usr/lib/libfabric.so.1)",
    ]) func aBrokenFileOfAPackage(_ text: String) {
        let fault = LibraryFault(text)
        #expect(fault.file.hasSuffix("/libfabric.so.1") && !fault.isMissing, "\(fault)")
        #expect(fault.remedy(package: "libfabric1") == "`apt-get install --reinstall libfabric1`")
    }

    @Test func textsOfAnybody() {
        for text in ["", ":", ": ", "x", "libx.so: cannot open shared object file: Permission denied"] {
            #expect(LibraryFault(text).remedy(package: "x1") == "correct what that says")
        }
    }
}
