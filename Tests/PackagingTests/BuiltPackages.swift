import Glibc
import TestSupport

/// The packages that `make deb` leaves in `.build/deb`.
enum BuiltPackages {
    static let names = ["librpmem-dev", "librpmem1", "rpmemctl", "rpmemd"]

    /// The file of a package.
    static func file(_ name: String) throws -> String {
        guard
            let file = TemporaryDirectory.entries(of: directory).first(where: {
                $0.hasPrefix("\(name)_") && $0.hasSuffix(".deb")
            })
        else { throw TestSupportError("\(directory) has no \(name)_*.deb") }
        return "\(directory)/\(file)"
    }

    static let directory = "\(Binaries.packageDirectory)/.build/deb"

    /// The reason why there are none; nil when they are there.
    static var unavailableReason: String? {
        if Sanitizer.isOn { return "they are of the release build" }
        for name in names where (try? file(name)) == nil { return "\(directory) has no \(name): make deb" }
        return nil
    }
}
