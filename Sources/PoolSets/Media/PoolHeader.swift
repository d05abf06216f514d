import RpmemProtocol

/// The first 4096 bytes of each part that has a header (`docs/media.md`, section 4 (Pool header)).
///
/// The value holds all bytes, so that a rewrite keeps fields that this version does not know.
package struct PoolHeader: OnMedia, Equatable {
    /// Bytes.
    package static let size = 4096

    /// Exactly ``size`` bytes.
    package internal(set) var bytes: [UInt8]

    /// Takes any page.
    ///
    /// - Returns: nil unless there are exactly ``size`` bytes.
    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        self.bytes = bytes
    }

    /// The uuids that place a part among its pool's parts.
    package struct Links: Equatable, Sendable {
        package var own: UUIDBytes
        package var previous: UUIDBytes
        package var next: UUIDBytes

        package init(own: UUIDBytes, previous: UUIDBytes, next: UUIDBytes) {
            self.own = own
            self.previous = previous
            self.next = next
        }

        /// The links of parts with these uuids, which form a ring.
        package static func ring(_ uuids: [UUIDBytes]) -> [Links] {
            let count = uuids.count
            return uuids.indices.map { index in
                Links(
                    own: uuids[index], previous: uuids[(index + count - 1) % count],
                    next: uuids[(index + 1) % count])
            }
        }
    }

    /// A new part's header, checksum included.
    ///
    /// - Parameters:
    ///   - attributes: From CREATE, with a pool set uuid that is not zero.
    ///   - firstPart: The first part's uuid, which replaces replica uuids of zero: the pool is its own only replica.
    ///   - creationTime: Seconds since the epoch: the part's `st_ctime`.
    package init(
        attributes: PoolAttributes, links: Links, firstPart: UUIDBytes, creationTime: UInt64
    ) {
        bytes = [UInt8](repeating: 0, count: Self.size)
        setAttributes(attributes)
        if attributes.previousUUID.isZero { previousReplicaUUID = firstPart }
        if attributes.nextUUID.isZero { nextReplicaUUID = firstPart }
        if attributes.userFlags.isZero { archFlags = .thisMachine }
        uuid = links.own
        previousPartUUID = links.previous
        nextPartUUID = links.next
        self.creationTime = creationTime
        seal()
    }

    /// All bytes are zero: the part has no pool on it.
    package var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    /// Why the page is not the beginning of plain data; nil when it may be.
    package var objectionToPlainData: String? {
        if !isZero, isChecksumValid { return "has a pool header, so it is no raw file" }
        // PMEMOBJ, PMEMBLK and PMEMLOG. Programs that use librpmem themselves choose signatures of their own.
        guard bytes.starts(with: "PMEM".utf8) else { return nil }
        return
            "begins with \(signatureText(signature)), as the header of a pool of PMDK, whose checksum is wrong: it is a damaged pool and no "
            + "raw file: see what `pmempool check` says, and restore it from another replica with `pmempool sync`"
    }

    // MARK: Fields

    package var signature: SIMD8<UInt8> {
        get {
            var value = SIMD8<UInt8>()
            for index in 0..<8 { value[index] = bytes[index] }
            return value
        }
        set { for index in 0..<8 { bytes[index] = newValue[index] } }
    }
    package var major: UInt32 {
        get { integer(at: 8, as: UInt32.self) }
        set { setInteger(newValue, at: 8) }
    }
    package var compatFeatures: UInt32 {
        get { integer(at: 12, as: UInt32.self) }
        set { setInteger(newValue, at: 12) }
    }
    package var incompatFeatures: UInt32 {
        get { integer(at: 16, as: UInt32.self) }
        set { setInteger(newValue, at: 16) }
    }
    package var roCompatFeatures: UInt32 {
        get { integer(at: 20, as: UInt32.self) }
        set { setInteger(newValue, at: 20) }
    }
    package var poolsetUUID: UUIDBytes {
        get { uuid(at: 24) }
        set { setUUID(newValue, at: 24) }
    }
    package var uuid: UUIDBytes {
        get { uuid(at: 40) }
        set { setUUID(newValue, at: 40) }
    }
    package var previousPartUUID: UUIDBytes {
        get { uuid(at: 56) }
        set { setUUID(newValue, at: 56) }
    }
    package var nextPartUUID: UUIDBytes {
        get { uuid(at: 72) }
        set { setUUID(newValue, at: 72) }
    }
    package var previousReplicaUUID: UUIDBytes {
        get { uuid(at: 88) }
        set { setUUID(newValue, at: 88) }
    }
    package var nextReplicaUUID: UUIDBytes {
        get { uuid(at: 104) }
        set { setUUID(newValue, at: 104) }
    }
    /// Seconds since the epoch.
    package var creationTime: UInt64 {
        get { integer(at: 120, as: UInt64.self) }
        set { setInteger(newValue, at: 120) }
    }
    /// The properties of the machine that made the pool, or the user flags of the initiator.
    package var archFlags: UUIDBytes {
        get { uuid(at: 128) }
        set { setUUID(newValue, at: 128) }
    }

    static let shutdownStateOffset = 4024

    var shutdownState: ShutdownState {
        get {
            // The slice has the size of a state.
            ShutdownState(bytes: Array(bytes[Self.shutdownStateOffset..<Self.shutdownStateOffset + ShutdownState.size]))
                ?? ShutdownState(.init(), isDirty: false)
        }
        set {
            bytes.replaceSubrange(
                Self.shutdownStateOffset..<Self.shutdownStateOffset + ShutdownState.size, with: newValue.bytes)
        }
    }

    // MARK: Attributes

    /// The attributes in the answer to OPEN.
    package var attributes: PoolAttributes {
        PoolAttributes(
            signature: signature, major: major, compatFeatures: compatFeatures, incompatFeatures: incompatFeatures,
            roCompatFeatures: roCompatFeatures, poolsetUUID: poolsetUUID, uuid: uuid, nextUUID: nextReplicaUUID,
            previousUUID: previousReplicaUUID, userFlags: archFlags)
    }

    /// Overwrites the fields that all parts of a pool share. The uuids of the part and of its neighbours stay.
    package mutating func setAttributes(_ attributes: PoolAttributes) {
        signature = attributes.signature
        major = attributes.major
        compatFeatures = attributes.compatFeatures
        incompatFeatures = attributes.incompatFeatures
        roCompatFeatures = attributes.roCompatFeatures
        poolsetUUID = attributes.poolsetUUID
        previousReplicaUUID = attributes.previousUUID
        nextReplicaUUID = attributes.nextUUID
        archFlags = attributes.userFlags
    }

    // MARK: Checksum

    package var isChecksumValid: Bool { integer(at: Self.checksumOffset, as: UInt64.self) == computedChecksum }

    /// Recomputes the checksum.
    package mutating func seal() { setInteger(computedChecksum, at: Self.checksumOffset) }

    private static let checksumOffset = 4088

    /// With CKSUM_2K the second half counts as zeros. Without it the checksum's own field alone does.
    private var computedChecksum: UInt64 {
        let end = incompatFeatures & Feature.checksum2K != 0 ? 2048 : Self.checksumOffset
        var sum = Fletcher64()
        sum.add(bytes[..<end])
        sum.addZeroWords((Self.size - end) / 4)
        return sum.value
    }

    private func uuid(at offset: Int) -> UUIDBytes {
        var value = SIMD16<UInt8>()
        for index in 0..<16 { value[index] = bytes[offset + index] }
        return UUIDBytes(value)
    }

    private mutating func setUUID(_ uuid: UUIDBytes, at offset: Int) {
        for index in 0..<16 { bytes[offset + index] = uuid.bytes[index] }
    }
}

