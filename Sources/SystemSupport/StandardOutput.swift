import Glibc

/// Writes text for the person or the program that started this process to standard output. Of a daemon's session that is the wire,
/// and nothing else is written there.
///
/// - Throws: When not all of it is written, with the name of the stream. `print` hides that, and a script would take half a document
///   for a whole.
package func printOut(_ text: String) throws(SystemCallError) {
    do throws(SystemCallError) { try writeAll(Array(text.utf8), to: STDOUT_FILENO) } catch {
        throw SystemCallError("write", on: "standard output", errno: error.errno)
    }
}
