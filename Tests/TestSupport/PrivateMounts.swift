import Glibc

/// Mounts that only the calling process sees. They last as long as the process does, so they belong in exit tests.
package enum PrivateMounts {
    /// The reason why this host cannot make them; nil when it can.
    package static var skipReason: String? {
        geteuid() == 0 ? nil : "needs root for a mount namespace"
    }

    /// Gives the process its own mounts.
    ///
    /// - Returns: The error; nil on success.
    package static func enter() -> String? {
        // CLONE_NEWNS
        if let failure = unshare(0x20000) { return failure }
        // MS_REC | MS_PRIVATE
        return mount("none", "/", nil, 0x44000, nil)
    }

    /// unshare(2).
    ///
    /// - Returns: The error; nil on success.
    static func unshare(_ flags: Int32) -> String? {
        guard let unshare = symbol("unshare", as: (@convention(c) (Int32) -> Int32).self) else { return "no unshare" }
        return unshare(flags) == 0 ? nil : failure("unshare")
    }

    /// Mounts an empty file system in memory.
    ///
    /// - Parameter options: Mount options, such as `size=6m`.
    /// - Returns: The error; nil on success.
    package static func mountTmpfs(at path: String, options: String = "size=64m") -> String? {
        mount("tmpfs", path, "tmpfs", 0, options)
    }

    /// Removes a mount, so that its directory can be removed.
    package static func unmount(_ path: String) {
        // MNT_DETACH
        _ = symbol("umount2", as: (@convention(c) (UnsafePointer<CChar>, Int32) -> Int32).self)?(path, 2)
    }

    // Looked up by name: Glibc's overlay has neither.
    private static func symbol<Function>(_ name: String, as _: Function.Type) -> Function? {
        guard let address = dlsym(nil, name) else { return nil }
        return unsafeBitCast(address, to: Function.self)
    }

    /// mount(2).
    ///
    /// - Returns: The error; nil on success.
    package static func mount(
        _ source: String, _ target: String, _ type: String?, _ flags: UInt, _ options: String?
    ) -> String? {
        typealias Mount =
            @convention(c) (
                UnsafePointer<CChar>?, UnsafePointer<CChar>?, UnsafePointer<CChar>?, UInt, UnsafePointer<CChar>?
            ) -> Int32
        guard let mount = symbol("mount", as: Mount.self) else { return "no mount" }
        let result = source.withCString { source in
            target.withCString { target in
                (type ?? "").withCString { type in
                    (options ?? "").withCString { mount(source, target, type, flags, $0) }
                }
            }
        }
        return result == 0 ? nil : failure("mount \(target)")
    }

    private static func failure(_ call: String) -> String { "\(call): \(String(cString: strerror(errno)))" }
}
