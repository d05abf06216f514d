import CFabric
import Fabric
import Glibc
import Testing

@testable import RpmemTarget

/// The number of lanes that a session has buffers for, and buffers that cannot be registered.
@Suite struct LaneBlockTests {
    /// Inline capacities: none, that of stock initiators, the largest that the target accepts, and larger ones.
    @Test(arguments: [(0, 524_288), (8192, 8065), (1 << 20, 63), (64 << 20, 1), (1 << 40, 1)])
    func buffersAreLimited(_ inlineCapacity: Int, _ lanes: Int) {
        #expect(LaneBlock.laneLimit(inlineCapacity: inlineCapacity) == lanes)
    }

    /// A limit on locked memory that has room for the pool, but not for the buffers, has this effect. The test runs in a process of
    /// its own: memory that is freed twice ends the process by SIGABRT.
    @Test func buffersThatCannotBeRegisteredAreFreedOnce() async {
        await #expect(processExitsWith: .success) {
            let info = try FabricInfo.query(provider: "tcp", node: "127.0.0.1", service: nil, listening: true)
            let domain = try FabricDomain(info)
            let original = domain.domain.pointee.mr
            let operations = UnsafeMutablePointer<fi_ops_mr>.allocate(capacity: 1)
            defer { operations.deallocate() }
            operations.initialize(to: fi_ops_mr())
            operations.pointee.reg = { _, _, _, _, _, _, _, _, _ in -ENOMEM }
            domain.domain.pointee.mr = operations
            let error = #expect(throws: FabricError.self) {
                _ = try LaneBlock(count: 4, inlineCapacity: 8192, in: domain)
            }
            domain.domain.pointee.mr = original
            #expect(error?.operation == .registerMemory)
        }
    }
}
