import RpmemProtocol

/// Everything that a decoder makes of a stream: the requests, and the violation that ended it.
package struct RequestOutcome: Equatable {
    package var requests: [Request] = []
    package var violation: RequestDecodingError?
    /// Bytes that were left at the end.
    package var pending = 0

    /// Appends the pieces one by one, and takes the messages that are complete after each.
    package init(_ pieces: [ArraySlice<UInt8>]) {
        var decoder = RequestDecoder()
        for piece in pieces {
            decoder.append(piece)
            do throws(RequestDecodingError) {
                while let request = try decoder.next() { requests.append(request) }
            } catch {
                violation = error
            }
        }
        pending = decoder.pendingByteCount
    }

    package init(_ bytes: [UInt8]) {
        self.init([bytes[...]])
    }
}

/// Everything that a decoder makes of a stream when these answers are due.
package struct ResponseOutcome: Equatable {
    package var initialStatus: InitialStatus?
    package var responses: [Response] = []
    package var violation: ResponseDecodingError?
    /// Bytes that were left at the end.
    package var pending = 0

    package init(_ pieces: [ArraySlice<UInt8>], answering requests: [RequestKind]) {
        var decoder = ResponseDecoder()
        var due = requests[...]
        for piece in pieces {
            decoder.append(piece)
            do throws(ResponseDecodingError) {
                if initialStatus == nil { initialStatus = try decoder.nextInitialStatus() }
                if initialStatus == nil { continue }
                while let request = due.first, let response = try decoder.next(answering: request) {
                    due = due.dropFirst()
                    responses.append(response)
                }
            } catch {
                violation = error
            }
        }
        pending = decoder.pendingByteCount
    }
}

/// `bytes` in pieces of random lengths, empty ones among them.
package func randomlySplit(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [ArraySlice<UInt8>] {
    var pieces: [ArraySlice<UInt8>] = []
    var rest = bytes[...]
    let longest = Int.random(in: 1...max(1, bytes.count), using: &generator)
    while !rest.isEmpty {
        let piece = rest.prefix(Int.random(in: 0...longest, using: &generator))
        pieces.append(piece)
        rest = rest.dropFirst(piece.count)
    }
    return pieces
}
