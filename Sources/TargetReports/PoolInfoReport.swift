/// The answer to `rpmemctl info`.
package struct PoolInfoReport: Report {
    package static let command = "info"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    package var pool: ReportedPool
    /// In the order of the set.
    package var parts: [ReportedPart]
    package var shutdownState: ReportedShutdownState?
    /// nil while a part is missing.
    package var mapping: ReportedMapping?

    package init(
        rpmemd: String, pool: ReportedPool, parts: [ReportedPart], shutdownState: ReportedShutdownState?,
        mapping: ReportedMapping?
    ) {
        self.rpmemd = rpmemd
        self.pool = pool
        self.parts = parts
        self.shutdownState = shutdownState
        self.mapping = mapping
    }
}

/// A part of a pool.
package struct ReportedPart: Codable, Sendable {
    package var path: String
    /// Of the pool set file.
    package var line: Int?
    package var kind: Kind
    /// Bytes that the set gives; nil for AUTO, plain pools and directories.
    package var configuredSize: UInt64?
    /// Bytes of the file or device.
    package var size: UInt64?
    /// Bytes from the part's start to the first byte that is mapped.
    package var mappedFrom: UInt64?
    /// Bytes that are mapped.
    package var mappedLength: UInt64?
    package var header: ReportedHeader?
    /// Ranges that cannot be read from the medium, at most 64; nil where they could not be asked for.
    package var badBlocks: [ReportedExtent]?
    /// The kernel's name of the region of persistent memory that the part is in.
    package var region: String?
    /// The region's persistence domain, as the kernel has it: `cpu_cache` is eADR.
    package var persistenceDomain: String?
    /// Why the part, or its header, could not be looked at.
    package var problem: String?

    package enum Kind: String, Codable, Sendable {
        case file, device, missing
        /// Neither a regular file nor a Device DAX, or one that this user may not read.
        case unusable
    }

    package init(path: String, kind: Kind) {
        self.path = path
        self.kind = kind
    }
}

/// A range of bytes.
package struct ReportedExtent: Codable, Sendable, Equatable {
    /// Bytes from the start of the part.
    package var offset: UInt64
    /// Bytes.
    package var length: UInt64

    package init(offset: UInt64, length: UInt64) {
        self.offset = offset
        self.length = length
    }
}

/// The fields of a pool header (`docs/media.md`, section 4 (Pool header)).
package struct ReportedHeader: Codable, Sendable, Equatable {
    /// With `\xNN` for bytes that are no printable ASCII.
    package var signature: String
    package var major: UInt32
    package var compatFeatures: UInt32
    package var incompatFeatures: UInt32
    package var roCompatFeatures: UInt32
    /// Names of the feature bits that a target acts on.
    package var features: [String]
    package var poolSetUUID: String
    package var uuid: String
    package var previousPartUUID: String
    package var nextPartUUID: String
    package var previousReplicaUUID: String
    package var nextReplicaUUID: String
    /// Seconds since the epoch.
    package var created: UInt64
    /// The user flags of the initiator, or the properties of the machine that made the pool: 32 hexadecimal digits.
    package var userFlags: String
    package var checksumValid: Bool

    package init(
        signature: String, major: UInt32, compatFeatures: UInt32, incompatFeatures: UInt32, roCompatFeatures: UInt32,
        features: [String], poolSetUUID: String, uuid: String, previousPartUUID: String, nextPartUUID: String,
        previousReplicaUUID: String, nextReplicaUUID: String, created: UInt64, userFlags: String, checksumValid: Bool
    ) {
        self.signature = signature
        self.major = major
        self.compatFeatures = compatFeatures
        self.incompatFeatures = incompatFeatures
        self.roCompatFeatures = roCompatFeatures
        self.features = features
        self.poolSetUUID = poolSetUUID
        self.uuid = uuid
        self.previousPartUUID = previousPartUUID
        self.nextPartUUID = nextPartUUID
        self.previousReplicaUUID = previousReplicaUUID
        self.nextReplicaUUID = nextReplicaUUID
        self.created = created
        self.userFlags = userFlags
        self.checksumValid = checksumValid
    }
}

/// The shutdown state (`docs/media.md`, section 6 (Shutdown state)) and the devices' counts now.
package struct ReportedShutdownState: Codable, Sendable, Equatable {
    package var dirty: Bool
    package var checksumValid: Bool
    /// The sum of the devices' counts when the state was written.
    package var unsafeShutdowns: UInt64
    /// The sum now; nil where a device could not be asked.
    package var unsafeShutdownsNow: UInt64?
    /// Whether counts and devices are those of the state; nil where a device could not be asked.
    package var sameDevices: Bool?

    package init(
        dirty: Bool, checksumValid: Bool, unsafeShutdowns: UInt64, unsafeShutdownsNow: UInt64?, sameDevices: Bool?
    ) {
        self.dirty = dirty
        self.checksumValid = checksumValid
        self.unsafeShutdowns = unsafeShutdowns
        self.unsafeShutdownsNow = unsafeShutdownsNow
        self.sameDevices = sameDevices
    }
}

/// How a session would map the pool and persist it.
package struct ReportedMapping: Codable, Sendable, Equatable {
    package var kind: Kind
    package var persist: Persist
    /// The CPU caches are in the persistence domain of every region.
    package var eADR: Bool
    /// The setting `persist-apm`: `yes`, `no` or `auto`.
    package var persistAPM: String
    /// The method of a session over verbs: `APM` or `GPSPM`.
    package var method: String
    /// The method of a session over sockets and tcp.
    package var methodOverTCP: String

    package enum Kind: String, Codable, Sendable {
        case deviceDAX = "Device DAX"
        case mapSync = "MAP_SYNC"
        case pageCache = "page cache"
    }

    package enum Persist: String, Codable, Sendable {
        case flushAndDrain = "flush and drain"
        case drain
        case msync
    }

    package init(
        kind: Kind, persist: Persist, eADR: Bool, persistAPM: String, method: String, methodOverTCP: String
    ) {
        self.kind = kind
        self.persist = persist
        self.eADR = eADR
        self.persistAPM = persistAPM
        self.method = method
        self.methodOverTCP = methodOverTCP
    }
}
