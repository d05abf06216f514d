import Glibc
import SystemSupport
import TestSupport

extension Mistake {
    /// Mistakes with pools that are there, and with their storage.
    static let pools: [Mistake] = [
        Mistake("the pool exists", .create) {
            try $0.makePool("16M %/a.part")
        } remedy: { scene, _ in
            try scene.removeOnTarget()
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
            // The initiator's pool has the set b.set, a.set is another one's.
            try scene.makePool("4M %/b.part")
            rename("\(scene.place.sets)/a.set", "\(scene.place.sets)/b.set")
            scene.size = 3 << 20
            try scene.makePool("3M %/a.part")
            scene.size = 4 << 20
        } remedy: { scene, line in
            if line.contains("name the pool set of the initiator's pool") { scene.set = "b.set" }
        } or: { scene, line in
            guard let size = line.firstMatch(of: /or open (\d+) bytes/).flatMap({ Int($0.1) }) else { return }
            scene.size = size
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
            try scene.removeOnTarget("--force")
            // Removed, so that a pool can be made and removed anew.
            try scene.makePool("4M %/a.part")
        },
        Mistake("the set to remove lists a file that is no part", .remove) { scene in
            try scene.makePool("4M %/b.part")
            try scene.describe("4M %/a.part")
            try write("dear diary", to: scene.part)
        } remedy: { scene, line in
            if line.contains("correct the set") { try scene.describe("4M %/b.part") }
        } or: { scene, line in
            guard let command = line.firstMatch(of: /`(rm '.*')`/)?.1 else { return }
            try scene.shell(command)
            // Removed, so that a pool can be made and removed anew.
            try scene.makePool("4M %/a.part")
        },
        Mistake("a plain file with data is named in place of a set", .create) { scene in
            try scene.makeFile("\(scene.place.sets)/a.set", megabytes: 16)
            let file = try Descriptor.open("\(scene.place.sets)/a.set", O_WRONLY)
            lseek(file.number, 1 << 20, SEEK_SET)
            try writeAll(Array("data".utf8), to: file.number)
        } remedy: { scene, line in
            guard line.contains("Name an empty file") else { return }
            try scene.makeFile("\(scene.place.sets)/empty", megabytes: 16)
            scene.set = "empty"
        } or: { scene, line in
            guard line.contains("list this one in a pool set file") else { return }
            try write("PMEMPOOLSET\n16M \(scene.place.sets)/a.set\n", to: "\(scene.place.sets)/b.set")
            scene.set = "b.set"
        },
        Mistake("the file system is full", .create) {
            try $0.describe("4P %/a.part")
        } remedy: { scene, line in
            if line.contains("make the part smaller") { try scene.describe("16M %/a.part") }
        },
        Mistake("other files fill the file system", .create, root: true) { scene in
            try scene.describe("16M %/a.part")
            try scene.hasOwnFileSystem(filledBy: "head -c 16M /dev/zero >\(scene.place.parts)/other")
        } remedy: { scene, line in
            if line.contains("free some") { try scene.hasOwnFileSystem(filledBy: ":") }
        },
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
    /// Gives each rpmemd a directory of parts with 24 MiB, in memory.
    ///
    /// - Parameter command: Of the shell, which runs there first.
    func hasOwnFileSystem(filledBy command: String) throws {
        let script = "\(place.path)/own-file-system"
        try write(
            "#!/bin/sh\nmount -t tmpfs -o size=24m tmpfs \(place.parts) && \(command) && exec \"$@\"\n", to: script,
            mode: 0o755)
        daemonPrefix = ["unshare", "-m", script]
    }

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
