import Glibc
import RpmemProtocol
import SystemSupport

/// The environment variables of this process. libpmem, libfabric, its providers and the loader take ways of working from
/// them, and names of libraries to load. With `AcceptEnv` in sshd's configuration the client sets them.
enum ProcessEnvironment {
    /// Whether sshd started this process, so that the client may have set variables.
    static var isFromClient: Bool { SSHConnection.current != nil }

    /// Returns if the environment is as the settings allow it. Otherwise starts the program again, in this process, with such
    /// an environment: libpmem and the loader have read theirs before `main`.
    ///
    /// - Throws: The program cannot be started again, and nothing has changed.
    static func settle(_ settings: Settings) throws(SystemCallError) {
        let present = entries()
        let wanted = settings.environment.value.apply(to: present, clearing: isFromClient)
        if wanted == present { return }
        report(removed: present.filter { !wanted.contains($0) }, settings)
        let variables = wanted.map { entry in entry.withUnsafeBytes { strndup($0.baseAddress!, $0.count) } } + [nil]
        defer { for pointer in variables { free(pointer) } }
        // The program's own name, for ps(1) and for messages about who holds a pool. It is gone while a package is replaced.
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        if readlink("/proc/self/exe", &path, path.count - 1) > 0 { execve(path, CommandLine.unsafeArgv, variables) }
        execve("/proc/self/exe", CommandLine.unsafeArgv, variables)
        throw SystemCallError.last("execve")
    }

    /// The log's remark on a variable that weakens durability.
    ///
    /// - Returns: nil when there is nothing to say.
    static func remark(_ settings: Settings) -> String? {
        guard settings.environment.value.variables.contains(where: { $0.name == "PMEM_IS_PMEM_FORCE" }),
            let value = getenv("PMEM_IS_PMEM_FORCE").map({ String(cString: $0) }), value != "0"
        else { return nil }
        return
            "environment: PMEM_IS_PMEM_FORCE=\(value) (\(settings.environment.origin)): libpmem may take ordinary files for "
            + "persistent memory, and then a loss of power takes acknowledged data; leave the variable out, unless for tests"
    }

    private static func entries() -> [[UInt8]] {
        var entries: [[UInt8]] = []
        var next = environ
        while let entry = next.pointee {
            entries.append(Array(UnsafeRawBufferPointer(start: entry, count: strlen(entry))))
            next += 1
        }
        return entries
    }

    /// Logs what goes, for an operator who misses a variable.
    private static func report(removed: [[UInt8]], _ settings: Settings) {
        guard settings.logLevel.value == .info || settings.logLevel.value == .debug, isFromClient, !removed.isEmpty
        else { return }
        let names = removed.map { clipped(EnvironmentRule.name(of: $0)) }
        let rest = names.count > 8 ? " and \(names.count - 8) others" : ""
        SessionLog.open(settings, peer: SSHConnection.current?.client.map { "\($0)" }).info(
            "environment: cleared \(names.prefix(8).joined(separator: ", "))\(rest), which came through ssh; the setting "
                + "environment lets variables through")
    }
}
