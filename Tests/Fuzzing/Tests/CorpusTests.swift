import Glibc
import SystemSupport
import TestSupport
import Testing

/// Every input that `make fuzz` has kept.
@Suite(.timeLimit(.minutes(10))) struct CorpusTests {
    private static let directory = Binaries.packageDirectory + "/Tests/Fuzzing/Corpus"

    private static func inputs(_ target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
        let folder = "\(directory)/\(target.rawValue)"
        return try TemporaryDirectory.entries(of: folder).map { name in
            (name, try readFile(try Descriptor.open("\(folder)/\(name)", O_RDONLY), limit: 1 << 20))
        }
    }

    @Test(arguments: FuzzTarget.allCases) func inputsBreakNoRule(target: FuzzTarget) throws {
        let inputs = try Self.inputs(target)
        #expect(!inputs.isEmpty)
        for (name, bytes) in inputs {
            #expect(throws: Never.self, "Tests/Fuzzing/Corpus/\(target.rawValue)/\(name)") { try target.check(bytes) }
        }
    }
}
