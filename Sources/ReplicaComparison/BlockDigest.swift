import Glibc
import RpmemProtocol
import SystemSupport

/// AES-256-GMAC of libcrypto (OpenSSL 3), opened with dlopen(3) when it is first needed: sessions that need none start without it.
package struct DigestLibrary: Sendable {
    fileprivate typealias Fetch =
        @convention(c) (OpaquePointer?, UnsafePointer<CChar>?, UnsafePointer<CChar>?) -> OpaquePointer?
    fileprivate typealias NewContext = @convention(c) () -> OpaquePointer?
    fileprivate typealias FreeContext = @convention(c) (OpaquePointer?) -> Void
    fileprivate typealias Begin =
        @convention(c) (
            OpaquePointer?, OpaquePointer?, OpaquePointer?, UnsafePointer<UInt8>?, UnsafePointer<UInt8>?
        ) -> Int32
    fileprivate typealias Update =
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<Int32>?, UnsafeRawPointer?, Int32
        ) -> Int32
    fileprivate typealias Finish =
        @convention(c) (OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<Int32>?) -> Int32
    fileprivate typealias Control = @convention(c) (OpaquePointer?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32

    fileprivate let newContext: NewContext
    fileprivate let freeContext: FreeContext
    fileprivate let begin: Begin
    fileprivate let update: Update
    fileprivate let finish: Finish
    fileprivate let control: Control
    /// An `EVP_CIPHER`, which threads share; it lives as long as the process.
    fileprivate nonisolated(unsafe) let algorithm: OpaquePointer

    /// libcrypto, or its AES-256-GCM, cannot be used.
    package struct Unavailable: Error, CustomStringConvertible {
        package let description: String
    }

    /// The library. The first call loads it.
    package static func shared() throws(Unavailable) -> DigestLibrary { try loaded.get() }

    private static let loaded: Result<DigestLibrary, Unavailable> = load(library)

    private static let library = "libcrypto.so.3"

    /// - Parameter name: For dlopen(3); tests name one that is missing.
    static func load(_ name: String) -> Result<DigestLibrary, Unavailable> {
        guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
            let fault = LibraryFault(dlerror().map { String(cString: $0) } ?? "no reason given")
            return .failure(
                Unavailable(
                    description: "the library that digests pools cannot be loaded: \(fault.text): "
                        + fault.remedy(for: name, package: "libssl3")))
        }
        guard let fetch = dlsym(handle, "EVP_CIPHER_fetch"), let newContext = dlsym(handle, "EVP_CIPHER_CTX_new"),
            let freeContext = dlsym(handle, "EVP_CIPHER_CTX_free"), let begin = dlsym(handle, "EVP_EncryptInit_ex"),
            let update = dlsym(handle, "EVP_EncryptUpdate"), let finish = dlsym(handle, "EVP_EncryptFinal_ex"),
            let control = dlsym(handle, "EVP_CIPHER_CTX_ctrl")
        else { return .failure(Unavailable(description: "\(name) has no EVP_CIPHER_fetch: OpenSSL 3 is needed")) }
        guard let algorithm = unsafeBitCast(fetch, to: Fetch.self)(nil, "AES-256-GCM", nil) else {
            return .failure(
                Unavailable(description: "\(name) offers no AES-256-GCM: does the configuration of OpenSSL disable it?")
            )
        }
        return .success(
            DigestLibrary(
                newContext: unsafeBitCast(newContext, to: NewContext.self),
                freeContext: unsafeBitCast(freeContext, to: FreeContext.self),
                begin: unsafeBitCast(begin, to: Begin.self), update: unsafeBitCast(update, to: Update.self),
                finish: unsafeBitCast(finish, to: Finish.self), control: unsafeBitCast(control, to: Control.self),
                algorithm: algorithm))
    }
}

/// The secret of one comparison. Whoever wrote the blocks did not know it, so nobody can make two blocks that look alike: two that
/// differ have the same digest with a probability of 2^-115 (NIST SP 800-38D, appendix A; blocks of 16 MiB at most).
package struct DigestKey: Sendable, Equatable {
    package let bytes: [UInt8]

    static let byteCount = DigestRequest.keySize

    /// A new one, from the kernel's generator (getrandom(2)).
    package init() { bytes = (0..<Self.byteCount).map { _ in UInt8.random(in: 0...255) } }

    /// The key that a target was asked to digest with.
    package init(of request: DigestRequest) { bytes = request.key }

    /// - Parameter digits: From ``digits``; nil for anything else.
    package init?(digits: some StringProtocol) {
        guard let bytes = [UInt8](hexadecimalDigits: digits), bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// Hexadecimal.
    package var digits: String { hexadecimalDigits(bytes) }
}

/// Digests blocks with one key, on one thread. It is an `EVP_CIPHER_CTX`.
package struct BlockDigest: ~Copyable {
    private let library: DigestLibrary
    private let context: OpaquePointer

    /// Bytes of a digest.
    package static let size = DigestRequest.digestSize
    /// EVP_CTRL_AEAD_GET_TAG of openssl/evp.h.
    private static let getTag: Int32 = 0x10

    package init(_ library: DigestLibrary, _ key: DigestKey) throws(DigestLibrary.Unavailable) {
        guard let context = library.newContext() else {
            throw DigestLibrary.Unavailable(description: "EVP_CIPHER_CTX_new: no memory")
        }
        guard library.begin(context, library.algorithm, nil, key.bytes, nil) == 1 else {
            library.freeContext(context)
            throw Self.failed
        }
        self.library = library
        self.context = context
    }

    deinit { library.freeContext(context) }

    /// Appends the digest of a block to `digests`.
    ///
    /// - Parameter number: The block's. It is the nonce: the digests of a key must not share one.
    package func digest(
        _ bytes: UnsafeRawBufferPointer, number: Int, to digests: inout [UInt8]
    ) throws(DigestLibrary.Unavailable) {
        var digest = [UInt8](repeating: 0, count: Self.size)
        var count: Int32 = 0
        // 12 bytes: GCM takes them as they are.
        var nonce = ByteWriter(capacity: 12)
        nonce.write(UInt32(0))
        nonce.write(UInt64(number), .littleEndian)
        // Data that is authenticated and not encrypted: GMAC.
        guard library.begin(context, nil, nil, nil, nonce.bytes) == 1,
            library.update(context, nil, &count, bytes.baseAddress, Int32(bytes.count)) == 1,
            library.finish(context, &digest, &count) == 1,
            library.control(context, Self.getTag, Int32(Self.size), &digest) == 1
        else { throw Self.failed }
        digests += digest
    }

    private static var failed: DigestLibrary.Unavailable { .init(description: "libcrypto could not make a digest") }
}
