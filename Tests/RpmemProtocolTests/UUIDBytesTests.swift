import RpmemProtocol
import Testing

@Suite struct UUIDBytesTests {
    @Test func randomOnesAreOfVersionFour() {
        var seen: Set<UUIDBytes> = []
        for _ in 0..<100 {
            let uuid = UUIDBytes.random()
            let text = Array("\(uuid)")
            #expect(text[14] == "4" && "89ab".contains(text[19]), "\(uuid)")
            seen.insert(uuid)
        }
        #expect(seen.count == 100)
    }

    /// The first three groups are little-endian numbers; the rest are bytes.
    @Test func itIsWrittenAsPmempoolWritesIt() {
        let uuid = UUIDBytes(SIMD16((0..<16).map { UInt8($0) }))
        #expect("\(uuid)" == "03020100-0504-0706-0809-0a0b0c0d0e0f")
        #expect(uuid.digits == "000102030405060708090a0b0c0d0e0f")
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
