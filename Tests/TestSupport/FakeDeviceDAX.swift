import Glibc

/// A machine with one Device DAX, made of files: `/dev/dax0.0` in the first region of the first bus.
///
/// ``install(size:alignment:)`` hides /sys and /dev of the calling process behind it, so it belongs in an exit test.
/// The device node is /dev/zero's: it can be opened, locked and mapped, but each mapping has its own bytes.
package enum FakeDeviceDAX {
    package static let devicePath = "/dev/dax0.0"
    /// The file that a deep flush of the region writes to.
    package static let deepFlushPath = "\(region)/deep_flush"

    private static let bus = "/sys/devices/platform/ndbus0"
    private static let region = "\(bus)/region0"
    private static let dax = "\(region)/dax0.1"

    /// Replaces /sys and /dev.
    ///
    /// - Parameters:
    ///   - size: Bytes of the device.
    ///   - alignment: Bytes; 0 leaves the attribute to the region, as kernels before 5.10 do.
    ///   - deepFlush: Contents of the region's `deep_flush`; nil leaves it out.
    ///   - persistenceDomain: The region's `persistence_domain`; `cpu_cache` is eADR.
    ///   - isPlaceKnown: Whether the device's place in the region can be read. Only root can read it on a real machine.
    ///   - badBlocks: Contents of the region's `badblocks`; nil leaves it out.
    ///   - hasRegion: Whether there is a bus with a region, or the device stands alone.
    /// - Returns: The error; nil on success.
    package static func install(
        size: Int, alignment: Int, deepFlush: String? = "1\n", hasRegion: Bool = true,
        persistenceDomain: String = "memory_controller", isPlaceKnown: Bool = true, badBlocks: String? = nil
    ) -> String? {
        if let failure = PrivateMounts.enter() { return failure }
        if let failure = PrivateMounts.mountTmpfs(at: "/sys") { return failure }
        if let failure = PrivateMounts.mountTmpfs(at: "/dev") { return failure }
        let zero = (1 << 8) | 5
        if mknod(devicePath, S_IFCHR | 0o600, dev_t(zero)) != 0 { return "mknod: \(String(cString: strerror(errno)))" }
        if mknod("/dev/null", S_IFCHR | 0o666, dev_t((1 << 8) | 3)) != 0 {
            return "mknod: \(String(cString: strerror(errno)))"
        }

        file("\(dax)/dax0.0/size", "\(size)\n")
        file("\(dax)/dax0.0/resource", "0x100000000\n")
        if alignment > 0 { file("\(dax)/dax0.0/align", "\(alignment)\n") }
        file("\(dax)/dax_region/size", "\(size)\n")
        file("\(dax)/dax_region/align", "\(2 << 20)\n")
        directory("/sys/bus/dax/devices")
        symlink("\(dax)/dax0.0", "/sys/bus/dax/devices/dax0.0")
        directory("/sys/dev/char/1:5")
        symlink("/sys/bus/dax", "/sys/dev/char/1:5/subsystem")
        guard hasRegion else { return nil }

        for (name, text) in [
            ("modalias", "nd:t9\n"), ("uuid", "00000000-0000-0000-0000-000000000001\n"), ("mode", "pmem\n"),
            ("align", "2097152\n"), ("size", "\(size)\n"), ("supported_alignments", "4096 2097152\n"),
        ] { file("\(dax)/\(name)", text) }
        if isPlaceKnown { file("\(dax)/resource", "0x100000000\n") }
        // libpmem2 finds a device's region by these files.
        for (name, text) in [
            ("nstype", "4\n"), ("size", "\(size)\n"), ("resource", "0x100000000\n"), ("force_raw", "0\n"),
            ("numa_node", "0\n"), ("modalias", "nd:t4\n"), ("mode", "dax\n"), ("holder", "dax0.1\n"),
            ("holder_class", "dax\n"), ("sector_size", "\n"),
        ] { file("\(region)/namespace0.0/\(name)", text) }
        for (name, text) in [
            ("size", "\(size)\n"), ("mappings", "0\n"), ("read_only", "0\n"), ("modalias", "nd:t2\n"),
            ("numa_node", "0\n"), ("nstype", "5\n"), ("set_cookie", "0x1\n"),
            ("persistence_domain", "\(persistenceDomain)\n"),
        ] { file("\(region)/\(name)", text) }
        if let deepFlush { file(deepFlushPath, deepFlush) }
        if let badBlocks { file("\(region)/badblocks", badBlocks) }
        directory("/sys/bus/nd/devices")
        symlink(region, "/sys/bus/nd/devices/region0")
        file("\(bus)/commands", "ars_cap ars_start ars_status\n")
        file("\(bus)/provider", "fake\n")
        file("\(bus)/wait_probe", "1\n")
        file("/sys/class/nd/ndctl0/dev", "250:0\n")
        symlink(bus, "/sys/class/nd/ndctl0/device")
        directory("/sys/dev/char/250:0")
        symlink(bus, "/sys/dev/char/250:0/device")
        return nil
    }

    /// The contents of a small file.
    package static func text(of path: String) -> String {
        let number = open(path, O_RDONLY)
        guard number >= 0 else { return "" }
        defer { close(number) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(number, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }

    private static func directory(_ path: String) {
        var sofar = ""
        for component in path.split(separator: "/") {
            sofar += "/\(component)"
            mkdir(sofar, 0o755)
        }
    }

    private static func file(_ path: String, _ text: String) {
        if let slash = path.lastIndex(of: "/") { directory(String(path[..<slash])) }
        let number = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard number >= 0 else { return }
        _ = write(number, text, text.utf8.count)
        close(number)
    }
}
