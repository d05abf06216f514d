import RpmemProtocol
import Testing

@Suite struct UUIDBytesTests {
    @Test func randomOnesAreOfVersionFour() {
        var seen: Set<UUIDBytes> = []
        for _ in 0..<100 {
            let uuid = UUIDBytes.random()
            #expect(uuid.bytes[6] >> 4 == 4)
            #expect(uuid.bytes[8] >> 6 == 2)
            seen.insert(uuid)
        }
        #expect(seen.count == 100)
    }

    @Test func zeroIsZero() {
        #expect(UUIDBytes.zero.isZero)
        for index in 0..<16 {
            var uuid = UUIDBytes.zero
            uuid.bytes[index] = 0x80
            #expect(!uuid.isZero)
        }
    }
}
