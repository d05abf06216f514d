import Glibc
import SystemSupport

/// Writes text to standard output.
///
/// - Throws: ``ToolError`` when not all of it is written. `print` hides that, and a script would take half a document for a whole.
func printOut(_ text: String) throws {
    do throws(SystemCallError) { try writeAll(Array(text.utf8), to: STDOUT_FILENO) } catch {
        throw ToolError("standard output: \(error)")
    }
}
