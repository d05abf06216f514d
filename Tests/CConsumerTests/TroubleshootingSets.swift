import Glibc
import SystemSupport
import TestSupport

/// Mistakes below poolset-dir: pool set files and parts.
extension Mistake {
    static let sets: [Mistake] = [
        Mistake("the pool set does not exist", .create) {
            $0.set = "none.set"
        } remedy: { scene, _ in
            try write("PMEMPOOLSET\n16M \(scene.place.parts)/none.part\n", to: "\(scene.place.sets)/none.set")
        },
        Mistake("the pool set has an absolute path", .open) { $0.set = "/srv/pools/a.set" },
        Mistake("the pool set leads upwards", .create) { $0.set = "../a.set" },
        Mistake("the pool set is a symbolic link out of poolset-dir", .create) { scene in
            try scene.describe("16M %/a.part")
            rename("\(scene.place.sets)/a.set", "\(scene.place.path)/real.set")
            symlink("\(scene.place.path)/real.set", "\(scene.place.sets)/a.set")
        } remedy: { scene, _ in
            unlink("\(scene.place.sets)/a.set")
            rename("\(scene.place.path)/real.set", "\(scene.place.sets)/a.set")
        },
        Mistake("the pool set is a directory", .create) { mkdir("\($0.place.sets)/a.set", 0o755) },
        Mistake("the pool set file is empty", .create) {
            try write("", to: "\($0.place.sets)/a.set")
        } remedy: { scene, line in
            guard let first = line.firstMatch(of: /must be exactly '(\w+)'/)?.1 else { return }
            try write("\(first)\n16M \(scene.part)\n", to: "\(scene.place.sets)/a.set")
        },
        Mistake("the pool set file begins with a byte order mark", .create) { scene in
            try write("\u{feff}PMEMPOOLSET\n16M \(scene.part)\n", to: "\(scene.place.sets)/a.set")
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
        },
        Mistake("the first line is another one", .create) { scene in
            try write("pmempoolset\n16M \(scene.part)\n", to: "\(scene.place.sets)/a.set")
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
        },
        Mistake("the set has no parts", .create) { try $0.describe() },
        Mistake("a size has an unknown suffix", .create) {
            try $0.describe("16X %/a.part")
        } remedy: { scene, _ in
            try scene.describe("16MiB %/a.part")
        },
        Mistake("a part has no size", .create) { try $0.describe("%/a.part") },
        Mistake("a part's path is relative", .create) { try $0.describe("16M a.part") },
        Mistake("a path has a blank in it", .create) { try $0.describe("16M %/my part") },
        Mistake("the target's set has a REPLICA line", .create) { try $0.describe("16M %/a.part", "REPLICA b b.set") },
        Mistake("the set has an option that there is not", .create) { try $0.describe("OPTION FAST", "16M %/a.part") },
        Mistake("SINGLEHDR and NOHDRS", .create) { try $0.describe("OPTION SINGLEHDR NOHDRS", "16M %/a.part") },
        Mistake("SINGLEHDR on the target only", .create) { try $0.describe("OPTION SINGLEHDR", "16M %/a.part") },
        Mistake("NOHDRS for a pool with headers", .create) {
            try $0.describe("OPTION NOHDRS", "16M %/a.part")
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
        },
        Mistake("a part is too small", .create) { try $0.describe("1M %/a.part") },
        Mistake("a part is listed twice", .create) { try $0.describe("16M %/a.part", "16M %/a.part") },
        Mistake("the set is smaller than the pool", .create) {
            try $0.describe("8M %/a.part")
        } remedy: { scene, line in
            guard let size = line.firstMatch(of: /to (\d+B) or more/)?.1 else { return }
            try scene.describe("\(size) %/a.part")
        },
        Mistake("the directory of a part does not exist", .create) {
            try $0.describe("16M %/none/a.part")
        } remedy: { scene, _ in
            mkdir("\(scene.place.parts)/none", 0o755)
        },
        Mistake("a file is in the place of a directory", .create) { scene in
            try scene.describe("16M %/file/a.part")
            try write("", to: "\(scene.place.parts)/file")
        },
        Mistake("a part is a directory", .create) { scene in
            try scene.describe("16M %/a.part")
            mkdir(scene.part, 0o755)
        },
        Mistake("a part is a symbolic link to nothing", .create) { scene in
            try scene.describe("16M %/a.part")
            symlink("\(scene.place.parts)/gone", scene.part)
        } remedy: { scene, _ in
            unlink(scene.part)
        },
        Mistake("AUTO for a file", .create) { scene in
            try scene.describe("AUTO %/a.part")
            try scene.makeFile(scene.part, megabytes: 16)
        } remedy: { scene, line in
            guard let size = line.firstMatch(of: /write its size, (\d+B)/)?.1 else { return }
            try scene.describe("\(size) %/a.part")
        },
        Mistake("a Device DAX does not exist", .create) { try $0.describe("AUTO /dev/dax99.0") },
        Mistake("an empty part is larger than the set says", .create) { scene in
            try scene.describe("16M %/a.part")
            try scene.makeFile(scene.part, megabytes: 20)
        } remedy: { scene, line in
            guard let size = line.firstMatch(of: /write (\d+B) here/)?.1 else { return }
            try scene.describe("\(size) %/a.part")
        },
        Mistake("an empty part is smaller than the set says", .create) { scene in
            try scene.describe("16M %/a.part")
            try scene.makeFile(scene.part, megabytes: 8)
        } remedy: { scene, _ in
            unlink(scene.part)
        },
    ]

