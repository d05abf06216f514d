import CRpmem
import RpmemInitiator

extension PoolAttributes {
    /// - Parameter attributes: nil for none at all.
    init(_ attributes: UnsafePointer<rpmem_pool_attr>?) {
        guard let attributes = attributes?.pointee else {
            self = .none
            return
        }
        func bytes<Bytes, Vector>(_ field: Bytes, as _: Vector.Type) -> Vector {
            withUnsafeBytes(of: field) { $0.loadUnaligned(as: Vector.self) }
        }
        self.init(
            signature: bytes(attributes.signature, as: SIMD8<UInt8>.self), major: attributes.major,
            compatFeatures: attributes.compat_features, incompatFeatures: attributes.incompat_features,
            roCompatFeatures: attributes.ro_compat_features,
            poolsetUUID: UUIDBytes(bytes(attributes.poolset_uuid, as: SIMD16<UInt8>.self)),
            uuid: UUIDBytes(bytes(attributes.uuid, as: SIMD16<UInt8>.self)),
            nextUUID: UUIDBytes(bytes(attributes.next_uuid, as: SIMD16<UInt8>.self)),
            previousUUID: UUIDBytes(bytes(attributes.prev_uuid, as: SIMD16<UInt8>.self)),
            userFlags: UUIDBytes(bytes(attributes.user_flags, as: SIMD16<UInt8>.self)))
    }

    var cValue: rpmem_pool_attr {
        func set<Field, Vector>(_ field: inout Field, _ vector: Vector) {
            withUnsafeMutableBytes(of: &field) { $0.storeBytes(of: vector, as: Vector.self) }
        }
        var value = rpmem_pool_attr()
        set(&value.signature, signature)
        value.major = major
        value.compat_features = compatFeatures
        value.incompat_features = incompatFeatures
        value.ro_compat_features = roCompatFeatures
        set(&value.poolset_uuid, poolsetUUID.bytes)
        set(&value.uuid, uuid.bytes)
        set(&value.next_uuid, nextUUID.bytes)
        set(&value.prev_uuid, previousUUID.bytes)
        set(&value.user_flags, userFlags.bytes)
        return value
    }
}
