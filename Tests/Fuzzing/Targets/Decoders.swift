import RpmemProtocol
import TestSupport

/// The requests do not depend on the pieces that the bytes arrive in, and encode to the bytes that they were decoded from.
func checkRequests(_ bytes: [UInt8]) throws(Finding) {
    var generator = SeededGenerator(seed: seed(of: bytes))
    let whole = RequestOutcome(bytes)
    let pieces = RequestOutcome(randomlySplit(bytes, &generator))
    try require(whole == pieces, "in one piece: \(whole), in many: \(pieces)")
    let understood = whole.requests.flatMap { $0.encode() }
    try require(bytes.starts(with: understood), "the requests encode to other bytes: \(whole.requests)")
    try require(
        whole.violation != nil || understood.count + whole.pending == bytes.count,
        "\(bytes.count) bytes became \(understood.count) of requests and \(whole.pending) pending")
    try require(whole.violation == nil || whole.pending == 0, "bytes are kept after a violation")
    try require(whole.violation?.status != .success, "a violation is answered with success")
}

/// The first three bytes choose the requests that are due an answer. The same rules hold as for requests, but for the body
/// of a refusal, which the decoder skips.
func checkResponses(_ input: [UInt8]) throws(Finding) {
    let due = input.prefix(3).map { RequestKind.allCases[Int($0) % RequestKind.allCases.count] }
    let bytes = Array(input.dropFirst(3))
    var generator = SeededGenerator(seed: seed(of: bytes))
    let whole = ResponseOutcome([bytes[...]], answering: due)
    let pieces = ResponseOutcome(randomlySplit(bytes, &generator), answering: due)
    try require(whole == pieces, "in one piece: \(whole), in many: \(pieces)")
    try require(whole.responses.count <= due.count, "more answers than requests")
    var rest = bytes[...]
    if let status = whole.initialStatus {
        try require(rest.starts(with: status.encode()), "the initial status encodes to other bytes: \(status)")
        rest = rest.dropFirst(InitialStatus.size)
    }
    for (request, response) in zip(due, whole.responses) {
        try require(response.request == nil || response.request == request, "\(response) answers another request")
        let encoded = response.encode()
        let compared = response.status == .success ? encoded[...] : encoded.prefix(ControlProtocol.responseHeaderSize)
        try require(rest.starts(with: compared), "an answer encodes to other bytes: \(response)")
        rest = rest.dropFirst(encoded.count)
    }
    try require(
        whole.violation != nil || rest.count == whole.pending, "\(rest.count) bytes are left, \(whole.pending) pending")
}
