import RpmemProtocol
import TestSupport
import Testing

@Suite struct BytesTests {
    @Test func integersInBothOrders() throws {
        let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
        var reader = ByteReader(bytes)
        #expect(try reader.read(UInt64.self) == 0x0102_0304_0506_0708)
        reader = ByteReader(bytes)
        #expect(try reader.read(UInt64.self, .littleEndian) == 0x0807_0605_0403_0201)
        reader = ByteReader(bytes)
        #expect(try reader.read(UInt16.self) == 0x0102)
        #expect(try reader.read(UInt32.self, .littleEndian) == 0x0605_0403)
        #expect(try reader.read(UInt8.self) == 7)
    }

    @Test func hostOrderIsThatOfMemory() {
        let value: UInt32 = 0x0102_0304
        var writer = ByteWriter()
        writer.write(value, .host)
        #expect(writer.bytes == withUnsafeBytes(of: value) { Array($0) })
    }

    @Test func aFieldBeyondTheEndIsNotRead() throws {
        var reader = ByteReader([1, 2, 3])
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(UInt32.self) }
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(SIMD8<UInt8>.self) }
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(UUIDBytes.self) }
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(count: 4) }
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(count: -1) }
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(count: .max) }
        #expect(reader.rest == [1, 2, 3])
        #expect(try reader.read(count: 3) == [1, 2, 3])
        #expect(throws: ByteReader.EndOfBytes.self) { try reader.read(UInt8.self) }
        #expect(try reader.read(count: 0) == [])
    }

    @Test func aSliceIsReadFromItsStart() throws {
        var reader = ByteReader([9, 9, 1, 2][2...])
        #expect(try reader.read(UInt16.self) == 0x0102)
    }

    @Test func whatIsWrittenIsRead() throws {
        var generator = SeededGenerator(seed: 6)
        for order in [ByteOrder.bigEndian, .littleEndian] {
            for _ in 0..<100 {
                let (word, long) = (UInt32(truncatingIfNeeded: generator.next()), generator.next())
                let uuid = UUIDBytes(SIMD16(generator.bytes(16)))
                let vector = SIMD8(generator.bytes(8))
                var writer = ByteWriter()
                writer.write(word, order)
                writer.write(uuid)
                writer.write(long, order)
                writer.write(vector)
                var reader = ByteReader(writer.bytes)
                #expect(try reader.read(UInt32.self, order) == word)
                #expect(try reader.read(UUIDBytes.self) == uuid)
                #expect(try reader.read(UInt64.self, order) == long)
                #expect(try reader.read(SIMD8<UInt8>.self) == vector)
                #expect(reader.rest.isEmpty)
            }
        }
    }

    @Test func zeroFill() {
        var writer = ByteWriter()
        writer.write([1, 2])
        writer.zeroFill(to: 4)
        writer.zeroFill(to: 3)
        #expect(writer.bytes == [1, 2, 0, 0])
    }
}
