import Glibc

/// The placeholder of the home directory in a path.
let homePlaceholder = "$HOME"

/// `path` with the home directory in place of `$HOME`.
///
/// As in PMDK 1.12.1, only the first `$HOME` is replaced, at any place, unless a letter or digit follows.
func replacingHome(in path: String, with home: String?) throws(SettingValueError) -> String {
    let text = Array(path.utf8)
    let placeholder = Array(homePlaceholder.utf8)
    guard
        let start = text.indices.first(where: { text[$0...].starts(with: placeholder) })
    else { return path }
    let end = start + placeholder.count
    if end < text.count, isalnum(Int32(text[end])) != 0 { return path }
    guard let home else {
        throw SettingValueError(
            fault: "$HOME is not known: no HOME in the environment, no passwd entry", remedy: "write the path in full")
    }
    return String(decoding: text[..<start] + Array(home.utf8) + text[end...], as: UTF8.self)
}

/// The calling user's home directory: `HOME`, else the passwd entry, else nil.
func findHomeDirectory() -> String? {
    if let home = getenv("HOME"), home.pointee != 0 { return String(cString: home) }
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    var buffer = [CChar](repeating: 0, count: 16384)
    return buffer.withUnsafeMutableBufferPointer { buffer -> String? in
        guard let space = buffer.baseAddress,
            getpwuid_r(getuid(), &entry, space, buffer.count, &found) == 0, found != nil,
            let home = entry.pw_dir, home.pointee != 0
        else { return nil }
        return String(cString: home)
    }
}
