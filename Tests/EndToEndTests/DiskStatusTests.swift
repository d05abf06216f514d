import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Statuses that depend on pool set files, parts and their locks.
@Suite struct DiskStatusTests {
    static let onDisk: [StatusCase] = [
        StatusCase("a pool smaller than asked", .open, .badSize, "33554432", "open 4194304 bytes") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "4M %/part")
            try $0.makePool("one.set", size: 4 << 20)
        },
        StatusCase("a set smaller than asked", .create, .badSize, "33554432", "4194304", "line 2") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "4M %/part")
        },
        StatusCase("a link that leads out", .open, .badName, "leads out") {
            try Request.open("link.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            symlink("\($0.sets)/one.set", "\($0.sets)/link.set")
        },
        StatusCase("a part locked by another process", .open, .busy, "part", "in use") {
            try Request.open("busy.set").encode()
        } prepare: {
            try $0.addSet("busy.set", "40M %/part")
            try $0.makePool("busy.set")
            try $0.lock("part")
        },
        StatusCase("CREATE on a part that is locked", .create, .busy, "part", "in use") {
            try Request.create("busy.set").encode()
        } prepare: {
            try $0.addSet("busy.set", "40M %/part")
            try $0.addPart("part", megabytes: 40)
            try $0.lock("part")
        },
        StatusCase("a pool that is there", .create, .exists, "already has a pool", "RPMEMTST") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
        },
        StatusCase("something else that is there", .create, .exists, "not zero") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "20M %/part0", "20M %/part1")
            try $0.addPart("part1", megabytes: 20)
            try $0.overwrite("part1", at: 4095, with: [1])
        },
        StatusCase("no such set", .open, .noSuchPool, "no.set", "no such pool set") {
            try Request.open("no.set").encode()
        },
        StatusCase("no such directory of sets", .create, .noSuchPool, "no/one.set", "no such pool set") {
            try Request.create("no/one.set").encode()
        },
        StatusCase("no such part", .open, .noSuchPool, "parts/part", "no such part") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        StatusCase("no directory for a part", .create, .noSuchPool, "parts/no", "no such directory") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "20M %/part0", "20M %/no/part1")
        },
        StatusCase("a REPLICA line", .create, .badPoolConfiguration, "one.set:3", "replica") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part", "REPLICA", "40M %/other")
        },
        StatusCase("a relative part", .create, .badPoolConfiguration, "one.set:2", "not absolute") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M part")
        },
        StatusCase("an unknown option", .open, .badPoolConfiguration, "one.set:2", "SINGLEHEADER") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION SINGLEHEADER", "40M %/part")
        },
        StatusCase("a set without parts", .open, .badPoolConfiguration, "one.set", "no parts") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "# nothing")
        },
        StatusCase("SINGLEHDR in the set only", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION SINGLEHDR", "40M %/part")
        },
        StatusCase("SINGLEHDR in the attributes only", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set", .sampleSingleHeader).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        StatusCase("attributes with NOHDRS", .create, .badPoolConfiguration, "NOHDRS") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "OPTION NOHDRS", "40M %/part")
        },
        StatusCase("no attributes without NOHDRS", .create, .badPoolConfiguration, "NOHDRS") {
            try Request.create("one.set", .none).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
        },
        StatusCase("options that don't fit, on a pool that is there", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set", .sampleSingleHeader).encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
        },
        StatusCase("a part of another size", .open, .badPoolConfiguration, "one.set:2", "41943040", "37748736") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "36M %/part")
            try $0.addPart("part", megabytes: 40)
        },
        StatusCase("a part without a pool", .open, .badPoolConfiguration, "zero") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.addPart("part", megabytes: 40)
        },
        StatusCase("a damaged header", .open, .badPoolConfiguration, "checksum") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/part")
            try $0.makePool("one.set")
            try $0.overwrite("part", at: 30, with: [0xee])
        },
        StatusCase("a part that is a directory", .create, .badPoolConfiguration, "SINGLEHDR") {
            try Request.create("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M %/directory")
            mkdir("\($0.parts)/directory", 0o755)
        },
        StatusCase("a part that is another kind of device", .open, .badPoolConfiguration, "/dev/null") {
            try Request.open("one.set").encode()
        } prepare: {
            try $0.addSet("one.set", "40M /dev/null")
        },
    ]

    @Test(arguments: onDisk) func whatTheDiskSays(_ refusal: StatusCase) throws {
        let target = try Target()
        try refusal.prepare(target)
        try expectRefused(refusal, on: target)
    }

    /// A chain of directories up to the limit, and one name beyond it.
    @Test func theLongestDescriptors() throws {
        let target = try Target()
        for (count, status) in [(PoolDescriptor.maximumLength, Status.noSuchPool), (4096, .badName), (65491, .badName)]
        {
            let name =
                [UInt8](repeating: UInt8(ascii: "a"), count: 2) + Array(repeatElement("/a".utf8, count: 40000).joined())
            var bytes = try Request.open("x").encode().prefix(44) + name.prefix(count) + [0]
            bytes.replaceSubrange(4..<12, with: bigEndian(UInt64(bytes.count)))
            bytes.replaceSubrange(40..<44, with: bigEndian(UInt32(count + 1)))
            let request = Array(bytes)
            try expectRefused(StatusCase("\(count) bytes", .open, status) { request }, on: target)
        }
    }

    /// An open session holds the lock, through another set file.
    @Test func aPartOfAnotherSessionIsBusy() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.addSet("other.set", "40M %/part")
        try target.makePool("one.set")
        let holder = try target.session().ready()
        _ = try holder.pool(.open("one.set"))
        for request in try [Request.open("one.set"), .create("one.set"), .open("other.set")] {
            try expectRefused(
                StatusCase("busy", request.kind, .busy, "in use", "\(holder.process.identifier)") { request.encode() },
                on: target)
        }
        try holder.close()
    }

    private func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }
}
