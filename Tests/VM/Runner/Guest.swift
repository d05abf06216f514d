import Glibc
import SystemSupport
import TestSupport

/// A QEMU process with a guest in it: killed and reaped when its owner lets go of it, and by the kernel if this program
/// dies first.
///
/// Software emulation only: nothing is asked of the machine that the tests run on.
final class Guest {
    private let process: ChildProcess
    /// A pipe that the guest's port `report` writes to.
    private let report: Descriptor
    /// A pipe to QEMU's monitor, and one for what that says.
    private let monitor: Descriptor
    private let monitorAnswers: Descriptor
    private var consoleLines = LineBuffer()
    private var reportLines = LineBuffer()
    private var monitorLines = LineBuffer()
    private var consoleEnded = false

    enum Event {
        case console(String)
        case report(GuestReport)
        /// The machine is off.
        case ended
    }

    /// Switches a machine on.
    ///
    /// - Parameters:
    ///   - cases: What `run-cases` finds on the kernel's command line, in order.
    ///   - stage: How often the plug was pulled in the first case before.
    ///   - seed: For what cases leave to chance.
    ///   - link: To the companion.
    ///   - directory: Where the NVDIMMs' and disks' contents and the pipes are; made by the caller.
    init(
        _ boot: Boot, cases: [Case], stage: Int, seed: UInt32, link: Link?, images: Images, directory: String
    ) throws {
        for pipe in ["report.in", "report.out", "monitor.in", "monitor.out"] {
            let path = "\(directory)/\(pipe)"
            unlink(path)
            if mkfifo(path, 0o600) != 0 { throw SystemCallError.last("mkfifo", on: path) }
        }
        // For reading and writing: QEMU must find the other end open, whoever comes first.
        report = try Descriptor.open("\(directory)/report.out", O_RDWR | O_NONBLOCK)
        monitor = try Descriptor.open("\(directory)/monitor.in", O_RDWR)
        monitorAnswers = try Descriptor.open("\(directory)/monitor.out", O_RDWR | O_NONBLOCK)
        process = try ChildProcess(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/qemu-system-x86_64"]
                + Self.arguments(
                    boot, cases: cases, stage: stage, seed: seed, link: link, images: images, directory: directory),
            environment: ["PATH": "/usr/bin:/bin", "TMPDIR": directory])
        process.closeInput()
    }

    private static func arguments(
        _ boot: Boot, cases: [Case], stage: Int, seed: UInt32, link: Link?, images: Images, directory: String
    ) throws -> [String] {
        var machine = "q35"
        if !boot.nvdimms.isEmpty { machine += ",nvdimm=on" }
        if let domain = boot.persistenceDomain { machine += ",nvdimm-persistence=\(domain.rawValue)" }
        let names = cases.map { "\($0.name):\($0.limit)" }.joined(separator: ",")
        var kernel = "\(Images.kernelArguments) vm.cases=\(names) vm.stage=\(stage) vm.seed=\(seed)"
        // A virtual processor that got no time looks stuck to them.
        kernel += " nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
        kernel +=
            boot.runsSystemd ? " vm.init=/sbin/init systemd.wants=vm-cases.service" : " vm.init=/vm/run-cases"
        for argument in boot.kernelArguments { kernel += " " + argument }
        var arguments = [
            "-M", machine, "-accel", "tcg,thread=multi", "-cpu", "max,vendor=GenuineIntel", "-smp", "2",
            "-m", "\(boot.memory)M,slots=8,maxmem=32G", "-no-reboot", "-display", "none", "-nic", "none",
            "-serial", "stdio", "-kernel", images.kernel, "-initrd", images.initrd, "-append", kernel,
            "-drive", "file=\(images.root),if=virtio,format=raw,readonly=on",
            "-drive", "file=\(images.project),if=virtio,format=raw,readonly=on",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", "pipe,id=report,path=\(directory)/report",
            "-device", "virtserialport,chardev=report,name=report",
            "-chardev", "pipe,id=monitor,path=\(directory)/monitor", "-mon", "chardev=monitor,mode=readline",
        ]
        for (index, nvdimm) in boot.nvdimms.enumerated() {
            let path = "\(directory)/nvdimm\(index)"
            try makeFile(path, megabytes: nvdimm.size)
            arguments += [
                "-object",
                "memory-backend-file,id=memory\(index),share=on,mem-path=\(path),size=\(nvdimm.size)M,align=128M",
                "-device", "nvdimm,id=nvdimm\(index),memdev=memory\(index),label-size=2M",
            ]
        }
        for (index, size) in boot.disks.enumerated() {
            let path = "\(directory)/disk\(index)"
            try makeFile(path, megabytes: size)
            arguments += ["-drive", "file=\(path),if=virtio,format=raw"]
        }
        if let link { arguments += link.arguments(.boot) }
        return arguments + boot.machineArguments
    }

