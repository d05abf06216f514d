import CFabric
import CLinux
import Glibc

/// libfabric, opened when it is first needed.
///
/// Debian's libfabric pulls in libraries whose constructors sleep for 0.2 s, and its first `fi_getinfo` takes another
/// 0.1 s. Linking it would put that in front of a session's initial status; opened from a thread of its own, the wait
/// overlaps with everything a session does before it needs the fabric. Only the functions below are real symbols; the
/// rest of libfabric's interface goes through tables in its objects.
package struct FabricLibrary: Sendable {
    typealias GetInfo =
        @convention(c) (
            UInt32, UnsafePointer<CChar>?, UnsafePointer<CChar>?, UInt64, UnsafePointer<fi_info>?,
            UnsafeMutablePointer<UnsafeMutablePointer<fi_info>?>?
        ) -> Int32
    typealias DuplicateInfo = @convention(c) (UnsafePointer<fi_info>?) -> UnsafeMutablePointer<fi_info>?
    typealias FreeInfo = @convention(c) (UnsafeMutablePointer<fi_info>?) -> Void
    typealias OpenFabric =
        @convention(c) (
            UnsafeMutablePointer<fi_fabric_attr>?, UnsafeMutablePointer<UnsafeMutablePointer<fid_fabric>?>?,
            UnsafeMutableRawPointer?
        ) -> Int32
    typealias ErrorWords = @convention(c) (Int32) -> UnsafePointer<CChar>?
    typealias Version = @convention(c) () -> UInt32

    let getInfo: GetInfo
    let duplicateInfo: DuplicateInfo
    let freeInfo: FreeInfo
    let openFabric: OpenFabric
    private let errorWords: ErrorWords
    private let versionNumber: Version

    /// Loads the library and its providers on a thread that nobody waits for; whoever needs the library next waits
    /// for the load to end.
    ///
    /// - Parameter settingUpProviders: False leaves that to the first query, for which the environment may still change; see
    ///   ``ProviderEnvironment``.
    package static func beginLoading(settingUpProviders: Bool) {
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        // A failure to start the thread only costs time later.
        _ = pthread_create(
            &thread, &attributes,
            { setsUp in
                if let library = try? FabricLibrary.shared(), setsUp != nil { library.wakeProviders() }
                return nil
            }, settingUpProviders ? UnsafeMutableRawPointer(bitPattern: 1) : nil)
        pthread_attr_destroy(&attributes)
    }

    /// The library; the first call loads it, and calls from other threads wait for that.
    package static func shared() throws(FabricError) -> FabricLibrary {
        try loaded.get()
    }

    /// As libfabric counts itself, such as `1.17`.
    package var version: String {
        let number = versionNumber()
        return "\(number >> 16).\(number & 0xffff)"
    }

    private static let loaded: Result<FabricLibrary, FabricError> = load()

    private static func load() -> Result<FabricLibrary, FabricError> {
        func failure() -> FabricError {
            let reason = dlerror().map { String(cString: $0) }
            return FabricError(
                "loading libfabric.so.1", code: Int32(FI_ENOSYS),
                detail: "\(reason ?? "no reason given"); install libfabric1")
        }
        let handlers = SignalHandlers()
        let opened = withSignalsBlocked { dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL) }
        handlers.takeBackFromNewObjects()
        guard let handle = opened else { return .failure(failure()) }
        guard let getInfo = dlvsym(handle, "fi_getinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let duplicateInfo = dlvsym(handle, "fi_dupinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let freeInfo = dlvsym(handle, "fi_freeinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let openFabric = dlvsym(handle, "fi_fabric", "FABRIC_1.1"),
            let errorWords = dlvsym(handle, "fi_strerror", "FABRIC_1.0"),
            let version = dlvsym(handle, "fi_version", "FABRIC_1.0")
        else { return .failure(failure()) }
        return .success(
            FabricLibrary(
                getInfo: unsafeBitCast(getInfo, to: GetInfo.self),
                duplicateInfo: unsafeBitCast(duplicateInfo, to: DuplicateInfo.self),
                freeInfo: unsafeBitCast(freeInfo, to: FreeInfo.self),
                openFabric: unsafeBitCast(openFabric, to: OpenFabric.self),
                errorWords: unsafeBitCast(errorWords, to: ErrorWords.self),
                versionNumber: unsafeBitCast(version, to: Version.self)))
    }

    /// Lets libfabric set its providers up, which it does once, in the first query.
    private func wakeProviders() {
        var found: UnsafeMutablePointer<fi_info>?
        if getInfo(rpmem_fi_api_version, nil, nil, 0, nil, &found) == 0 { freeInfo(found) }
    }

    static func words(for code: Int32) -> String {
        guard case .success(let library) = loaded, let words = library.errorWords(code) else {
            return String(cString: strerror(code))
        }
        return String(cString: words)
    }
}
