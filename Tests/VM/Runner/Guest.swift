import Glibc
import SystemSupport
import TestSupport

/// A QEMU process with a guest. It is killed and reaped with the last reference; the kernel kills it if this program dies
/// first.
///
/// QEMU emulates the processor in software, so the host needs no virtualisation.
final class Guest {
    private let process: ChildProcess
    /// A pipe that the guest's port `report` writes to.
    private let report: Descriptor
    /// The pipes to and from QEMU's monitor.
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

    /// Starts a machine.
    ///
    /// - Parameters:
    ///   - cases: The cases that `run-cases` reads from the kernel's command line, in order.
    ///   - stage: The number of times that the plug has been pulled during the first case.
    ///   - seed: The seed of the random numbers of the cases.
    ///   - link: The link to the companion.
    ///   - directory: An existing directory for the contents of NVDIMMs and disks and for the pipes.
    init(
        _ boot: Boot, cases: [Case], stage: Int, seed: UInt32, link: Link?, images: Images, directory: String
    ) throws {
        for pipe in ["report.in", "report.out", "monitor.in", "monitor.out"] {
            let path = "\(directory)/\(pipe)"
            unlink(path)
            if mkfifo(path, 0o600) != 0 { throw SystemCallError.last("mkfifo", on: path) }
        }
        // O_RDWR: opening does not wait for QEMU, and QEMU finds a reader and a writer.
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
        if boot.cxlMemory != nil { machine += ",cxl=on,cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G" }
        if let domain = boot.persistenceDomain { machine += ",nvdimm-persistence=\(domain.rawValue)" }
        let names = cases.map { "\($0.name):\($0.limit)" }.joined(separator: ",")
        var kernel = "\(Images.kernelArguments) vm.cases=\(names) vm.stage=\(stage) vm.seed=\(seed)"
        // On a busy host a virtual processor gets no time for long, and the watchdogs would report it as stuck.
        kernel += " nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
        kernel +=
            boot.runsSystemd ? " vm.init=/sbin/init systemd.wants=vm-cases.service" : " vm.init=/vm/run-cases"
        for argument in boot.kernelArguments { kernel += " " + argument }
        var arguments =
            [
                "-M", machine, "-accel", "tcg,thread=multi", "-cpu", "max,vendor=GenuineIntel", "-smp", "2",
                "-m", "\(boot.memory)M,slots=8,maxmem=32G", "-no-reboot", "-display", "none", "-nic", "none",
                "-serial", "stdio", "-kernel", images.kernel, "-initrd", images.initrd, "-append", kernel,
            ] + drive("root", images.root, isReadOnly: true) + drive("project", images.project, isReadOnly: true)
        arguments += [
            "-device", "virtio-rng-pci,bus=\(bus)", "-device", "virtio-serial-pci,bus=\(bus)",
            "-chardev", "pipe,id=report,path=\(directory)/report",
            "-device", "virtserialport,chardev=report,name=report",
            "-chardev", "pipe,id=monitor,path=\(directory)/monitor", "-mon", "chardev=monitor,mode=readline",
        ]
        if let size = boot.cxlMemory { arguments += try cxlDevice(megabytes: size, directory) }
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
            arguments += drive("disk\(index)", path)
        }
        if let link { arguments += link.arguments(.boot) }
        return arguments + boot.machineArguments
    }

    /// A virtio disk. It names its bus: with a CXL host bridge, QEMU plugs a device that names none in there, and stops.
    private static func drive(_ name: String, _ path: String, isReadOnly: Bool = false) -> [String] {
        [
            "-drive", "id=\(name),file=\(path),if=none,format=raw\(isReadOnly ? ",readonly=on" : "")",
            "-device", "virtio-blk-pci,drive=\(name),bus=\(bus)",
        ]
    }

    private static let bus = "pcie.0"

    /// A CXL device with persistent memory. The host bridge has a second root port, which stays empty: for a bridge with
    /// one, Linux leaves the decoder as it is, and QEMU 7.2 then drops every write and reads zeros. The device has a serial
    /// number: Linux makes the cookie of labels from it, and finds no namespace again by a cookie of 0.
    private static func cxlDevice(megabytes: Int, _ directory: String) throws -> [String] {
        let (memory, labels) = ("\(directory)/cxl-memory", "\(directory)/cxl-labels")
        try makeFile(memory, megabytes: megabytes)
        try makeFile(labels, megabytes: 1)
        return [
            "-object", "memory-backend-file,id=cxl-memory,share=on,mem-path=\(memory),size=\(megabytes)M",
            "-object", "memory-backend-file,id=cxl-labels,share=on,mem-path=\(labels),size=1M",
            "-device", "pxb-cxl,bus_nr=12,bus=\(bus),id=cxl.1",
            "-device", "cxl-rp,port=0,bus=cxl.1,id=cxl-port0,chassis=0,slot=2",
            "-device", "cxl-rp,port=1,bus=cxl.1,id=cxl-port1,chassis=0,slot=3",
            "-device", "cxl-type3,bus=cxl-port0,memdev=cxl-memory,lsa=cxl-labels,sn=1,id=cxl-pmem0",
        ]
    }

    /// Makes a sparse file; an existing file keeps its contents.
    private static func makeFile(_ path: String, megabytes: Int) throws {
        let file = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        if ftruncate(file.number, off_t(megabytes) << 20) != 0 { throw SystemCallError.last("ftruncate", on: path) }
    }

    /// Waits for the next event of the guest; nil when the deadline has passed.
    func next(until deadline: Deadline) throws -> Event? {
        while true {
            if let line = reportLines.next() {
                guard let report = GuestReport(line) else { return .console("[report] \(line)") }
                return .report(report)
            }
            if let line = consoleLines.next() { return .console(line) }
            // Lines with escape sequences are the monitor's echo of commands.
            if let line = monitorLines.next(), !line.contains("\u{1b}") { return .console("[monitor] \(line)") }
            if consoleEnded {
                // The last lines of its report may still be in the pipe.
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

    /// - Returns: Whether any bytes were read.
    private func fill(_ lines: inout LineBuffer, from descriptor: Int32) throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16384)
        let count = read(descriptor, &chunk, chunk.count)
        if count < 0 && errno != EAGAIN { throw SystemCallError.last("read", on: "a guest's output") }
        if count <= 0 { return false }
        lines.append(chunk[..<count])
        return true
    }

    /// Sends a command to QEMU's monitor.
    func command(_ text: String) throws {
        try writeAll(Array("\(text)\n".utf8), to: monitor.number)
    }

    /// Kills QEMU with SIGKILL: stores that the guest has not flushed to its NVDIMMs are lost.
    func pullPlug() throws {
        process.signal(SIGKILL)
        _ = try process.wait()
    }

    /// QEMU's own error messages.
    var complaints: String { process.errorText }
}

/// Splits a stream of bytes into lines.
private struct LineBuffer {
    private var bytes: [UInt8] = []

    mutating func append(_ more: some Collection<UInt8>) { bytes += more }

    /// The next whole line, without its end.
    mutating func next() -> String? {
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        defer { bytes.removeFirst(end + 1) }
        return Self.text(bytes[..<end])
    }

    /// The bytes after the last whole line.
    mutating func rest() -> String? {
        if bytes.isEmpty { return nil }
        defer { bytes = [] }
        return Self.text(bytes[...])
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.filter { $0 != UInt8(ascii: "\r") && $0 != 0 }, as: UTF8.self)
    }
}
