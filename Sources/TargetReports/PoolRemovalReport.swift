/// The answer to `rpmemctl remove`.
package struct PoolRemovalReport: Report {
    package static let command = "remove"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    /// The name that was given: a path relative to the pool set directory.
    package var name: String
    /// The files that go, the first part last; then the pool set file, if it goes as well.
    package var files: [RemovedFile]
    /// Parts that are missing already.
    package var missing: [String]
    /// Files that could not be opened for removal, and why.
    package var left: [String]
    /// Whether the files were removed.
    package var removed = false

    package init(rpmemd: String, name: String, files: [RemovedFile], missing: [String], left: [String]) {
        self.rpmemd = rpmemd
        self.name = name
        self.files = files
        self.missing = missing
        self.left = left
    }
}

/// A file or device of a removal.
package struct RemovedFile: Codable, Sendable, Equatable {
    package var path: String
    package var effect: Effect
    /// Bytes.
    package var size: UInt64

    package enum Effect: String, Codable, Sendable {
        /// The file's name is removed, and with it the file.
        case unlink
        /// The header page of a Device DAX is overwritten with zeros. The data stays.
        case clearHeader = "clear header"
    }

    package init(path: String, effect: Effect, size: UInt64) {
        self.path = path
        self.effect = effect
        self.size = size
    }
}
