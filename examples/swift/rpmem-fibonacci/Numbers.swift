import RpmemInitiator

/// Two neighbours of the Fibonacci sequence, as they lie in a pool: 8 bytes of signature, the first one's index, both
/// values and a checksum, 8 bytes each. `examples/c/fibonacci.c` reads and writes the same.
struct Numbers: Equatable {
    let index: UInt64
    let first: UInt64
    let second: UInt64

    /// The first byte that is not the pool's header.
    static let offset = 4096
    static let byteCount = 40

    static let signature: SIMD8<UInt8> = [0x46, 0x49, 0x42, 0x4f, 0, 0, 0, 0]  // FIBO

    static func poolAttributes() -> PoolAttributes {
        let uuid = UUIDBytes.random()
        return PoolAttributes(
            signature: signature, major: 1, poolsetUUID: .random(), uuid: uuid, nextUUID: uuid, previousUUID: uuid)
    }

    static let start = Numbers(index: 0, first: 0, second: 1)

    /// A step further; nil where the next number has more than 64 bits.
    var next: Numbers? {
        let (sum, overflow) = first.addingReportingOverflow(second)
        return overflow ? nil : Numbers(index: index + 1, first: second, second: sum)
    }

    /// What is found where numbers should be.
    enum Found: Equatable {
        case numbers(Numbers)
        /// Zeros: nothing was written yet.
        case nothing
        case damage

        var numbers: Numbers? { if case .numbers(let numbers) = self { numbers } else { nil } }
    }

    /// Examines ``byteCount`` bytes.
    static func find(in bytes: UnsafeRawBufferPointer) -> Found {
        if bytes.allSatisfy({ $0 == 0 }) { return .nothing }
        func word(_ index: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self) }
        guard bytes.loadUnaligned(as: SIMD8<UInt8>.self) == signature,
            word(4) == checksum(UnsafeRawBufferPointer(rebasing: bytes[..<32]))
        else { return .damage }
        return .numbers(Numbers(index: word(1), first: word(2), second: word(3)))
    }

    /// Writes ``byteCount`` bytes.
    func write(to bytes: UnsafeMutableRawBufferPointer) {
        bytes.storeBytes(of: Self.signature, as: SIMD8<UInt8>.self)
        bytes.storeBytes(of: index, toByteOffset: 8, as: UInt64.self)
        bytes.storeBytes(of: first, toByteOffset: 16, as: UInt64.self)
        bytes.storeBytes(of: second, toByteOffset: 24, as: UInt64.self)
        bytes.storeBytes(
            of: Self.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<32])), toByteOffset: 32, as: UInt64.self)
    }

    /// FNV-1a.
    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        bytes.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    }
}
