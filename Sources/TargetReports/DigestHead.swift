/// The first line of `rpmemd --digest`: what the frames behind it are digests of.
package struct DigestHead: Report {
    package static let command = "digest"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    /// Of the frames.
    package var frames: Int
    /// Bytes of the pool.
    package var size: UInt64
    /// Bytes of a block.
    package var blockSize: UInt64
    /// The offset of the first byte that is digested.
    package var first: UInt64
    /// Offsets of the first byte that counts as zero, and behind the last one; nil when there are none.
    package var ignored: [UInt64]?
    /// The bytes of the pool's attributes, as in the answer to OPEN, as hexadecimal digits.
    package var attributes: String

    package init(
        rpmemd: String, frames: Int, size: UInt64, blockSize: UInt64, first: UInt64, ignored: [UInt64]?,
        attributes: String
    ) {
        self.rpmemd = rpmemd
        self.frames = frames
        self.size = size
        self.blockSize = blockSize
        self.first = first
        self.ignored = ignored
        self.attributes = attributes
    }
}
