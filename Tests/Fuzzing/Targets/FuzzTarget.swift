/// What an input has shown: a rule that the code under test breaks.
struct Finding: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Code that takes bytes of others. ``check(_:)`` runs it on an input and compares the result with rules that are written
/// down a second time, independent of the code. A trap is a finding as well.
enum FuzzTarget: String, CaseIterable, Sendable {
    /// ``RequestDecoder``: the initiator's stream, in one piece and in many.
    case requests
    /// ``ResponseDecoder``: the target's stream, the same way.
    case responses
    /// ``DigestDecoder``: the frames of `rpmemd --digest`, the same way.
    case digests
    /// ``PoolSetFile``: the text of a pool set file.
    case poolSet = "pool-set"
    /// The text of a configuration file, and the settings that follow from it.
    case configuration
    /// The header pages of a pool's parts, as OPEN checks them.
    case headers
    /// ``checkPersistRequest(_:receivedBytes:regionBase:regionSize:laneCount:inlineCapacity:)``.
    case persistRequest = "persist-request"
    /// A session of a real ``TargetSession``: messages in any order, on a pool set directory of its own.
    case session
    /// Persist requests on several lanes, and failures of the fabric in between, behind a ``ScriptedFabric``.
    case lanes

    /// - Parameter input: Any bytes. The result depends on nothing else.
    func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        switch self {
        case .requests: try checkRequests(Array(input))
        case .responses: try checkResponses(Array(input))
        case .digests: try checkDigests(Array(input))
        case .poolSet: try checkPoolSet(Array(input))
        case .configuration: try checkConfiguration(Array(input))
        case .headers: try checkHeaders(Array(input))
        case .persistRequest: try checkPersistRequests(input)
        case .session: try checkSession(Array(input))
        case .lanes: try checkLanes(Array(input))
        }
    }

    func check(_ input: [UInt8]) throws(Finding) {
        let result = input.withUnsafeBytes { bytes in Result { () throws(Finding) in try check(bytes) } }
        try result.get()
    }
}

/// Throws a ``Finding`` unless `condition` holds.
func require(_ condition: Bool, _ rule: @autoclosure () -> String) throws(Finding) {
    if !condition { throw Finding(rule()) }
}

/// Takes an input apart. At its end every number is 0.
struct InputReader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ input: [UInt8]) { rest = input[...] }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    /// Little-endian.
    mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_: T.Type) -> T {
        var value: T = 0
        for index in 0..<T.bitWidth / 8 { value |= T(byte()) << T(8 * index) }
        return value
    }

    /// At most `count` bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

/// A seed that follows from the input (FNV-1a).
func seed(of input: [UInt8]) -> UInt64 {
    input.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
