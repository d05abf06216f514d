import SystemPackage

/// What a pool set file says; nothing in it was compared with the disk yet.
package struct PoolSetDescription: Equatable, Sendable {
    /// At least one.
    package var parts: [Part]
    package var options: Options

    /// A `SIZE PATH` line.
    package struct Part: Equatable, Sendable {
        /// Counted from 1.
        package var line: Int
        package var size: Size
        /// Absolute. It is the set's author who is trusted with it: unlike descriptors, part paths are not confined
        /// to the pool set directory.
        package var path: FilePath
    }

    package enum Size: Equatable, Sendable {
        /// Exactly as written, not rounded.
        case bytes(UInt64)
        /// The whole of a Device DAX.
        case auto
    }

    package struct Options: OptionSet, Sendable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Only the first part has a header.
        package static let singleHeader = Options(rawValue: 1 << 0)
        /// No part has a header.
        package static let noHeaders = Options(rawValue: 1 << 1)
    }
}
