extension PoolAttributes {
    /// Reads the 104 bytes of CREATE, OPEN_RESP and SET_ATTR; any values are legal.
    package init(from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        self.init(
            signature: try reader.read(SIMD8<UInt8>.self),
            major: try reader.read(),
            compatFeatures: try reader.read(),
            incompatFeatures: try reader.read(),
            roCompatFeatures: try reader.read(),
            poolsetUUID: try reader.read(UUIDBytes.self),
            uuid: try reader.read(UUIDBytes.self),
            nextUUID: try reader.read(UUIDBytes.self),
            previousUUID: try reader.read(UUIDBytes.self),
            userFlags: try reader.read(UUIDBytes.self))
    }

    /// Writes those 104 bytes.
    package func write(to writer: inout ByteWriter) {
        writer.write(signature)
        writer.write(major)
        writer.write(compatFeatures)
        writer.write(incompatFeatures)
        writer.write(roCompatFeatures)
        writer.write(poolsetUUID)
        writer.write(uuid)
        writer.write(nextUUID)
        writer.write(previousUUID)
        writer.write(userFlags)
    }
}
