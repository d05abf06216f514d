/// The record in the first part's header by which OPEN notices a power loss while the pool was open: 64 bytes
/// (`docs/media.md`, section 6 (Shutdown state)).
struct ShutdownState: OnMedia, Equatable {
    static let size = 64

    /// Exactly ``size`` bytes.
    var bytes: [UInt8]

    /// Two sums over the devices under all parts.
    struct Counts: Equatable {
        /// Sum of the devices' unsafe shutdown counts.
        var unsafeShutdowns: UInt64 = 0
        /// Sum of the checksums of the devices' ids.
        var devices: UInt64 = 0

        /// Adds the device under a part.
        ///
        /// - Parameter deviceID: From libpmem2, without NUL; nil for a device without an id.
        mutating func add(unsafeShutdowns: UInt64, deviceID: [UInt8]?) {
            self.unsafeShutdowns &+= unsafeShutdowns
            devices &+= Self.checksum(deviceID: deviceID)
        }

        /// The checksum covers the id, its NUL and zeros up to the *next* multiple of four: where id and NUL fill their
        /// last word, a zero word follows. A device without an id counts as one zero word.
        static func checksum(deviceID: [UInt8]?) -> UInt64 {
            let length = deviceID.map { $0.count + 1 } ?? 0
            let padded = length + 4 - length % 4
            var sum = Fletcher64()
            sum.add((deviceID ?? []) + [UInt8](repeating: 0, count: padded - (deviceID?.count ?? 0)))
            return sum.value
        }
    }

    /// - Returns: nil unless there are exactly ``size`` bytes.
    init?(bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        self.bytes = bytes
    }

    /// A state with a valid checksum.
    init(_ counts: Counts, isDirty: Bool) {
        bytes = [UInt8](repeating: 0, count: Self.size)
        setInteger(counts.unsafeShutdowns, at: 0)
        setInteger(counts.devices, at: 8)
        bytes[16] = isDirty ? 1 : 0
        setInteger(computedChecksum, at: 56)
    }

    var counts: Counts {
        Counts(unsafeShutdowns: integer(at: 0, as: UInt64.self), devices: integer(at: 8, as: UInt64.self))
    }

    /// The pool is open, or was open when its target died. ``PartFile/clearDirtyMark()`` clears it.
    var isDirty: Bool { bytes[16] != 0 }

    var isChecksumValid: Bool { integer(at: 56, as: UInt64.self) == computedChecksum }

    private var computedChecksum: UInt64 {
        var sum = Fletcher64()
        sum.add(bytes[..<56])
        sum.addZeroWords(2)
        return sum.value
    }

    /// Whether the platform may have failed to flush the pool's data at a power loss: the pool was open, and the
    /// devices count other unsafe shutdowns than at its opening, or are other devices. OPEN replaces every other state.
    func mayBeCorrupt(now counts: Counts) -> Bool {
        isChecksumValid && self.counts != counts && isDirty
    }
}
