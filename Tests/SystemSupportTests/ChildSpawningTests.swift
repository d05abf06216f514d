import Glibc
import SystemSupport
import Testing

/// Starting a program.
@Suite struct ChildSpawningTests {
    /// In a process that had closed its standard input, the descriptor for the child's standard output can have the number 0.
    @Test func aStreamMayHaveTheNumberOfAnotherStream() async {
        await #expect(processExitsWith: .success) {
            let input = try Pipe()
            let output = try Pipe()
            try #require(dup2(output.write.number, 0) == 0)
            let child = try spawnChild(
                ["/bin/sh", "-c", "read line; echo \"got $line\""], input: input.read, output: Descriptor(owning: 0),
                errors: output.write)
            try writeAll(Array("word\n".utf8), to: input.write.number)
            var status: Int32 = 0
            #expect(waitpid(child, &status, 0) == child && status == 0)
            var bytes = [UInt8](repeating: 0, count: 64)
            let count = read(output.read.number, &bytes, bytes.count)
            #expect(String(decoding: bytes.prefix(max(0, count)), as: UTF8.self) == "got word\n")
        }
    }

    @Test func aChildHasTheEnvironmentAndTheDirectoryThatItIsGiven() throws {
        let output = try Pipe()
        let null = try Descriptor.open("/dev/null", O_RDWR)
        let child = try spawnChild(
            ["/bin/sh", "-c", "echo $KEY $HOME; pwd"], input: null, output: output.write, errors: null,
            environment: ["KEY": "value"], directory: "/proc")
        var status: Int32 = 0
        #expect(waitpid(child, &status, 0) == child && status == 0)
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(output.read.number, &bytes, bytes.count)
        #expect(String(decoding: bytes.prefix(max(0, count)), as: UTF8.self) == "value\n/proc\n")
    }

    @Test func aMissingProgramIsNamed() throws {
        let null = try Descriptor.open("/dev/null", O_RDWR)
        let error = #expect(throws: SystemCallError.self) {
            _ = try spawnChild(["/no/such/program"], input: null, output: null, errors: null)
        }
        #expect(error == SystemCallError("posix_spawn", on: "/no/such/program", errno: .noSuchFileOrDirectory))
    }
}
