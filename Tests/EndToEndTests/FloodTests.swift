import CLinux
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// Random bytes on standard input of thousands of daemons: no daemon crashes, or takes more memory than a session without
/// lanes needs.
@Suite(.serialized) struct FloodTests {
    /// Bytes of address space a daemon gets; libfabric and its threads take a sixth of it. A sanitizer reserves as much
    /// as a process can have.
    private static let addressSpace: UInt64? = Sanitizer.isOn ? nil : 1 << 30

    /// Feeds one daemon. Returns the error that it finds; nil when there is none.
    ///
    /// - Parameter closes: Whether standard input ends behind the bytes; else the bytes must end the daemon.
    private static func feed(_ bytes: [UInt8], to target: Target, closes: Bool) -> String? {
        do {
            let session = try target.session()
            // Before the first byte arrives: no byte can make the daemon take more.
            if let addressSpace, rpmem_limit_address_space(session.process.identifier, addressSpace) != 0 {
                throw SystemCallError.last("prlimit")
            }
            // The daemon may have seen enough, and ended, before all is written.
            try? session.send(bytes)
            if closes { session.process.closeInput() }
            let (answer, ending) = try session.end()
            if ending != .exited(1), ending != .exited(0) { return "ended by \(String(describing: ending))" }
            // The initial status, and at most two answers: to CREATE or OPEN, and to the request that ended the session.
            if answer.count > 4 + 148 + 148 { return "\(answer.count) bytes of answers" }
            if answer.count < 4 || answer[0..<4] != [0, 0, 0, 0] { return "initial status \(answer.prefix(4))" }
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Feeds many daemons, a few at a time.
    ///
    /// - Parameter bytes: Returns the input of the daemon with this number.
    private static func flood(
        _ count: Int, _ target: Target, seed: UInt64,
        bytes: @escaping @Sendable (Int, inout SeededGenerator) -> (bytes: [UInt8], closes: Bool)
    ) throws {
        let next = Atomic(0)
        let failures = Mutex<[String]>([])
        let shared = SharedTarget(target: target)
        // Each thread's daemons are its own; the target is only read.
        try ThreadGroup(3) { _ in
            while true {
                let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
                if number >= count { return }
                var generator = SeededGenerator(seed: seed &+ UInt64(number) &* 0x1_0000_0001)
                let input = bytes(number, &generator)
                if let failure = feed(input.bytes, to: shared.target, closes: input.closes) {
                    failures.withLock { $0.append("number \(number), seed \(seed): \(failure)") }
                    // A broken daemon fails often, so a few failures are enough.
                    next.add(count / 10, ordering: .relaxed)
                }
            }
        }.join()
        let found = failures.withLock { $0 }
        #expect(found == [])
    }

    private struct SharedTarget: @unchecked Sendable {
        let target: Target
    }

    @Test(.disabled(if: Sanitizer.isOn, "so many daemons take too long; the other floods go on"))
    func randomBytes() throws {
        let target = try Target("log-level = err", "log-file = /dev/null")
        try target.addSet("one.set", "40M %/part")
        // Windows of one long stream, because making random bytes takes most of the time.
        var stream = SeededGenerator(seed: 5)
        let noise = stream.bytes(2 << 20)
        try Self.flood(LongRun.isOn ? 10_000 : 2000, target, seed: 1) { number, generator in
            let start = Int(generator.next() % UInt64(noise.count - 65536))
            return (Array(noise[start..<start + 65536]), number % 2 == 0)
        }
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }

    /// A valid type and size, and then random bytes.
    @Test func soundHeadersOnRandomBodies() throws {
        let target = try Target("log-level = err", "log-file = /dev/null")
        try target.addSet("one.set", "40M %/part")
        try Self.flood(1500, target, seed: 2) { _, generator in
            var bytes: [UInt8] = []
            for _ in 0..<1 + generator.next() % 4 {
                let kind = RequestKind.allCases[Int(generator.next() % 4)]
                let sizes = kind.requestSizes
                let span = UInt64(generator.next() % 2 == 0 ? sizes.count : min(sizes.count, 64))
                let size = sizes.lowerBound + Int(generator.next() % span)
                bytes += bigEndian(kind.rawValue) + bigEndian(UInt64(size))
                var body = generator.bytes(size - 12)
                // Sometimes the version is valid as well.
                if generator.next() % 4 != 0 { body.replaceSubrange(0..<4, with: [0, 0, 0, 1]) }
                bytes += body
            }
            return (bytes, true)
        }
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }

    /// Requests as they were captured, with some bytes changed, left out, doubled or cut off.
    @Test func mutatedRequests() throws {
        let target = try Target("log-level = err", "log-file = /dev/null", "lane-timeout = 1")
        try target.addSet("one.set", "40M %/part")
        try target.addSet("there.set", "40M %/there")
        try target.addSet("nohdrs.set", "OPTION NOHDRS", "4M %/nohdrs")
        try target.addSet("tiny.set", "4M %/tiny")
        try target.makePool("there.set")
        let names = try vectorNames(in: "control").filter { $0.hasSuffix(".c2s") }
        let captured = try names.map { try vector($0) }
        let open = try Request.open("there.set").encode()
        let attributes = Request.setAttributes(.sample).encode()
        let sources = captured + [open, open + attributes, open + attributes + Request.close([]).encode()]
        try Self.flood(1200, target, seed: 3) { _, generator in
            var bytes = sources[Int(generator.next() % UInt64(sources.count))]
            for _ in 0..<generator.next() % 4 {
                let place = Int(generator.next() % UInt64(bytes.count))
                switch generator.next() % 6 {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: generator.next())
                case 1: bytes[place] ^= 1 << UInt8(generator.next() % 8)
                case 2: bytes.remove(at: place)
                case 3: bytes.insert(UInt8(truncatingIfNeeded: generator.next()), at: place)
                case 4: bytes += bytes.suffix(from: place)
                default: bytes.removeSubrange(place...)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            return (bytes, true)
        }
        // No lane was connected: the pools of these sessions are removed, and the earlier pool opens.
        #expect(TemporaryDirectory.entries(of: target.parts) == ["there"])
        try target.configure([])
        try target.expectOpens("there.set")
    }

    /// The largest message without its last byte: the daemon never keeps more.
    @Test(.disabled(if: Sanitizer.isOn, "a sanitizer's own memory would count"))
    func aLargeRequestThatNeverEnds() throws {
        let target = try Target()
        let session = try target.session().ready()
        var generator = SeededGenerator(seed: 4)
        try session.send(
            bigEndian(RequestKind.open.rawValue) + bigEndian(UInt64(65536)) + [0, 0, 0, 1] + generator.bytes(65519))
        // The daemon waits for the rest, with the message in memory.
        let peak = try peakMemory(session.process.identifier)
        #expect(peak < 64 << 10, "\(peak) KiB")
        session.process.closeInput()
        try session.expectEnd(1)
        try session.expectOneError("ended inside a request, after 65535 bytes")
    }

    /// Sizes that no message has are refused before the rest arrives.
    @Test func statedSizesAreNotBelieved() throws {
        let target = try Target()
        for size in [0, 11, 65537, 1 << 31, 1 << 32, 1 << 63, .max] as [UInt64] {
            for kind in RequestKind.allCases {
                let session = try target.session().ready()
                try session.send(bigEndian(kind.rawValue) + bigEndian(size))
                #expect(try session.answer(to: kind) == .refused(kind, .badProtocol))
                try session.expectEnd(1)
            }
        }
    }
}

private func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
}

/// The most memory that a process had in use, in KiB.
private func peakMemory(_ process: pid_t) throws -> Int {
    let status = String(
        decoding: try readFile(try Descriptor.open("/proc/\(process)/status", O_RDONLY), limit: 1 << 16),
        as: UTF8.self)
    guard let match = status.firstMatch(of: /VmHWM:\s+(\d+) kB/), let peak = Int(match.1) else {
        throw TestSupportError("no VmHWM in \(status)")
    }
    return peak
}
