import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// A disk whose flushes fail from the n-th on: what was written since the last that succeeded is gone with the power. Writes
/// themselves succeed, so only the flush tells.
@Suite(
    .serialized,
    .enabled(
        if: FailingDisk.skipReason(.ext4, cached: true) == nil,
        "no ext4 on a disk with a write cache here"))
struct StorageFlushTests {
    private static let size: UInt64 = 8 << 20

    /// A disk with a write cache, and a pool set of two parts on it.
    private func scene() throws -> (disk: FailingDisk, target: Target) {
        let disk = try FailingDisk(.ext4, cached: true)
        let target = try Target()
        try target.addSet("one.set", "4M \(disk.path)/part0", "8M \(disk.path)/part1")
        return (disk, target)
    }

    private func mark(of part: String, _ disk: FailingDisk) throws -> UInt8 {
        try disk.stored(part, at: 4024 + 16, count: 1)[0]
    }

    @Test(arguments: [PersistMode.write, .inline, .deep]) func nothingIsAcknowledgedFromTheFailureOn(
        _ mode: PersistMode
    ) throws {
        let (disk, target) = try scene()
        for failing in 0..<4 {
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(
                failing == 0
                    ? .create("one.set", size: Self.size, lanes: 1) : .open("one.set", size: Self.size, lanes: 1))
            let client = try LaneClient(.sockets, lanes)
            try disk.synchronize()
            try disk.fail(.flush, after: failing)
            var acknowledged: [(offset: UInt64, bytes: [UInt8])] = []
            for number in 0..<8 {
                let offset = UInt64(1 << 20 + number * 8192)
                let bytes = [UInt8](repeating: UInt8(16 * failing + number + 1), count: 64)
                do {
                    if mode != .inline { try client[0].write(bytes, at: offset) }
                    let answer = try client[0].persist(mode, at: offset, size: 64, data: mode == .inline ? bytes : [])
                    #expect(answer == PersistResponse(lane: 0))
                } catch { break }
                acknowledged.append((offset, bytes))
            }
            #expect(acknowledged.count <= failing, "as many as flushes succeeded")
            try session.expectEnd(1)
            #expect(try session.messages("err").contains { $0.contains("Input/output error") })
            for range in acknowledged {
                let stored = try disk.stored("part0", at: Int(range.offset), count: 64)
                #expect(stored == range.bytes, "acknowledged, and lost with the power")
            }
            #expect(try mark(of: "part0", disk) == 1, "the pool is marked clean")
            try disk.recover()
        }
        try target.expectOpens("one.set", size: Self.size)
    }

    @Test func setAttributesAndCloseAreRefused() throws {
        let (disk, target) = try scene()
        try target.makePool("one.set", size: Self.size)
        try disk.synchronize()
        var changed = PoolAttributes.sample
        changed.major = 9
        for request in [Request.setAttributes(changed), .close([])] {
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.open("one.set", size: Self.size, lanes: 1))
            let client = try LaneClient(.sockets, lanes)
            try disk.fail(.flush)
            if case .close = request { client.shutDown() }
            #expect(try session.ask(request).status == .fatal)
            try session.expectEnd(1)
            #expect(try mark(of: "part0", disk) == 1, "the pool is marked clean")
            try disk.recover()
            try target.expectOpens("one.set", size: Self.size)
        }
    }

    /// The answer to the first request of a session, on a disk whose flushes fail after some. The daemon is killed then.
    private func answer(
        to request: Request, flushes: Int, _ disk: FailingDisk, _ target: Target
    ) throws -> Status {
        try disk.synchronize()
        try disk.fail(.flush, after: flushes)
        let session = try target.session().ready()
        let status = try session.ask(request).status
        session.process.signal(SIGKILL)
        _ = try session.end()
        return status
    }

    /// CREATE with each of its flushes as the first that fails. Answered 0, the pool outlasts the loss of power; refused, it is
    /// in nobody's way.
    @Test func createAtEachFlush() throws {
        let (disk, target) = try scene()
        var flushes = 0
        while true {
            let status = try answer(
                to: .create("one.set", size: Self.size, lanes: 1), flushes: flushes, disk, target)
            try disk.recover()
            if status == .success { break }
            #expect(status == .fatal)
            flushes += 1
            try #require(flushes < 100, "CREATE needs no end of flushes")
        }
        #expect(flushes > 3, "each part's zeros and headers, and their directory")
        try target.expectOpens("one.set", size: Self.size)
        #expect(try mark(of: "part0", disk) == 0)
    }

    /// OPEN with each of its flushes as the first that fails: answered 0, the pool is marked open whatever happens then.
    @Test func openAtEachFlush() throws {
        let (disk, target) = try scene()
        try target.makePool("one.set", size: Self.size)
        var flushes = 0
        while true {
            let status = try answer(
                to: .open("one.set", size: Self.size, lanes: 1), flushes: flushes, disk, target)
            let mark = try mark(of: "part0", disk)
            try disk.recover()
            if status == .success {
                #expect(mark == 1, "a session is open, and the medium calls the pool clean")
                break
            }
            #expect(status == .fatal)
            try target.expectOpens("one.set", size: Self.size)
            flushes += 1
            try #require(flushes < 100, "OPEN needs no end of flushes")
        }
        #expect(flushes > 0, "the mark needs a flush")
    }
}
