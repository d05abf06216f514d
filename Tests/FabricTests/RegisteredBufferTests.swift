import CFabric
import Fabric
import FabricTestSupport
import Glibc
import TestSupport
import Testing

/// The order in which regions are closed and memory is freed.
@Suite(.serialized) struct RegisteredBufferTests {
    /// So large that malloc maps it by itself: freed memory is unmapped, which mincore(2) tells.
    private static let byteCount = 64 << 20
    /// AddressSanitizer keeps freed memory for a while.
    private static let freedMemoryStays = Sanitizer.isAddress

    @Test(arguments: loopbackProviderNames) func registersForEachAccess(_ provider: String) throws {
        let side = try Side(provider: provider, listening: true)
        let buffer = try RegisteredBuffer(byteCount: 100, for: .localMessages, .remote, in: side.domain)
        #expect(buffer.bytes.count == 100)
        #expect(UInt(bitPattern: buffer.bytes.baseAddress) % 4096 == 0)
        #expect(buffer.region(for: .localMessages) !== buffer.region(for: .remote))
        #expect(buffer.descriptor(for: .localMessages) == buffer.region(for: .localMessages).descriptor)
    }

    @Test func closesItsRegionsBeforeItFreesTheMemory() throws {
        let side = try Side(provider: "tcp", listening: true)
        let log = RegistrationLog(side.domain, failsAt: nil)
        do {
            _ = try RegisteredBuffer(byteCount: Self.byteCount, for: .localMessages, .localTransfers, in: side.domain)
        }
        log.restore()
        #expect(log.entries.map(\.step) == ["register", "register", "close", "close"])
        #expect(log.entries.allSatisfy { $0.memoryIsMapped })
        #expect(!log.memoryIsMapped || Self.freedMemoryStays)
    }

    /// Nothing is freed twice, which would end the process, and nothing is left.
    @Test(arguments: [0, 1]) func aFailedRegistrationLeavesNothing(_ number: Int) throws {
        let side = try Side(provider: "tcp", listening: true)
        let log = RegistrationLog(side.domain, failsAt: number)
        let error = #expect(throws: FabricError.self) {
            _ = try RegisteredBuffer(byteCount: Self.byteCount, for: .localMessages, .localTransfers, in: side.domain)
        }
        log.restore()
        #expect(error?.operation == .registerMemory)
        #expect(error?.code == ENOMEM)
        #expect(log.entries.map(\.step) == [["failed"], ["register", "failed", "close"]][number])
        #expect(log.entries.allSatisfy { $0.memoryIsMapped })
        #expect(!log.memoryIsMapped || Self.freedMemoryStays)
    }
}

/// Replaces a domain's function that registers memory by one that records each call, and makes one fail if wanted.
private final class RegistrationLog {
    private let domain: FabricDomain
    private let original: UnsafeMutablePointer<fi_ops_mr>?
    private let operations = UnsafeMutablePointer<fi_ops_mr>.allocate(capacity: 1)
    private let regionOperations = UnsafeMutablePointer<fi_ops>.allocate(capacity: 1)
    private let failsAt: Int?
    private var address: UnsafeMutableRawPointer?
    private(set) var entries: [(step: String, memoryIsMapped: Bool)] = []

    /// The one in use: libfabric's calls have no argument for it. The suite is serialized.
    private nonisolated(unsafe) static var current: RegistrationLog?

    init(_ domain: FabricDomain, failsAt: Int?) {
        self.domain = domain
        self.failsAt = failsAt
        original = domain.domain.pointee.mr
        operations.initialize(to: fi_ops_mr())
        regionOperations.initialize(to: fi_ops())
        operations.pointee.reg = { _, memory, _, _, _, _, _, region, _ in
            RegistrationLog.current!.register(UnsafeMutableRawPointer(mutating: memory), region)
        }
        regionOperations.pointee.close = { fid in
            RegistrationLog.current!.note("close")
            UnsafeMutableRawPointer(fid!).deallocate()
            return 0
        }
        domain.domain.pointee.mr = operations
        Self.current = self
    }

    /// The side's own regions are registered with the provider, and closed with it.
    func restore() {
        domain.domain.pointee.mr = original
    }

    deinit {
        operations.deallocate()
        regionOperations.deallocate()
    }

    var memoryIsMapped: Bool {
        var residency: UInt8 = 0
        return mincore(address, 1, &residency) == 0
    }

    private func note(_ step: String) { entries.append((step, memoryIsMapped)) }

    private func register(
        _ memory: UnsafeMutableRawPointer?, _ region: UnsafeMutablePointer<UnsafeMutablePointer<fid_mr>?>?
    ) -> Int32 {
        address = memory
        if entries.count == failsAt {
            note("failed")
            return -ENOMEM
        }
        let made = UnsafeMutablePointer<fid_mr>.allocate(capacity: 1)
        made.initialize(to: fid_mr())
        made.pointee.fid.ops = regionOperations
        region!.pointee = made
        note("register")
        return 0
    }
}