extension PoolHeader {
    /// A short description of a page that is not all zero.
    var summary: String {
        guard isChecksumValid else { return "its first 4096 bytes are not zero, and no valid pool header either" }
        return "signature '\(signatureText(signature))', major \(major), pool set uuid \(poolsetUUID), "
            + "created at \(creationTime) s since the epoch"
    }
}

/// Feature bits of pool headers that a target acts on (`docs/media.md`, section 4.1 (Feature bits that a target acts
/// on)).
package enum Feature {
    /// compat: CREATE and OPEN look for bad blocks.
    package static let checkBadBlocks: UInt32 = 1 << 0
    /// incompat: only the first part has a header.
    package static let singleHeader: UInt32 = 1 << 0
    /// incompat: the checksum covers the first 2 KiB only.
    package static let checksum2K: UInt32 = 1 << 1
    /// incompat: the pool has a shutdown state.
    package static let shutdownState: UInt32 = 1 << 2
    /// incompat: `rpmemctl sync` is overwriting the pool, or was interrupted (`docs/media.md`, section 4.1 (Feature bits that a
    /// target acts on)). libpmemobj opens no pool with a feature that it does not know.
    package static let catchingUp: UInt32 = 1 << 31
}

extension UUIDBytes {
    /// Arch flags of this machine: the alignments of the basic C types, word size, byte order and ELF machine number
    /// (`docs/media.md`, section 4.2 (Arch flags)).
    static var thisMachine: UUIDBytes {
        #if arch(x86_64)
            let machine: (UInt8, UInt8) = (62, 0)
        #elseif arch(arm64)
            let machine: (UInt8, UInt8) = (183, 0)
        #elseif arch(powerpc64le)
            let machine: (UInt8, UInt8) = (21, 0)
        #else
            #error("the ELF machine number of this architecture is not known here")
        #endif
        return UUIDBytes(
            SIMD16(
                0x10, 0x73, 0x77, 0x37, 0xf7, 0x07, 0x00, 0x00, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00,
                machine.0, machine.1))
    }
}

/// A signature for messages: printable characters as they are, others as `\xNN`, no trailing zeros.
package func signatureText(_ signature: SIMD8<UInt8>) -> String {
    var last = 8
    while last > 0 && signature[last - 1] == 0 { last -= 1 }
    var text = ""
    for index in 0..<last {
        let byte = signature[index]
        if byte >= 0x20 && byte < 0x7f {
            text.append(Character(UnicodeScalar(byte)))
        } else {
            text += "\\x" + String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
        }
    }
    return text
}

/// A structure on media: little-endian integers and runs of bytes at fixed offsets in `bytes`.
protocol OnMedia {
    var bytes: [UInt8] { get set }
}

extension OnMedia {
    func integer<Value: FixedWidthInteger & UnsignedInteger>(at offset: Int, as _: Value.Type) -> Value {
        var value: Value = 0
        for index in (0..<Value.bitWidth / 8).reversed() {
            value = value << 8 | Value(bytes[offset + index])
        }
        return value
    }

    mutating func setInteger<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
        }
    }
}
