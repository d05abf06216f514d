import Glibc
import SystemSupport

/// Writes text for the person or the program that started the daemon to standard output. Of a session that is the wire:
/// ``RequestConnection`` writes there.
///
/// - Throws: When not all of it is written, with the name of the stream. `print` hides that.
func printOut(_ text: String) throws(SystemCallError) {
    do throws(SystemCallError) { try writeAll(Array(text.utf8), to: STDOUT_FILENO) } catch {
        throw SystemCallError("write", on: "standard output", errno: error.errno)
    }
}
