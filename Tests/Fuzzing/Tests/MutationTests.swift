import RpmemProtocol
import TestSupport
import Testing

/// Captured streams with random changes: the inputs that `make test` tries without libFuzzer.
@Suite struct MutationTests {
    private static let captured: [[UInt8]] = {
        let names = (try? vectorNames(in: "control")) ?? []
        return names.compactMap { try? vector($0) }
    }()

    /// A captured stream with some bytes changed, added or missing; sometimes random bytes only.
    private static func hostileStream(_ generator: inout SeededGenerator) -> [UInt8] {
        var bytes =
            generator.next() % 8 == 0
            ? generator.bytes(Int.random(in: 0...200, using: &generator))
            : captured.randomElement(using: &generator) ?? []
        for _ in 0..<generator.next() % 4 {
            guard let index = bytes.indices.randomElement(using: &generator) else { break }
            switch generator.next() % 6 {
            case 0: bytes[index] = UInt8(truncatingIfNeeded: generator.next())
            case 1: bytes[index] ^= 1 << (generator.next() % 8)
            case 2: bytes[index] = [0, 1, 0x7f, 0x80, 0xff][Int(generator.next() % 5)]
            case 3: bytes.remove(at: index)
            case 4: bytes.insert(UInt8(truncatingIfNeeded: generator.next()), at: index)
            default: bytes.removeSubrange(index...)
            }
        }
        return bytes
    }

    @Test(arguments: 0..<10 as Range<UInt64>) func requests(seed: UInt64) {
        var generator = SeededGenerator(seed: 1000 + seed)
        for _ in 0..<20_000 {
            let bytes = Self.hostileStream(&generator)
            do throws(Finding) { try FuzzTarget.requests.check(bytes) } catch { Issue.record("\(error): \(bytes)") }
        }
    }

    @Test(arguments: 0..<4 as Range<UInt64>) func answers(seed: UInt64) {
        var generator = SeededGenerator(seed: 2000 + seed)
        for _ in 0..<20_000 {
            let bytes = generator.bytes(3) + Self.hostileStream(&generator)
            do throws(Finding) { try FuzzTarget.responses.check(bytes) } catch { Issue.record("\(error): \(bytes)") }
        }
    }

    @Test(arguments: 0..<4 as Range<UInt64>) func digests(seed: UInt64) {
        var generator = SeededGenerator(seed: 3000 + seed)
        for _ in 0..<5_000 {
            // Frames that may be right, of a few blocks.
            let blockCount = generator.next() % 12
            var bytes = [UInt8(blockCount), 0]
            var first: UInt64 = 0
            while generator.next() % 8 != 0 {
                let count = min(generator.next() % 5, blockCount - min(blockCount, first))
                bytes += withUnsafeBytes(of: first.bigEndian, Array.init) + [0, 0, 0, UInt8(count)]
                bytes += generator.bytes(Int(count) * 16)
                first += count
            }
            if generator.next() % 2 == 0, let index = bytes.indices.randomElement(using: &generator) {
                bytes[index] ^= 1 << (generator.next() % 8)
            }
            do throws(Finding) { try FuzzTarget.digests.check(bytes) } catch { Issue.record("\(error): \(bytes)") }
        }
    }

    @Test func floodsAreBounded() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<50 {
            var requests = RequestDecoder()
            var responses = ResponseDecoder()
            let flood = generator.bytes(65536)
            for _ in 0..<4 {
                requests.append(flood)
                responses.append(flood)
                #expect(requests.pendingByteCount <= ControlProtocol.maximumPendingBytes)
                #expect(responses.pendingByteCount <= ControlProtocol.maximumPendingBytes)
            }
            #expect(throws: RequestDecodingError.self) { while try requests.next() != nil {} }
            #expect(throws: ResponseDecodingError.self) { while try responses.next(answering: .open) != nil {} }
            #expect(requests.pendingByteCount == 0)
            #expect(responses.pendingByteCount == 0)
        }
    }
}
