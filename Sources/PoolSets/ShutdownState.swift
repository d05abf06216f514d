/// What part 0's header says about the last shutdown: 64 bytes (`docs/media.md`, section 6 (Shutdown state)).
struct ShutdownState: OnMedia, Equatable {
    static let size = 64

    /// Exactly ``size`` bytes.
    var bytes: [UInt8]

    /// What the devices say about themselves now.
    struct Counts: Equatable {
        /// Sum of the parts' unsafe shutdown counts.
        var unsafeShutdowns: UInt64 = 0
        /// Sum of the checksums of the parts' device ids.
        var devices: UInt64 = 0

        /// Adds a part.
        ///
        /// - Parameter deviceID: As libpmem2 gives it, without NUL; nil where the device has none.
        mutating func add(unsafeShutdowns: UInt64, deviceID: [UInt8]?) {
            self.unsafeShutdowns &+= unsafeShutdowns
            devices &+= Self.checksum(deviceID: deviceID)
        }

        /// The id is summed with its NUL, zero-filled up to the *next* multiple of four: a full last word is
        /// followed by a zero word. A device without an id counts as one zero word.
        static func checksum(deviceID: [UInt8]?) -> UInt64 {
            let length = deviceID.map { $0.count + 1 } ?? 0
            let padded = length + 4 - length % 4
            var sum = Fletcher64()
            sum.add((deviceID ?? []) + [UInt8](repeating: 0, count: padded - (deviceID?.count ?? 0)))
            return sum.value
        }
    }

    /// Parses; nil unless there are exactly ``size`` bytes.
    init?(bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        self.bytes = bytes
    }

    /// A valid state.
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

    /// A pool is open, or was when its target died.
    var isDirty: Bool { bytes[16] != 0 }

    var isChecksumValid: Bool { integer(at: 56, as: UInt64.self) == computedChecksum }

    private var computedChecksum: UInt64 {
        var sum = Fletcher64()
        sum.add(bytes[..<56])
        sum.addZeroWords(2)
        return sum.value
    }

    /// Whether the pool may have lost what a platform failed to flush at power loss: it was open, and the devices
    /// count more unsafe shutdowns (or are other devices) than when it was opened. Every other state can be started
    /// afresh.
    func mayBeCorrupt(now counts: Counts) -> Bool {
        isChecksumValid && self.counts != counts && isDirty
    }
}
