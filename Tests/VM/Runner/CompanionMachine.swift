import Glibc
import SystemSupport
import TestSupport

/// A QEMU process with a boot's second machine. It ends with the last reference.
final class CompanionMachine {
    private let process: ChildProcess
    private let console: String

    /// Starts the machine.
    ///
    /// - Parameters:
    ///   - directory: For QEMU's own files.
    ///   - console: The log that its console is written to.
    init(
        _ companion: Boot.Companion, of boot: Boot, seed: UInt32, link: Link, images: Images, directory: String,
        console: String
    ) throws {
        self.console = console
        var kernel = "\(Images.kernelArguments) vm.init=/vm/\(companion.program) vm.seed=\(seed)"
        for argument in boot.kernelArguments { kernel += " " + argument }
        process = try ChildProcess(
            [
                "/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/qemu-system-x86_64",
                "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,vendor=GenuineIntel", "-smp", "2",
                "-m", "\(companion.memory)M", "-no-reboot", "-display", "none", "-nic", "none",
                // Not a pipe: this program does not read the console while the machine runs, and a full pipe would block it.
                "-serial", "file:\(console)",
                "-kernel", images.kernel, "-initrd", images.initrd, "-append", kernel,
                "-drive", "file=\(images.root),if=virtio,format=raw,readonly=on",
                "-drive", "file=\(images.project),if=virtio,format=raw,readonly=on",
                "-device", "virtio-rng-pci",
            ] + link.arguments(.companion),
            environment: ["PATH": "/usr/bin:/bin", "TMPDIR": directory])
        process.closeInput()
    }

    /// The first line of its console that reports an error of the kernel.
    func alarm() throws -> String? {
        let text = String(decoding: try readFile(Descriptor.open(console, O_RDONLY), limit: 64 << 20), as: UTF8.self)
        return text.split(separator: "\n").map(String.init).first(where: ConsoleLog.isAlarming)
    }
}