    /// Mistakes with pools that are there, and with their storage.
    static let pools: [Mistake] = [
        Mistake("the pool exists", .create) {
            try $0.makePool("16M %/a.part")
        } remedy: { scene, _ in
            let removed = try Outcome(
                of: [Binaries.rpmemd, "--config", scene.configuration, "--remove", "a.set"], environment: [:])
            guard removed.isSuccess else { throw TestSupportError("\(removed)") }
        },
        Mistake("a part was truncated", .open) { scene in
            try scene.makePool("4M %/a.part")
            try scene.keepCopy()
            truncate(scene.part, 3 << 20)
        } remedy: { scene, _ in
            scene.restoreCopy()
        },
        Mistake("a part is missing", .open) { scene in
            try scene.makePool("4M %/a.part")
            try scene.keepCopy()
            unlink(scene.part)
        } remedy: { scene, _ in
            scene.restoreCopy()
        },
        Mistake("the initiator's pool is larger", .open) { scene in
            try scene.makePool("4M %/a.part")
            // As a pool that was made by another initiator.
            try scene.describe("3M %/a.part")
            truncate(scene.part, 3 << 20)
        } remedy: { scene, _ in
            unlink(scene.part)
            try scene.makePool("4M %/a.part")
        },
        Mistake("a header was overwritten", .open) { scene in
            try scene.makePool("4M %/a.part")
            try scene.keepCopy()
            let file = try Descriptor.open(scene.part, O_WRONLY)
            try writeAll([UInt8](repeating: 0x55, count: 4096), to: file.number)
        } remedy: { scene, _ in
            scene.restoreCopy()
        },
        Mistake("another session has the pool open", .open) { scene in
            try scene.makePool("4M %/a.part")
            let file = try Descriptor.open(scene.part, O_RDONLY)
            let path = "/proc/\(getpid())/fd/\(file.number)"
            scene.companions.append(
                try ChildProcess(["/usr/bin/flock", path, "/bin/sh", "-c", "echo; exec cat"]))
            _ = try scene.companions[0].receive(1)
        } remedy: { scene, _ in
            scene.companions[0].closeInput()
            _ = try scene.companions[0].wait()
        },
        Mistake("a pool is removed twice", .remove) { scene in
            try scene.makePool("4M %/a.part")
            unlink(scene.part)
        } remedy: { scene, line in
            guard line.contains("--force takes no notice of it") else { return }
            let forced = try Outcome(
                of: [Binaries.rpmemd, "--config", scene.configuration, "--remove", "a.set", "--force"], environment: [:]
            )
            guard forced.isSuccess else { throw TestSupportError("\(forced)") }
            // Removed, so that a pool can be made and removed anew.
            try scene.makePool("4M %/a.part")
        },
        Mistake("the set to remove lists a file that is no part", .remove) { scene in
            try scene.describe("4M %/a.part")
            try write("dear diary", to: scene.part)
        },
        Mistake("a plain file with data is named in place of a set", .create) { scene in
            try scene.makeFile("\(scene.place.sets)/a.set", megabytes: 16)
            let file = try Descriptor.open("\(scene.place.sets)/a.set", O_WRONLY)
            lseek(file.number, 1 << 20, SEEK_SET)
            try writeAll(Array("data".utf8), to: file.number)
        },
        Mistake("the file system is full", .create) { try $0.describe("4P %/a.part") },
        Mistake("the file system is mounted read-only", .create, root: true) { scene in
            try scene.describe("16M %/a.part")
            mkdir("\(scene.place.path)/bin", 0o755)
            let parts = scene.place.parts
            try write(
                "#!/bin/sh\nmount --bind \(parts) \(parts) && mount -o remount,bind,ro \(parts) && exec \"$@\"\n",
                to: "\(scene.place.path)/bin/read-only", mode: 0o755)
            scene.daemonPrefix = ["unshare", "-m", "\(scene.place.path)/bin/read-only"]
        } remedy: { scene, _ in
            // Mounted for writing, as it is outside of that namespace.
            scene.daemonPrefix = []
        },
        Mistake("a part belongs to another user", .open, root: true) { scene in
            try scene.makePool("4M %/a.part")
            try scene.becomeNobody()
        } remedy: { scene, _ in
            chown(scene.part, 65534, 65534)
        },
        Mistake("the directory of the parts belongs to another user", .create, root: true) { scene in
            try scene.describe("16M %/a.part")
            try scene.becomeNobody()
        } remedy: { scene, _ in
            chown(scene.place.parts, 65534, 65534)
        },
    ]
}

extension Scene {
    private var copyOfPart: String { "\(place.path)/a.copy" }

    /// Keeps the part as another replica would have it.
    func keepCopy() throws {
        let bytes = try readFile(Descriptor.open(part, O_RDONLY), limit: 1 << 26)
        let file = try Descriptor.open(copyOfPart, O_WRONLY | O_CREAT, mode: 0o600)
        try writeAll(bytes, to: file.number)
    }

    func restoreCopy() { rename(copyOfPart, part) }

    /// Has rpmemd run as the user nobody.
    func becomeNobody() throws {
        let copy = "\(place.path)/rpmemd"
        try write("#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"\n", to: copy, mode: 0o755)
        let log = try Descriptor.open(place.logFile, O_WRONLY | O_CREAT, mode: 0o666)
        fchmod(log.number, 0o666)
        daemonPrefix = [copy]
    }
}
