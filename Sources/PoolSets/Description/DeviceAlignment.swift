/// Whether a Device DAX can be mapped at its place in the pool (`docs/media.md`, sections 2 (Sizes and geometry) and 3 (Mapping)).
enum DeviceAlignment {
    struct Objection {
        var reason: String
        /// An edit of the pool set file.
        var remedy: String
    }

    /// - Parameters:
    ///   - alignment: Of the device, in bytes.
    ///   - offset: Of the device in the pool, in bytes.
    ///   - partCount: The number of parts, all of them devices.
    /// - Returns: nil when it can.
    static func objection(
        to alignment: Int, at offset: UInt64, partCount: Int, options: PoolSetDescription.Options
    ) -> Objection? {
        if partCount > 1, options.isEmpty, alignment != Int(PoolGeometry.pageSize) {
            return Objection(
                reason:
                    "has an alignment of \(alignment) bytes: several devices in a set need \(PoolGeometry.pageSize), or "
                    + "`OPTION SINGLEHDR`", remedy: "write the line `OPTION SINGLEHDR`")
        }
        if alignment > 0, offset % UInt64(alignment) != 0 {
            return Objection(
                reason:
                    "would be mapped at pool offset \(offset), which is not a multiple of its alignment \(alignment)",
                remedy: "list devices whose sizes are multiples of \(alignment) before it")
        }
        return nil
    }
}
