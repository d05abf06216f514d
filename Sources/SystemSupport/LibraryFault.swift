/// Why the dynamic linker cannot use a library, read from glibc's text: that of dlerror(3), or of a program that does not start.
package struct LibraryFault: Sendable, Equatable {
    /// glibc's text, such as `FILE: file too short`.
    package let text: String
    /// The name of the library that is not there, or the path of the file that is none.
    package let file: String
    /// Whether the linker found no file.
    package let isMissing: Bool

    package init(_ text: String) {
        self.text = text
        let reason = text.firstRange(of: "cannot open shared object file").map { text[$0.upperBound...] }
        isMissing = reason.map { $0.isEmpty || $0.hasPrefix(": No such file or directory") } ?? false
        // The file before the colon of `version 'X' not found (required by FILE)` is a library that FILE needs.
        if let needing = text.firstRange(of: "(required by ") {
            file = String(text[needing.upperBound...].prefix { $0 != ")" })
        } else {
            file = text.firstRange(of: ": ").map { String(text[..<$0.lowerBound]) } ?? ""
        }
    }

    /// What mends it.
    ///
    /// - Parameters:
    ///   - library: The name that was opened: what it needs in turn may be missing as well.
    ///   - package: Debian's package of ``file``, or of `library` where that is given; nil when it is not known.
    ///   - root: What runs a command as root, with a blank; empty where the reader knows.
    package func remedy(for library: String? = nil, package: String?, root: String = "") -> String {
        if isMissing {
            if let library, library != file { return "install the package of \(file), which \(library) needs" }
            return package.map { "`\(root)apt-get install \($0)`" } ?? "install its package"
        }
        if let package, file.hasPrefix("/lib/") || file.hasPrefix("/usr/lib/") {
            return "`\(root)apt-get install --reinstall \(package)`"
        }
        return file.hasPrefix("/")
            ? "remove \(file), or take its directory out of LD_LIBRARY_PATH" : "correct what that says"
    }
}
