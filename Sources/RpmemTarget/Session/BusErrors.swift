import CLinux
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// SIGBUS, or EFAULT (`UnreadablePages.swift`): the kernel cannot provide a page of a mapped part. No range of the pool can be
/// acknowledged any more, so the process ends with a line that says why.
///
/// A signal handler may call few functions. So it passes the address to the ``Watchdog`` and waits there. Without a watchdog, or
/// when that does not end the process in time, the handler ends it with a line on standard error.
package enum BusErrors {
    /// The kernel's description of a bus error.
    struct Fault {
        /// The address that was touched.
        let address: UInt
        /// `si_code` of sigaction(2): BUS_ADRERR, or BUS_MCEERR_AR for a hardware memory error; 0 for EFAULT. With
        /// ``ForbiddenCalls/code`` the address is the number of a system call.
        let code: Int32
    }

    // Atomics, since the handler runs on any thread. install() reads them first: the handler must not run their initializers.
    private static let number = Atomic<Int32>(-1)
    private static let isWatched = Atomic<Bool>(false)
    private static let address = Atomic<UInt>(0)
    private static let code = Atomic<Int32>(0)

    /// How long the handler waits for the watchdog to end the process, in milliseconds.
    private static let patience: Int32 = 5000

    /// Installs the handler. Call it once in a process.
    package static func install() {
        let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        // The handler uses it until the process ends.
        number.store(descriptor, ordering: .releasing)
        _ = (isWatched.load(ordering: .relaxed), address.load(ordering: .relaxed), code.load(ordering: .relaxed))
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { _, info, _ in
            BusErrors.tellWatchdog(
                of: UInt(bitPattern: info?.pointee._sifields._sigfault.si_addr), code: info?.pointee.si_code ?? 0)
            let line: StaticString =
                "rpmemd: SIGBUS: a page of a part cannot be read or written: was the file truncated, is its file system full, or its medium damaged? The session ends.\n"
            _ = write(STDERR_FILENO, line.utf8Start, line.utf8CodeUnitCount)
            _exit(1)
        }
        action.sa_flags = Int32(SA_SIGINFO)
        sigaction(SIGBUS, &action, nil)
    }

    /// Passes an address on to the watchdog, if there is one, and waits to be ended. Safe in a signal handler.
    static func tellWatchdog(of address: UInt, code: Int32) {
        guard isWatched.load(ordering: .acquiring) else { return }
        Self.address.store(address, ordering: .relaxed)
        Self.code.store(code, ordering: .relaxed)
        WakeUp.signal(number.load(ordering: .relaxed))
        poll(nil, 0, patience)
    }

    static var descriptor: Int32 { number.load(ordering: .acquiring) }

    static func setWatched(_ value: Bool) { isWatched.store(value, ordering: .releasing) }

    /// The fault that ``descriptor`` signals; nil when there is none. Clears the descriptor.
    static func taken() -> Fault? {
        var count: UInt64 = 0
        guard read(descriptor, &count, 8) == 8 else { return nil }
        return Fault(address: address.load(ordering: .relaxed), code: code.load(ordering: .relaxed))
    }
}

extension BusErrors.Fault {
    private var cause: String { code == 0 ? "EFAULT" : "SIGBUS" }

    /// BUS_MCEERR_AR and BUS_MCEERR_AO of <asm-generic/siginfo.h>.
    private var isHardwareError: Bool { code == 4 || code == 5 }

    /// For the log: what happened to which part, and what to do.
    func describe() -> String {
        if code == ForbiddenCalls.code { return ForbiddenCalls.describe(Int32(truncatingIfNeeded: address)) }
        guard let place = MappedPlace(address) else {
            return "\(cause) at address 0x\(String(address, radix: 16)), where no file is mapped"
        }
        return "\(cause): \(quoted(place.path)), offset \(place.offset): \(reason(place))"
    }

    private func reason(_ place: MappedPlace) -> String {
        if isHardwareError {
            return "the memory is damaged (machine check): see dmesg, and `ndctl list --media-errors`"
        }
        var status = stat()
        // O_NONBLOCK: the name may belong to a FIFO by now.
        let file = open(place.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else {
            return
                "the page cannot be read or written, and the file cannot be opened: \(String(cString: strerror(errno)))"
        }
        guard fstat(file, &status) == 0, UInt64(status.st_ino) == place.inode else {
            close(file)
            return "the page cannot be read or written, and the file is not at its path any more"
        }
        defer { close(file) }
        if status.st_mode & S_IFMT == S_IFREG, status.st_size <= place.offset {
            return "the file was truncated to \(status.st_size) bytes while it was in use: restore the part from "
                + "another replica"
        }
        var space = statvfs()
        let hole = lseek(file, place.offset, 4)  // SEEK_HOLE
        if fstatvfs(file, &space) == 0, space.f_bavail == 0 || space.f_bfree == 0, hole == place.offset {
            return "the file has no block there, and its file system is full: make room, or allocate the part "
                + "(fallocate)"
        }
        return "the page cannot be read or written: is the medium damaged? See dmesg"
    }
}

/// The file and the offset that an address of this process is mapped to.
struct MappedPlace {
    let path: String
    let offset: Int
    let inode: UInt64

    /// Looks `address` up in /proc/self/maps; nil where no file is mapped.
    init?(_ address: UInt) {
        guard let file = try? Descriptor.open("/proc/self/maps", O_RDONLY),
            let bytes = try? readFile(file, limit: 16 << 20)
        else { return nil }
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            // START-END PERMISSIONS OFFSET DEVICE INODE PATH, see proc_pid_maps(5).
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            guard fields.count == 6 else { continue }
            let text = fields.map { String(decoding: $0, as: UTF8.self) }
            let range = text[0].split(separator: "-")
            guard range.count == 2, let start = UInt(range[0], radix: 16), let end = UInt(range[1], radix: 16),
                (start..<end).contains(address), let first = UInt(text[2], radix: 16), let inode = UInt64(text[4]),
                inode != 0
            else { continue }
            path = String(text[5].drop { $0 == " " })
            // The start of the page.
            offset = Int(first + (address - start) & ~4095)
            self.inode = inode
            return
        }
        return nil
    }
}
