import PoolSets
import RpmemProtocol

/// Whether two pools are replicas of each other, by their headers.
package struct ReplicaMatch: Sendable, Equatable {
    package let local: PoolAttributes
    package let target: PoolAttributes

    package init(local: PoolAttributes, target: PoolAttributes) {
        self.local = local
        self.target = target
    }

    /// Why the target's pool is no replica of the local one; nil when it is one.
    package var objection: String? {
        if local.isNone != target.isNone {
            return local.isNone
                ? "the local pool set has NOHDRS, and the target's pool has headers"
                : "the target's pool set has NOHDRS, and the local pool has headers"
        }
        if local.isNone { return nil }
        if local.poolsetUUID != target.poolsetUUID {
            return "another pool: the local one has the pool set id \(local.poolsetUUID), the target's has "
                + "\(target.poolsetUUID)"
        }
        if local.signature != target.signature || local.major != target.major {
            return "another pool: the local one is \(signatureText(local.signature)) \(local.major), the target's is "
                + "\(signatureText(target.signature)) \(target.major)"
        }
        if local.uuid == target.uuid {
            return "the target's pool is a copy of the local replica, and no other replica of it"
        }
        guard target.uuid == local.nextUUID || target.uuid == local.previousUUID else {
            return
                "no replica of the local pool any more, or no neighbour of it: it has the id \(target.uuid), the local "
                + "replica's neighbours are \(local.previousUUID) and \(local.nextUUID)"
        }
        return nil
    }
}

extension PoolAttributes {
    /// Whether `rpmemctl sync` has not finished overwriting the pool.
    package var isCatchingUp: Bool { incompatFeatures & Feature.catchingUp != 0 }

    /// The same attributes, with or without the mark of a pool that is being overwritten.
    package func catchingUp(_ isMarked: Bool) -> PoolAttributes {
        var attributes = self
        if isMarked {
            attributes.incompatFeatures |= Feature.catchingUp
        } else {
            attributes.incompatFeatures &= ~Feature.catchingUp
        }
        return attributes
    }

    /// The bytes of the attributes on the wire, as hexadecimal digits.
    package var digits: String {
        var writer = ByteWriter(capacity: Self.size)
        write(to: &writer)
        return hexadecimalDigits(writer.bytes)
    }

    /// - Parameter digits: From ``digits``; nil for anything else.
    package init?(digits: String) {
        guard let bytes = [UInt8](hexadecimalDigits: digits), bytes.count == Self.size else { return nil }
        var reader = ByteReader(bytes)
        guard let attributes = try? PoolAttributes(from: &reader) else { return nil }
        self = attributes
    }
}
