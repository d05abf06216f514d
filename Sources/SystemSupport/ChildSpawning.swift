import CLinux
import Glibc

/// Starts a program, with default signal handling, no blocked signal, and no descriptors but its standard streams. Anything else
/// of this process that is open, such as libfabric's sockets, which are not close-on-exec, stays out of the child.
///
/// - Parameters:
///   - arguments: The program, which posix_spawnp(3) looks up in PATH unless it has a slash, and its arguments.
///   - input: The child's standard input. The child gets duplicates of the three descriptors; the caller closes its own.
///   - status: A descriptor that the child gets a duplicate of, with the number 3; nil for none.
///   - environment: nil for this process's own.
///   - directory: The child's working directory; nil for this process's own.
///   - leadsGroup: Whether the child is the first process of a new process group. Ctrl-C at this process's terminal does not
///     reach it then.
/// - Returns: The process id. The caller collects the child.
package func spawnChild(
    _ arguments: [String], input: borrowing Descriptor, output: borrowing Descriptor, errors: borrowing Descriptor,
    status: Int32? = nil, environment: [String: String]? = nil, directory: String? = nil, leadsGroup: Bool = false
) throws(SystemCallError) -> pid_t {
    // Their numbers are above 2, so that no dup2 closes the source of a later one.
    let input = try input.duplicate()
    let output = try output.duplicate()
    let errors = try errors.duplicate()
    // Without memory for one of the actions the child would get a descriptor of this process.
    func check(_ result: Int32) throws(SystemCallError) {
        if result != 0 { throw SystemCallError("posix_spawn", on: arguments.first, errno: .init(rawValue: result)) }
    }
    var actions = posix_spawn_file_actions_t()
    try check(posix_spawn_file_actions_init(&actions))
    defer { posix_spawn_file_actions_destroy(&actions) }
    try check(posix_spawn_file_actions_adddup2(&actions, input.number, 0))
    try check(posix_spawn_file_actions_adddup2(&actions, output.number, 1))
    try check(posix_spawn_file_actions_adddup2(&actions, errors.number, 2))
    if let status { try check(posix_spawn_file_actions_adddup2(&actions, status, 3)) }
    try check(posix_spawn_file_actions_addclosefrom_np(&actions, status == nil ? 3 : 4))
    if let directory { try check(posix_spawn_file_actions_addchdir_np(&actions, directory)) }

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    let group = leadsGroup ? POSIX_SPAWN_SETPGROUP : 0
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | group))

    let argv = arguments.map { strdup($0) } + [nil]
    let variables = environment.map { $0.map { strdup("\($0.key)=\($0.value)") } + [nil] }
    defer { for pointer in argv + (variables ?? []) { free(pointer) } }
    var child = pid_t()
    let result =
        if let variables {
            posix_spawnp(&child, arguments[0], &actions, &attributes, argv, variables)
        } else {
            posix_spawnp(&child, arguments[0], &actions, &attributes, argv, Glibc.environ)
        }
    try check(result)
    return child
}
