import Glibc
import SystemSupport
import TestSupport

/// The images that guests boot from: one with Debian, cached between runs, and one with the project, made anew for each run.
struct Images {
    let kernel: String
    let initrd: String
    let root: String
    let project: String

    /// Kernel arguments of all guests. The kernel prints warnings and errors only: a serial line is slow. Features that are
    /// slow in emulation and not under test are off: mitigations make each system call several times as slow, a fifth
    /// level of page tables each page walk, and self-tests of ciphers each boot. The check of the timer interrupt is off
    /// too: it lasts ten ticks, and a kernel that gets no processor time meanwhile panics.
    static let kernelArguments =
        "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off nokaslr no5lvl cryptomgr.notests no_timer_check"

    /// The reason why this host cannot make them; nil when no reason is known.
    static var unavailableReason: String? {
        for program in ["/usr/bin/qemu-system-x86_64", "/usr/bin/mmdebstrap", "/usr/bin/setpriv", "/usr/sbin/mke2fs"]
        where access(program, X_OK) != 0 {
            return "\(program) is missing: apt-get install qemu-system-x86 mmdebstrap util-linux e2fsprogs"
        }
        if geteuid() != 0 { return "making the image of Debian takes root" }
        return nil
    }

    /// - Parameters:
    ///   - sources: `Tests/VM`.
    ///   - tree: The directory that `make install DESTDIR=` filled.
    ///   - files: Programs of the tests to put into `/vm/bin`, and Debian packages to put into `/vm/packages`.
    init(sources: String, tree: String, files: [String], workplace: Workplace) throws {
        print("vm: preparing what the guests boot from")
        let directory = try Self.output(of: ["\(sources)/image"])
        kernel = "\(directory)/vmlinux"
        initrd = "\(directory)/initrd"
        root = "\(directory)/root.ext4"
        project = "\(workplace.path)/project.ext4"
        try Self.run(["/bin/bash", "\(sources)/project-image", tree, project] + files)
    }

    private static func run(_ arguments: [String]) throws { _ = try output(of: arguments) }

    /// - Returns: The last line of its standard output.
    private static func output(of arguments: [String]) throws -> String {
        var environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
        for name in ["HOME", "XDG_CACHE_HOME", "TMPDIR"] {
            if let value = getenv(name) { environment[name] = String(cString: value) }
        }
        let process = try ChildProcess(arguments, environment: environment)
        process.closeInput()
        // Long enough to download Debian over a slow line.
        guard let ending = try process.wait(within: 1_200_000) else {
            throw TestSupportError("\(arguments[0]): not over after 20 minutes")
        }
        let output = String(decoding: try process.receive(1 << 16, within: 1000), as: UTF8.self)
        if ending != .exited(0) {
            let last = process.errorText.split(separator: "\n").suffix(3).joined(separator: "; ")
            throw TestSupportError("\(arguments[0]): \(last)")
        }
        return output.split(separator: "\n").last.map(String.init) ?? ""
    }
}
