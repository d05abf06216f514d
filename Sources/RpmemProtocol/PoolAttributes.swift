/// An application's description of its pool: 104 bytes in CREATE, OPEN_RESP and SET_ATTR, most of which are in the pool
/// header. `docs/protocol.md`, section 2.3 (Pool attributes).
public struct PoolAttributes: Hashable, Sendable {
    /// Eight bytes of the application's choice, in the order of the wire: element 0 of the vector is the first byte.
    public var signature: SIMD8<UInt8>
    public var major: UInt32
    public var compatFeatures: UInt32
    public var incompatFeatures: UInt32
    public var roCompatFeatures: UInt32
    public var poolsetUUID: UUIDBytes
    /// Identifies the first part.
    public var uuid: UUIDBytes
    /// Identifies the next replica's first part.
    public var nextUUID: UUIDBytes
    /// Identifies the previous replica's first part.
    public var previousUUID: UUIDBytes
    /// The header's arch flags, byte for byte. Zero asks for those of the target machine.
    public var userFlags: UUIDBytes

    /// Bytes on the wire.
    public static let size = 104

    /// All zero: no attributes, for pool sets with `OPTION NOHDRS`.
    public static let none = PoolAttributes()

    public init(
        signature: SIMD8<UInt8> = SIMD8(repeating: 0), major: UInt32 = 0, compatFeatures: UInt32 = 0,
        incompatFeatures: UInt32 = 0, roCompatFeatures: UInt32 = 0, poolsetUUID: UUIDBytes = .zero,
        uuid: UUIDBytes = .zero, nextUUID: UUIDBytes = .zero, previousUUID: UUIDBytes = .zero,
        userFlags: UUIDBytes = .zero
    ) {
        self.signature = signature
        self.major = major
        self.compatFeatures = compatFeatures
        self.incompatFeatures = incompatFeatures
        self.roCompatFeatures = roCompatFeatures
        self.poolsetUUID = poolsetUUID
        self.uuid = uuid
        self.nextUUID = nextUUID
        self.previousUUID = previousUUID
        self.userFlags = userFlags
    }

    public var isNone: Bool { self == .none }
}

extension PoolAttributes {
    /// Reads the 104 bytes of CREATE, OPEN_RESP and SET_ATTR; any values are legal.
    package init(from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        self.init(
            signature: try reader.read(SIMD8<UInt8>.self),
            major: try reader.read(),
            compatFeatures: try reader.read(),
            incompatFeatures: try reader.read(),
            roCompatFeatures: try reader.read(),
            poolsetUUID: try reader.read(UUIDBytes.self),
            uuid: try reader.read(UUIDBytes.self),
            nextUUID: try reader.read(UUIDBytes.self),
            previousUUID: try reader.read(UUIDBytes.self),
            userFlags: try reader.read(UUIDBytes.self))
    }

    /// Writes those 104 bytes.
    package func write(to writer: inout ByteWriter) {
        writer.write(signature)
        writer.write(major)
        writer.write(compatFeatures)
        writer.write(incompatFeatures)
        writer.write(roCompatFeatures)
        writer.write(poolsetUUID)
        writer.write(uuid)
        writer.write(nextUUID)
        writer.write(previousUUID)
        writer.write(userFlags)
    }
}
