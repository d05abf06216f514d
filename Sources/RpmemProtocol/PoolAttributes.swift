/// What an application says about its pool: 104 bytes in CREATE, OPEN_RESP and SET_ATTR, and most of the fields of a
/// pool header. `docs/protocol.md`, section 2.3 (Pool attributes).
public struct PoolAttributes: Hashable, Sendable {
    /// Eight bytes chosen by the application, in the order they travel: byte 0 is the lowest of the vector.
    public var signature: SIMD8<UInt8>
    public var major: UInt32
    public var compatFeatures: UInt32
    public var incompatFeatures: UInt32
    public var roCompatFeatures: UInt32
    public var poolsetUUID: UUIDBytes
    /// Identifies the first part.
    public var uuid: UUIDBytes
    /// The next replica's first part.
    public var nextUUID: UUIDBytes
    /// The previous replica's first part.
    public var previousUUID: UUIDBytes
    /// Copied byte for byte into the header's arch flags; zero asks for the target machine's own.
    public var userFlags: UUIDBytes

    /// Bytes on the wire.
    public static let size = 104

    /// All zero: "no attributes", for pool sets with `OPTION NOHDRS`.
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
