import CFabric
import CLinux
import Glibc
import Synchronization
import SystemSupport

/// libfabric, opened with dlopen(3) when it is first needed.
///
/// Debian's libfabric loads libraries whose constructors sleep for 0.2 s, and its first `fi_getinfo` takes another 0.1 s. If
/// the program linked libfabric, a session's initial status would come that much later. A thread of its own opens it instead,
/// while the session does everything for which it needs no fabric. Only the functions below are symbols; all other calls go
/// through tables in libfabric's objects.
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
    typealias ErrorDescription = @convention(c) (Int32) -> UnsafePointer<CChar>?
    typealias Version = @convention(c) () -> UInt32

    let getInfo: GetInfo
    let duplicateInfo: DuplicateInfo
    let freeInfo: FreeInfo
    let openFabric: OpenFabric
    private let errorDescription: ErrorDescription
    private let versionNumber: Version

    /// Starts to load the library on a thread. ``shared()`` waits until it is loaded.
    ///
    /// - Parameter settingUpProviders: Whether the thread also sets the providers up. False leaves that to the first query, until
    ///   which the environment may still change; see ``ProviderEnvironment``.
    package static func beginLoading(settingUpProviders: Bool) {
        // If the thread cannot be started, the first caller of shared() loads the library.
        let thread = try? NamedThread(name: "load-fabric") {
            if let library = try? FabricLibrary.shared(), settingUpProviders { library.setUpProviders() }
        }
        loader.withLock { $0 = thread }
    }

    /// Waits until the thread of ``beginLoading(settingUpProviders:)`` has ended. Returns at once when there is none.
    package static func finishLoading() {
        let thread = loader.withLock { $0.take() }
        thread?.join()
    }

    private static let loader = Mutex<NamedThread?>(nil)

    /// The library. The first call loads it, and calls of other threads wait for that.
    package static func shared() throws(FabricError) -> FabricLibrary {
        try loaded.get()
    }

    /// libfabric's version, such as `1.17`.
    package var version: String {
        let number = versionNumber()
        return "\(number >> 16).\(number & 0xffff)"
    }

    private static let fileName = "libfabric.so.1"

    /// What mends an error of ``FabricOperation/loadLibrary``.
    ///
    /// - Parameter root: As ``LibraryFault/remedy(for:package:root:)`` has it.
    package static func remedy(for error: FabricError, root: String = "") -> String {
        LibraryFault(error.detail ?? "").remedy(for: fileName, package: "libfabric1", root: root)
    }

    private static let loaded: Result<FabricLibrary, FabricError> = load()

    private static func load() -> Result<FabricLibrary, FabricError> {
        func failure() -> FabricError {
            let reason = dlerror().map { String(cString: $0) }
            return FabricError(.loadLibrary, code: Int32(FI_ENOSYS), detail: reason ?? "no reason given")
        }
        let handlers = SignalHandlers()
        let opened = withSignalsBlocked { dlopen(fileName, RTLD_NOW | RTLD_LOCAL) }
        handlers.restoreFromNewObjects()
        guard let handle = opened else { return .failure(failure()) }
        guard let getInfo = dlvsym(handle, "fi_getinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let duplicateInfo = dlvsym(handle, "fi_dupinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let freeInfo = dlvsym(handle, "fi_freeinfo", RPMEM_FI_INFO_SYMBOL_VERSION),
            let openFabric = dlvsym(handle, "fi_fabric", "FABRIC_1.1"),
            let errorDescription = dlvsym(handle, "fi_strerror", "FABRIC_1.0"),
            let version = dlvsym(handle, "fi_version", "FABRIC_1.0")
        else { return .failure(failure()) }
        return .success(
            FabricLibrary(
                getInfo: unsafeBitCast(getInfo, to: GetInfo.self),
                duplicateInfo: unsafeBitCast(duplicateInfo, to: DuplicateInfo.self),
                freeInfo: unsafeBitCast(freeInfo, to: FreeInfo.self),
                openFabric: unsafeBitCast(openFabric, to: OpenFabric.self),
                errorDescription: unsafeBitCast(errorDescription, to: ErrorDescription.self),
                versionNumber: unsafeBitCast(version, to: Version.self)))
    }

    /// Makes the first query, in which libfabric sets its providers up.
    private func setUpProviders() {
        var found: UnsafeMutablePointer<fi_info>?
        if getInfo(rpmem_fi_api_version, nil, nil, 0, nil, &found) == 0 { freeInfo(found) }
    }

    /// libfabric's text for one of its codes; strerror's while the library is not loaded.
    static func description(ofCode code: Int32) -> String {
        // Its text is "Success".
        if code == 0 { return "no reason given" }
        guard case .success(let library) = loaded, let text = library.errorDescription(code) else {
            return String(cString: strerror(code))
        }
        return String(cString: text)
    }
}
