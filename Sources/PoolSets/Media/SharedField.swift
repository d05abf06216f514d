import RpmemProtocol

/// A field that all headers of a pool share.
enum SharedField: String, CaseIterable {
    case signature
    case major = "major version"
    case compat = "compat features"
    case incompat = "incompat features"
    case roCompat = "ro_compat features"
    case poolSet = "pool set uuid"
    case previousReplica = "previous replica's uuid"
    case nextReplica = "next replica's uuid"
    case archFlags = "arch flags"

    func text(_ header: PoolHeader) -> String {
        switch self {
        case .signature: signatureText(header.signature)
        case .major: "\(header.major)"
        case .compat: "0x" + String(header.compatFeatures, radix: 16)
        case .incompat: "0x" + String(header.incompatFeatures, radix: 16)
        case .roCompat: "0x" + String(header.roCompatFeatures, radix: 16)
        case .poolSet: header.poolsetUUID.description
        case .previousReplica: header.previousReplicaUUID.description
        case .nextReplica: header.nextReplicaUUID.description
        case .archFlags: header.archFlags.description
        }
    }
}
