import Glibc

/// SHA-256 of libcrypto (OpenSSL 3), opened with dlopen(3) when it is first needed: sessions, which need none, start without it.
package struct SHA256Library: Sendable {
    fileprivate typealias Fetch =
        @convention(c) (OpaquePointer?, UnsafePointer<CChar>?, UnsafePointer<CChar>?) -> OpaquePointer?
    fileprivate typealias NewContext = @convention(c) () -> OpaquePointer?
    fileprivate typealias FreeContext = @convention(c) (OpaquePointer?) -> Void
    fileprivate typealias Begin = @convention(c) (OpaquePointer?, OpaquePointer?, OpaquePointer?) -> Int32
    fileprivate typealias Update = @convention(c) (OpaquePointer?, UnsafeRawPointer?, Int) -> Int32
    fileprivate typealias Finish =
        @convention(c) (OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt32>?) -> Int32

    fileprivate let newContext: NewContext
    fileprivate let freeContext: FreeContext
    fileprivate let begin: Begin
    fileprivate let update: Update
    fileprivate let finish: Finish
    /// An `EVP_MD`, which threads share; it lives as long as the process.
    fileprivate nonisolated(unsafe) let algorithm: OpaquePointer

    /// Bytes of a digest.
    package static let digestSize = 32

    /// libcrypto, or its SHA-256, cannot be used.
    package struct Unavailable: Error, CustomStringConvertible {
        package let description: String
    }

    /// The library. The first call loads it.
    package static func shared() throws(Unavailable) -> SHA256Library { try loaded.get() }

    private static let loaded: Result<SHA256Library, Unavailable> = load(library)

    private static let library = "libcrypto.so.3"

    /// - Parameter name: For dlopen(3); tests name one that is missing.
    static func load(_ name: String) -> Result<SHA256Library, Unavailable> {
        guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
            let reason = dlerror().map { String(cString: $0) } ?? "no reason given"
            return .failure(
                Unavailable(
                    description: "the library that digests pools cannot be loaded: \(reason): `apt-get install libssl3`"
                ))
        }
        guard let fetch = dlsym(handle, "EVP_MD_fetch"), let newContext = dlsym(handle, "EVP_MD_CTX_new"),
            let freeContext = dlsym(handle, "EVP_MD_CTX_free"), let begin = dlsym(handle, "EVP_DigestInit_ex2"),
            let update = dlsym(handle, "EVP_DigestUpdate"), let finish = dlsym(handle, "EVP_DigestFinal_ex")
        else { return .failure(Unavailable(description: "\(name) has no EVP_MD_fetch: OpenSSL 3 is needed")) }
        guard let algorithm = unsafeBitCast(fetch, to: Fetch.self)(nil, "SHA256", nil) else {
            return .failure(
                Unavailable(description: "\(name) offers no SHA-256: does the configuration of OpenSSL disable it?"))
        }
        return .success(
            SHA256Library(
                newContext: unsafeBitCast(newContext, to: NewContext.self),
                freeContext: unsafeBitCast(freeContext, to: FreeContext.self),
                begin: unsafeBitCast(begin, to: Begin.self), update: unsafeBitCast(update, to: Update.self),
                finish: unsafeBitCast(finish, to: Finish.self), algorithm: algorithm))
    }
}

/// An `EVP_MD_CTX`, for one thread.
package struct SHA256: ~Copyable {
    private let library: SHA256Library
    private let context: OpaquePointer

    package init(_ library: SHA256Library) throws(SHA256Library.Unavailable) {
        guard let context = library.newContext() else {
            throw SHA256Library.Unavailable(description: "EVP_MD_CTX_new: no memory")
        }
        self.library = library
        self.context = context
    }

    deinit { library.freeContext(context) }

    /// Appends the digest of `bytes` to `digests`.
    package func digest(
        _ bytes: UnsafeRawBufferPointer, to digests: inout [UInt8]
    ) throws(SHA256Library.Unavailable) {
        var digest = [UInt8](repeating: 0, count: SHA256Library.digestSize)
        guard library.begin(context, library.algorithm, nil) == 1,
            library.update(context, bytes.baseAddress, bytes.count) == 1, library.finish(context, &digest, nil) == 1
        else { throw SHA256Library.Unavailable(description: "libcrypto could not make a SHA-256") }
        digests += digest
    }
}
