import Glibc
import RpmemProtocol
import Testing

@Suite struct PoolDescriptorTests {
    @Test(arguments: [
        "a", "pool.set", "sub/dir/pool.set", "a/../b", "./a", "a/./b", "a//b", "a/", "a/b/../../c", "..a", "a..", "...",
        "a/...", " ", "-rf", "~", "pöol", "a\nb",
    ])
    func paths(path: String) throws {
        #expect(try PoolDescriptor(validating: path).bytes == Array(path.utf8))
    }

    @Test(arguments: ["..", "../a", "a/../..", "a/../../b", "./..", ".//../a", "a/b/../../../c"])
    func escaping(path: String) {
        #expect(throws: PoolDescriptor.FormatError.escapes(path)) { try PoolDescriptor(validating: path) }
    }

    @Test(arguments: ["/", "//", "/a", "/../a"]) func absolute(path: String) {
        #expect(throws: PoolDescriptor.FormatError.absolute(path)) { try PoolDescriptor(validating: path) }
    }

    @Test func empty() {
        #expect(throws: PoolDescriptor.FormatError.empty) { try PoolDescriptor(validating: "") }
        #expect(throws: PoolDescriptor.FormatError.empty) { try PoolDescriptor(terminated: []) }
        #expect(throws: PoolDescriptor.FormatError.empty) { try PoolDescriptor(terminated: [0]) }
    }

    @Test func notTerminated() {
        #expect(throws: PoolDescriptor.FormatError.notTerminated) { try PoolDescriptor(terminated: [97]) }
    }

    @Test func embeddedNUL() {
        #expect(throws: PoolDescriptor.FormatError.embeddedNUL(at: 1)) { try PoolDescriptor(validating: "a\0") }
        #expect(throws: PoolDescriptor.FormatError.embeddedNUL(at: 0)) { try PoolDescriptor(terminated: [0, 0]) }
    }

    @Test func tooLong() throws {
        let longest = String(repeating: "a", count: PoolDescriptor.maximumLength)
        _ = try PoolDescriptor(validating: longest)
        #expect(throws: PoolDescriptor.FormatError.tooLong(4096)) { try PoolDescriptor(validating: longest + "a") }
    }

    @Test func anyBytesButNUL() throws {
        let bytes = [UInt8](1...255).filter { $0 != UInt8(ascii: "/") }
        #expect(try PoolDescriptor(validating: bytes).bytes == bytes)
        #expect(try PoolDescriptor(terminated: (bytes + [0])[...]).bytes == bytes)
    }

    @Test func forC() throws {
        let name = try PoolDescriptor(validating: [0x61, 0xff])
        let copy = name.withCString { Array(UnsafeBufferPointer(start: $0, count: strlen($0) + 1)) }
        #expect(copy == [0x61, -1, 0])
    }

    @Test func faultsSayWhatWouldBeRight() {
        #expect(
            "\(PoolDescriptor.FormatError.absolute("/a"))".contains("relative to the target's pool set directory"))
        for fault in [
            PoolDescriptor.FormatError.empty, .notTerminated, .embeddedNUL(at: 3), .tooLong(5000), .escapes("../x"),
        ] {
            #expect("\(fault)".hasPrefix("the pool descriptor"))
        }
    }

    @Test(arguments: [
        (Array("plain name/x.set".utf8), "plain name/x.set"),
        (Array("päth".utf8), "päth"),
        ([0x61, 0x0a, 0x1b, 0x7f], "a\\x0a\\x1b\\x7f"),
        ([0x61, 0xff, 0x0a], "a\\xff\\x0a"),
        (Array("\"\\".utf8), "\\\"\\\\"),
        // A right-to-left override, and a line separator.
        (Array("\u{202e}\u{2028}".utf8), "\\u{202e}\\u{2028}"),
        ([], ""),
    ])
    func printed(bytes: [UInt8], text: String) {
        #expect(printable(bytes) == text)
    }

    @Test func aDescriptorIsPrintable() throws {
        #expect("\(try PoolDescriptor(validating: [0x61, 0x0a]))" == "a\\x0a")
    }

    @Test func longOnesAreCut() {
        #expect(
            printable(Array(repeating: UInt8(ascii: "a"), count: 300))
                == String(repeating: "a", count: 256) + "... (300 bytes)")
    }
}
