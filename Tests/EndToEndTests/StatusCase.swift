import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// A target, a request to it, and the status that the answer must have.
struct StatusCase: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var kind: RequestKind
    var status: Status
    /// Texts in the log line.
    var texts: [String]
    var prepare: @Sendable (Target) throws -> Void
    var request: @Sendable () throws -> [UInt8]

    init(
        _ name: String, _ kind: RequestKind, _ status: Status, _ texts: String...,
        request: @escaping @Sendable () throws -> [UInt8],
        prepare: @escaping @Sendable (Target) throws -> Void = { _ in }
    ) {
        testDescription = name
        self.kind = kind
        self.status = status
        self.texts = texts
        self.request = request
        self.prepare = prepare
    }
}

/// Sends the request, and expects that it is refused with the status of the case.
///
/// - Parameter isOpenedFirst: The pool was opened before the failure: its parts are written to, but have to be as they
///   were.
func expectRefused(
    _ refusal: StatusCase, on target: Target, isOpenedFirst: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    try expectRefused(
        refusal, of: try target.session(), isOpenedFirst: isOpenedFirst, sourceLocation: sourceLocation)
}

func expectRefused(
    _ refusal: StatusCase, of session: Session, isOpenedFirst: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    func state() throws -> [String: Target.FileState] {
        guard isOpenedFirst else { return session.target.files() }
        return session.target.files().mapValues {
            var file = $0
            file.modified = []
            return file
        }
    }
    func headers() throws -> [[UInt8]] {
        if geteuid() != 0 { return [] }
        return try TemporaryDirectory.entries(of: session.target.parts).compactMap {
            let path = "\(session.target.parts)/\($0)"
            var status = stat()
            guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
            return try session.target.bytes(of: $0)
        }
    }
    try session.ready(sourceLocation: sourceLocation)
    let before = (files: try state(), headers: try headers())
    try session.send(try refusal.request())
    let answer = try session.answer(to: refusal.kind)
    #expect(answer == .refused(refusal.kind, refusal.status), sourceLocation: sourceLocation)
    #expect(
        session.received.dropFirst(InitialStatus.size) == ArraySlice(answer.encode()), sourceLocation: sourceLocation)
    try session.expectEnd(1, sourceLocation: sourceLocation)
    #expect(try state() == before.files, sourceLocation: sourceLocation)
    #expect(try headers() == before.headers, sourceLocation: sourceLocation)
    // A program that creates a pool first and then opens it has made no error.
    let isError = refusal.status != .exists
    let errors = try session.messages(isError ? "err" : "notice").filter {
        isError || $0.contains("already has a pool")
    }
    #expect(errors.count == 1, "\(errors)", sourceLocation: sourceLocation)
    if !isError { #expect(try session.messages("err").isEmpty, sourceLocation: sourceLocation) }
    for text in refusal.texts {
        #expect(errors.first?.contains(text) == true, "\(text): \(errors)", sourceLocation: sourceLocation)
    }
    #expect(
        session.process.errorText == errors.map { "rpmemd: \($0)\n" }.joined(), sourceLocation: sourceLocation)
}