    /// Leaves what is there.
    private static func makeFile(_ path: String, megabytes: Int) throws {
        let file = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        if ftruncate(file.number, off_t(megabytes) << 20) != 0 { throw SystemCallError.last("ftruncate", on: path) }
    }

    /// Waits for what the guest says next; nil when the deadline passed.
    func next(until deadline: Deadline) throws -> Event? {
        while true {
            if let line = reportLines.next() {
                guard let report = GuestReport(line) else { return .console("[report] \(line)") }
                return .report(report)
            }
            if let line = consoleLines.next() { return .console(line) }
            // Not its echo of commands, which is full of escape sequences.
            if let line = monitorLines.next(), !line.contains("\u{1b}") { return .console("[monitor] \(line)") }
            if consoleEnded {
                // What it reported last may still be in the pipe.
                if try fill(&reportLines, from: report.number) { continue }
                if let line = consoleLines.rest() { return .console(line) }
                return .ended
            }
            var set = PollSet()
            let reports = set.add(report.number)
            let console = set.add(process.output)
            let monitor = set.add(monitorAnswers.number)
            if try !set.wait(until: deadline) { return nil }
            if set.isReady(reports) { _ = try fill(&reportLines, from: report.number) }
            if set.isReady(console), try !fill(&consoleLines, from: process.output) { consoleEnded = true }
            if set.isReady(monitor) { _ = try fill(&monitorLines, from: monitorAnswers.number) }
        }
    }

    /// - Returns: Whether there was something.
    private func fill(_ lines: inout LineBuffer, from descriptor: Int32) throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16384)
        let count = read(descriptor, &chunk, chunk.count)
        if count < 0 && errno != EAGAIN { throw SystemCallError.last("read", on: "a guest's output") }
        if count <= 0 { return false }
        lines.append(chunk[..<count])
        return true
    }

    /// Gives QEMU's monitor a command.
    func command(_ text: String) throws {
        try writeAll(Array("\(text)\n".utf8), to: monitor.number)
    }

    /// SIGKILL: what the guest had not written back to its NVDIMMs is lost.
    func pullPlug() throws {
        process.signal(SIGKILL)
        _ = try process.wait()
    }

    /// What QEMU itself complained of.
    var complaints: String { process.errorText }
}

/// Bytes that come in pieces, as lines.
private struct LineBuffer {
    private var bytes: [UInt8] = []

    mutating func append(_ more: some Collection<UInt8>) { bytes += more }

    /// The next whole line, without its end.
    mutating func next() -> String? {
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        defer { bytes.removeFirst(end + 1) }
        return Self.text(bytes[..<end])
    }

    /// What came after the last whole line.
    mutating func rest() -> String? {
        if bytes.isEmpty { return nil }
        defer { bytes = [] }
        return Self.text(bytes[...])
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.filter { $0 != UInt8(ascii: "\r") && $0 != 0 }, as: UTF8.self)
    }
}
