import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport

/// What a part keeps of the last initiator that could write.
struct WriterRecord: Hashable {
    var token: WriterToken
    /// How often that initiator has resumed its session. The first part counts.
    var resumes: UInt64 = 0

    static let byteCount = WriterToken.byteCount + 8

    var bytes: [UInt8] { token.array + Self.bytes(resumes) }

    init(_ token: WriterToken, resumes: UInt64 = 0) {
        self.token = token
        self.resumes = resumes
    }

    /// - Parameter bytes: As many as a record has; otherwise nil.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        token = WriterToken(SIMD16(bytes.prefix(WriterToken.byteCount)))
        resumes = bytes.dropFirst(WriterToken.byteCount).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Little-endian.
    static func bytes(_ number: UInt64) -> [UInt8] {
        var writer = ByteWriter(capacity: 8)
        writer.write(number, .littleEndian)
        return writer.bytes
    }
}

/// A file keeps its ``WriterRecord`` in an extended attribute: it changes no byte of the pool, a copy of the file does not have it,
/// and it outlives a reboot. Behind the record is the inode's number, so that a file restored with its attributes is another
/// one. A Device DAX keeps it in the ``WriterRecords``.
extension PartFile {
    private static let attribute = "user.rpmemd.writer"

    /// Whether the part has room for a record.
    ///
    /// - Parameter records: nil on a machine without.
    func keepsWriter(_ records: WriterRecords?) -> Bool {
        guard let device else {
            return fgetxattr(descriptor.number, Self.attribute, nil, 0) >= 0 || errno == ENODATA
        }
        guard let records, records.isWritable else { return false }
        return (try? device.identity()) != nil
    }

    /// The record that the part keeps; nil without one.
    func writer(_ records: WriterRecords?) throws(PoolError) -> WriterRecord? {
        if device != nil {
            guard let (records, identity) = try place(records) else { return nil }
            return try records.record(of: identity)
        }
        var bytes = [UInt8](repeating: 0, count: WriterRecord.byteCount + 8)
        let count = fgetxattr(descriptor.number, Self.attribute, &bytes, bytes.count)
        if count < 0 {
            // ERANGE: longer than any record.
            if [ENODATA, EOPNOTSUPP, ERANGE].contains(errno) { return nil }
            throw .system(.last("fgetxattr", on: path))
        }
        let record = WriterRecord(bytes.prefix(WriterRecord.byteCount))
        return count == bytes.count ? record.flatMap { attribute($0) == bytes ? $0 : nil } : nil
    }

    /// Keeps a record in place of any other, durably.
    ///
    /// - Returns: False when the part has no room for it.
    /// - Throws: When the record cannot be made durable.
    func keepWriter(_ record: WriterRecord, _ records: WriterRecords?) throws(PoolError) -> Bool {
        if device != nil {
            guard let (records, identity) = try place(records) else { return false }
            return try records.keep(record, of: identity)
        }
        let bytes = attribute(record)
        if fsetxattr(descriptor.number, Self.attribute, bytes, bytes.count, 0) != 0 { return false }
        try synchronize()
        try checkWritable()
        return true
    }

    /// Removes the record, durably.
    ///
    /// - Parameter mayBeBack: Whether a session that was killed may have removed it, and not durably: where there is none, it would
    ///   be there again after a loss of power.
    func forgetWriter(_ records: WriterRecords?, mayBeBack: Bool) throws(PoolError) {
        if device != nil {
            if let (records, identity) = try place(records) { try records.forget(identity, mayBeBack: mayBeBack) }
            return
        }
        if fremovexattr(descriptor.number, Self.attribute) != 0 {
            let error = SystemCallError.last("fremovexattr", on: path)
            var reason = error.errno.rawValue
            if reason != ENODATA, reason != EOPNOTSUPP {
                // A file system may refuse before it looks for the attribute.
                reason = fgetxattr(descriptor.number, Self.attribute, nil, 0) < 0 ? errno : 0
            }
            if reason == EOPNOTSUPP { return }
            guard reason == ENODATA else { throw .system(error) }
            if !mayBeBack { return }
        }
        try synchronize()
        try checkWritable()
    }

    private func attribute(_ record: WriterRecord) -> [UInt8] { record.bytes + WriterRecord.bytes(identity.inode) }

    /// Where the record of a Device DAX is; nil where there can be none.
    private func place(_ records: WriterRecords?) throws(PoolError) -> (WriterRecords, DeviceIdentity)? {
        guard let records, let device else { return nil }
        do throws(SystemCallError) {
            guard let identity = try device.identity() else { return nil }
            return (records, identity)
        } catch {
            throw .system(error)
        }
    }
}
