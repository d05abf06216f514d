import Glibc
import SystemSupport

/// KiB of the mapping that starts at `base` that msync(2) would write, from smaps(5).
package func dirtyKibibytes(ofMappingAt base: UnsafeRawPointer) throws -> Int {
    let file = try Descriptor.open("/proc/self/smaps", O_RDONLY)
    let lines = String(decoding: try readFile(file, limit: 16 << 20), as: UTF8.self).split(separator: "\n")
    let start = String(UInt(bitPattern: base), radix: 16) + "-"
    guard let entry = lines.firstIndex(where: { $0.hasPrefix(start) }) else {
        throw TestSupportError("no mapping at \(start)")
    }
    return lines[entry...].prefix(24).filter { $0.hasPrefix("Shared_Dirty:") || $0.hasPrefix("Private_Dirty:") }
        .compactMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } }.reduce(0, +)
}
