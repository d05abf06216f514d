/// The directory that has the last name of a path: `/` for a name in it, `.` for a path without a slash.
package func parentDirectory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}
