import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Long transfers, and large pools.
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct DataSizesTests {
    /// 24 MiB in one call of each kind, and read back in one call.
    @Test(arguments: loopbackProviders) func longTransfers(_ provider: Provider) throws {
        let reach = try Reach()
        let original = try Original(
            PoolPlan(on: reach.target, "pool.set", partSizes: [13 << 20, 13 << 20]))
        var random = SeededGenerator(seed: 41)
        let pool = try original.create(reach, lanes: 2, reach.options(provider))
        let found = try Pages(24 << 20)
        for (index, call) in ReplicationCall.allCases.enumerated() {
            let start = 4096 + index * 1001
            let range = start..<start + 24 << 20
            try original.replicate(range, to: pool, by: call, lane: 0, &random)
            try pool.read(into: found.bytes, offset: start, lane: 1)
            #expect(
                firstDifference(UnsafeRawBufferPointer(found.bytes), UnsafeRawBufferPointer(original.expected[range]))
                    == nil)
        }
        try pool.close()
        try original.expectOnParts()
    }

    /// Opening a pool of 64 GiB touches no more of it, and takes no more memory, than one of 64 MiB.
    @Test(arguments: loopbackProviders, [PoolKind.onePart, .plainFile])
    func aLargeSparsePartCostsNothing(_ provider: Provider, _ kind: PoolKind) throws {
        let small = try openSparse(64 << 20, provider, kind)
        let large = try openSparse(64 << 30, provider, kind)
        #expect(large < small + 4096, "\(large) KiB instead of \(small) KiB")
    }

    /// Opens and closes a pool of `size` bytes that is all holes but for its header, then writes to its end.
    ///
    /// - Returns: The most memory that the daemon had in use while it was open, in KiB.
    private func openSparse(_ size: Int, _ provider: Provider, _ kind: PoolKind) throws -> Int {
        let reach = try Reach()
        let options = reach.options(provider)
        // CREATE allocates all blocks, so the test creates a small pool and enlarges its file. Headers have no sizes.
        func plan(_ size: Int) throws -> PoolPlan {
            if kind == .plainFile { return try PoolPlan(on: reach.target, plainFile: "plain.pool", size: size) }
            return try PoolPlan(on: reach.target, "pool.set", partSizes: [size])
        }
        try Original(plan(2 << 20)).create(reach, lanes: 1, options).close()
        let original = try Original(plan(size))
        let path = original.plan.paths[0]
        guard truncate(path, off_t(size)) == 0 else { throw SystemCallError.last("truncate", on: path) }
        let before = try blocks(path)

        let pool = try original.open(reach, lanes: 1, options)
        #expect(try blocks(path) == before)
        let peak = try peakMemory(of: reach.daemon())
        try pool.close()
        #expect(try blocks(path) == before)

        var random = SeededGenerator(seed: 42)
        let again = try original.open(reach, lanes: 1, options)
        let end = size - 5000..<size
        try original.replicate(end, to: again, by: .persist, lane: 0, &random)
        let found = try Pages(8192)
        try again.read(into: found[0..<5000], offset: size - 5000, lane: 0)
        #expect(
            firstDifference(
                UnsafeRawBufferPointer(found[0..<5000]), UnsafeRawBufferPointer(original.expected[end])) == nil)
        try again.close()
        try original.plan.expectOnParts(original.expected, in: [end])
        // A file system may allocate more than the two pages, but not much.
        #expect(try blocks(path) - before <= (1 << 20) / 512)
        return peak
    }

    /// Disk space of a file, in blocks of 512 bytes.
    private func blocks(_ path: String) throws -> Int {
        var status = stat()
        guard stat(path, &status) == 0 else { throw SystemCallError.last("stat", on: path) }
        return status.st_blocks
    }

    /// In KiB.
    private func peakMemory(of process: pid_t) throws -> Int {
        let file = try Descriptor.open("/proc/\(process)/status", O_RDONLY)
        let text = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        guard let match = text.firstMatch(of: /VmHWM:\s+(\d+) kB/), let peak = Int(match.1) else {
            throw TestSupportError("no VmHWM of process \(process)")
        }
        return peak
    }
}
