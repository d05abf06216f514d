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
        Mistake("the pool set has an absolute path", .open) { scene in
            try scene.makePool("4M %/a.part")
            scene.set = "\(scene.place.sets)/a.set"
        } remedy: { scene, line in
            if line.contains("relative to the target's pool set directory") { scene.set = "a.set" }
        },
        Mistake("the pool set leads upwards", .create) { scene in
            try scene.describe("16M %/a.part")
            rename("\(scene.place.sets)/a.set", "\(scene.place.path)/a.set")
            scene.set = "../a.set"
        } remedy: { scene, line in
            guard line.contains("put the pool set below that directory") else { return }
            rename("\(scene.place.path)/a.set", "\(scene.place.sets)/a.set")
            scene.set = "a.set"
        },
        Mistake("the pool set is a symbolic link out of poolset-dir", .create) { scene in
            try scene.describe("16M %/a.part")
            rename("\(scene.place.sets)/a.set", "\(scene.place.path)/real.set")
            symlink("\(scene.place.path)/real.set", "\(scene.place.sets)/a.set")
        } remedy: { scene, _ in
            unlink("\(scene.place.sets)/a.set")
            rename("\(scene.place.path)/real.set", "\(scene.place.sets)/a.set")
        },
        Mistake("the pool set is a directory", .create) {
            mkdir("\($0.place.sets)/a.set", 0o755)
        } remedy: { scene, _ in
            rmdir("\(scene.place.sets)/a.set")
            try scene.describe("16M %/a.part")
        } or: { scene, line in
            guard line.contains("or a plain file as big as the pool") else { return }
            try scene.makeFile("\(scene.place.sets)/plain", megabytes: 16)
            scene.set = "plain"
        },
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
        Mistake("the set has no parts", .create) {
            try $0.describe()
        } remedy: { scene, line in
            guard line.contains("`4G /path/to/part`") else { return }
            try scene.describe("1G %/a.part")
        },
        Mistake("a size has an unknown suffix", .create) {
            try $0.describe("16X %/a.part")
        } remedy: { scene, _ in
            try scene.describe("16MiB %/a.part")
        },
        Mistake("a part has no size", .create) {
            try $0.describe("%/a.part")
        } remedy: { scene, line in
            if line.contains("a part is a size and an absolute path") { try scene.describe("16M %/a.part") }
        },
        Mistake("a part's path is relative", .create) {
            try $0.describe("16M a.part")
        } remedy: { scene, line in
            if line.contains("begin it with /") { try scene.describe("16M %/a.part") }
        },
        Mistake("a path has a blank in it", .create) {
            try $0.describe("16M %/my part")
        } remedy: { scene, line in
            if line.contains("a path without blanks") { try scene.describe("16M %/my-part") }
        },
        Mistake("the target's set has a REPLICA line", .create) {
            try $0.describe("16M %/a.part", "REPLICA b b.set")
        } remedy: { scene, line in
            if line.contains("keep the parts of one replica here") { try scene.describe("16M %/a.part") }
        },
        Mistake("the set has an option that there is not", .create) {
            try $0.describe("OPTION FAST", "16M %/a.part")
        } remedy: { scene, line in
            if line.contains("'FAST': remove it") { try scene.describe("16M %/a.part") }
        },
        Mistake("SINGLEHDR and NOHDRS", .create) {
            try $0.describe("OPTION SINGLEHDR NOHDRS", "16M %/a.part")
        } remedy: { scene, line in
            if line.contains("else neither") { try scene.describe("16M %/a.part") }
        } or: { scene, line in
            guard line.contains("SINGLEHDR if the initiator's pool set has it") else { return }
            scene.localLines = ["OPTION SINGLEHDR"]
            try scene.describe("OPTION SINGLEHDR", "16M %/a.part")
        },
        Mistake("SINGLEHDR on the target only", .create) {
            try $0.describe("OPTION SINGLEHDR", "16M %/a.part")
        } remedy: { scene, line in
            if line.contains("remove the option") { try scene.describe("16M %/a.part") }
        } or: { scene, line in
            if line.contains("give the initiator's pool set the same one") { scene.localLines = ["OPTION SINGLEHDR"] }
        },
        Mistake("NOHDRS for a pool with headers", .create) {
            try $0.describe("OPTION NOHDRS", "16M %/a.part")
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
        },
        Mistake("a part is too small", .create) {
            try $0.describe("1M %/a.part", "16M %/b.part")
        } remedy: { scene, line in
            guard let size = line.firstMatch(of: /write (\d+B) or more/)?.1 else { return }
            try scene.describe("\(size) %/a.part", "16M %/b.part")
        },
        Mistake("a part is listed twice", .create) {
            try $0.describe("16M %/a.part", "16M %/a.part")
        } remedy: { scene, line in
            if line.contains("remove one line") { try scene.describe("16M %/a.part") }
        },
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
        } remedy: { scene, line in
            if line.contains("write another path") { try scene.describe("16M %/a.part") }
        },
        Mistake("a part is a directory", .create) { scene in
            try scene.describe("16M %/a.part")
            mkdir(scene.part, 0o755)
        } remedy: { scene, line in
            if line.contains("or name a file in it") { try scene.describe("16M %/a.part/file") }
        } or: { scene, line in
            guard let option = line.firstMatch(of: /`(OPTION SINGLEHDR)` here and in the initiator's pool set/)?.1
            else {
                return
            }
            scene.localLines = [String(option)]
            try scene.describe(String(option), "16M %/a.part")
        },
        Mistake("a part is a symbolic link to nothing", .create) { scene in
            try scene.describe("16M %/a.part")
            symlink("\(scene.place.parts)/gone", scene.part)
        } remedy: { scene, line in
            if line.contains("remove the link") { unlink(scene.part) }
        } or: { scene, line in
            if line.contains("restore the file") { try scene.makeFile("\(scene.place.parts)/gone", megabytes: 16) }
        },
        Mistake("AUTO for a file", .create) { scene in
            try scene.describe("AUTO %/a.part")
            try scene.makeFile(scene.part, megabytes: 16)
        } remedy: { scene, line in
            guard let size = line.firstMatch(of: /write its size, (\d+B)/)?.1 else { return }
            try scene.describe("\(size) %/a.part")
        },
        Mistake("a Device DAX does not exist", .create) {
            try $0.describe("AUTO /dev/dax99.0")
        } remedy: { scene, line in
            // Tests/VM/cases/devdax-set.sh has a machine with Device DAX.
            if line.contains("or the size and the path of a file") { try scene.describe("16M %/a.part") }
        },
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
}
