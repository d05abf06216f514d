import CLinux
import Glibc
import RpmemProtocol
import SystemSupport

/// The ``WriterToken`` of a part, in an extended attribute of its file: it changes no byte of the pool, a copy of the file does
/// not have it, and it outlives a reboot. Behind the token is the inode's number, so that a file restored with its attributes
/// is another one.
extension PartFile {
    private static let attribute = "user.rpmemd.writer"

    /// Whether the file has room for a token.
    var keepsWriter: Bool {
        guard device == nil else { return false }
        return fgetxattr(descriptor.number, Self.attribute, nil, 0) >= 0 || errno == ENODATA
    }

    /// The token that the part keeps; nil without one.
    func writer() throws(PoolError) -> WriterToken? {
        guard device == nil else { return nil }
        var bytes = [UInt8](repeating: 0, count: WriterToken.byteCount + 8)
        let count = fgetxattr(descriptor.number, Self.attribute, &bytes, bytes.count)
        if count < 0 {
            // ERANGE: longer than any token.
            if [ENODATA, EOPNOTSUPP, ERANGE].contains(errno) { return nil }
            throw .system(.last("fgetxattr", on: path))
        }
        let token = WriterToken(SIMD16(bytes.prefix(WriterToken.byteCount)))
        return count == bytes.count && bytes == record(token) ? token : nil
    }

    /// Keeps a token, durably.
    ///
    /// - Returns: False when the file has no room for it.
    /// - Throws: When the file cannot be made durable.
    func keepWriter(_ token: WriterToken) throws(PoolError) -> Bool {
        let bytes = record(token)
        if fsetxattr(descriptor.number, Self.attribute, bytes, bytes.count, 0) != 0 { return false }
        try synchronize()
        try checkWritable()
        return true
    }

    /// Removes the token, durably. Writes nothing where there is none.
    func forgetWriter() throws(PoolError) {
        guard device == nil else { return }
        if fremovexattr(descriptor.number, Self.attribute) != 0 {
            if errno == ENODATA || errno == EOPNOTSUPP { return }
            // A file system may refuse before it looks for the attribute.
            let error = SystemCallError.last("fremovexattr", on: path)
            let count = fgetxattr(descriptor.number, Self.attribute, nil, 0)
            if count < 0, errno == ENODATA || errno == EOPNOTSUPP { return }
            throw .system(error)
        }
        try synchronize()
        try checkWritable()
    }

    private func record(_ token: WriterToken) -> [UInt8] {
        token.array + (0..<8).map { UInt8(truncatingIfNeeded: identity.inode >> (8 * UInt64($0))) }
    }
}
