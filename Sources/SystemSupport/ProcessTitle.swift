import CLinux
import Glibc
import Synchronization

/// What ps(1) shows as the command of this process. Its name (`ps -o comm`) and its environment stay.
///
/// The arguments of a process that ssh starts have room for their few letters only, and the environment is behind them. So the
/// kernel is told of other memory for them, prctl(2) PR_SET_MM_MAP, which needs no privilege. Where the kernel refuses, ps shows
/// the command line as it was.
package enum ProcessTitle {
    /// Bytes, with the NUL at the end.
    private static let size = 512
    /// Where the title is; 0 until the kernel knows of it. The memory stays.
    private static let memory = Atomic<UInt>(0)

    package static var isPossible: Bool { rpmem_can_move_arguments() }

    /// Moves the arguments to memory with room for a title. Call it once, while there is one thread: the kernel is told the end of
    /// the heap as well, which must not change meanwhile.
    package static func prepare() {
        guard isPossible, let current = try? readFile(Descriptor.open("/proc/self/cmdline", O_RDONLY), limit: 1 << 21),
            let text = try? readFile(Descriptor.open("/proc/self/stat", O_RDONLY), limit: 4096),
            let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), start != MAP_FAILED
        else { return }
        for (index, byte) in current.prefix(size - 1).enumerated() {
            start.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        }
        // proc_pid_stat(5). The name in parentheses may have any character.
        let fields = String(decoding: text, as: UTF8.self).split(separator: ")").last?.split(separator: " ") ?? []
        func field(_ number: Int) -> UInt64 { number - 3 < fields.count ? UInt64(fields[number - 3]) ?? 0 : 0 }
        let places = [26, 27, 28, 45, 46, 47, 50, 51].map(field)
        guard !places.contains(0) else { return }
        let address = UInt(bitPattern: start)
        var map = prctl_mm_map()
        map.start_code = places[0]
        map.end_code = places[1]
        map.start_stack = places[2]
        map.start_data = places[3]
        map.end_data = places[4]
        map.start_brk = places[5]
        map.brk = rpmem_program_break()
        map.env_start = places[6]
        map.env_end = places[7]
        map.arg_start = UInt64(address)
        map.arg_end = UInt64(address) + UInt64(size)
        map.exe_fd = .max
        if rpmem_set_memory_map(&map) == 0 { memory.store(address, ordering: .releasing) }
    }

    /// Shows this text, cut to its room. Does nothing without ``prepare()``. Call it from one thread.
    package static func set(_ title: String) {
        guard let start = UnsafeMutableRawPointer(bitPattern: memory.load(ordering: .acquiring)) else { return }
        var kept = title
        while kept.utf8.count > size - 1 { kept.unicodeScalars.removeLast() }
        let bytes = Array(kept.utf8) + [UInt8](repeating: 0, count: size - kept.utf8.count)
        start.copyMemory(from: bytes, byteCount: size)
    }
}
