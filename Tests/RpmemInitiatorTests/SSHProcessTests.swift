import Glibc
import SystemSupport
import Testing

import class TestSupport.ChildProcess
import class TestSupport.Running

@testable import RpmemInitiator

@Suite(.timeLimit(.minutes(2))) struct SSHProcessTests {
    /// The output of a child until its end.
    private func output(of child: SSHProcess) -> String {
        _ = child.collect(until: .after(milliseconds: 20_000))
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = read(child.output.number, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    @Test func aChildGetsNoOtherDescriptors() throws {
        // A host may have descriptors that are not close-on-exec. The shell does not use this number.
        let file = try Descriptor.open("/dev/null", O_RDONLY)
        let number = fcntl(file.number, F_DUPFD, 200)
        #expect(number >= 200)
        defer { close(number) }
        let child = try SSHProcess(["/bin/sh", "-c", "echo /proc/$$/fd/*"])
        let descriptors = output(of: child).split(whereSeparator: \.isWhitespace).compactMap { path in
            Int(path.split(separator: "/").last ?? "")
        }
        #expect(descriptors.contains(0) && descriptors.contains(1) && descriptors.contains(2))
        #expect(!descriptors.contains(Int(number)))
    }

    @Test func aChildHasDefaultSignals() throws {
        // The thread that starts the child blocks all signals.
        let child = try Running("blocked") { try SSHProcess(["/bin/cat", "/proc/self/status"]) }.value()
        let status = output(of: child).split(separator: "\n")
        func signals(_ name: String) -> UInt64? {
            status.first { $0.hasPrefix("\(name):") }.flatMap { UInt64($0.dropFirst(name.count + 2), radix: 16) }
        }
        #expect(signals("SigBlk") == 0)
        // glibc makes children of posix_spawn ignore signals 32 and 33, which it uses itself.
        #expect(signals("SigIgn").map { $0 & ~(3 << 31) } == 0)
    }

    @Test func aStubbornChildIsKilled() throws {
        let child = try SSHProcess(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
        #expect(try PollSet.wait(for: child.output.number, until: .after(milliseconds: 20_000)))
        #expect(child.end(patience: .seconds(2)) == .signal(SIGKILL))
    }

    @Test func aChildThatSomebodyElseCollectedHasEnded() throws {
        let child = try SSHProcess(["/bin/true"])
        var information = siginfo_t()
        #expect(waitid(P_PIDFD, id_t(child.endDescriptor), &information, WEXITED) == 0)
        #expect(child.collect() == .unknown)
    }

    @Test func aLostChildIsEndedWithItsOwner() throws {
        var child: SSHProcess? = try SSHProcess(["/bin/sh", "-c", "echo $$; exec sleep 1000"])
        #expect(try PollSet.wait(for: child!.output.number, until: .after(milliseconds: 20_000)))
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(child!.output.number, &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        let identifier = try #require(pid_t(text.split(separator: "\n").first ?? ""))
        child = nil
        #expect(kill(identifier, 0) == -1)
    }
}

/// The packages that messages name for missing libraries.
@Suite struct MissingLibraryTests {
    @Test(
        .enabled(if: access("/usr/bin/dpkg-query", X_OK) == 0, "needs dpkg-query"),
        arguments: SessionEnding.packages.keys.sorted())
    func theirPackagesAreDebians(_ library: String) throws {
        let query = try ChildProcess(["/usr/bin/dpkg-query", "--search", "*/\(library)"])
        let owner = try query.finish(within: 60)
        let package = try #require(SessionEnding.packages[library])
        #expect(owner.split(separator: "\n").contains { $0.hasPrefix("\(package):") }, "\(owner)")
        let message = SessionEnding(
            exit: .status(127),
            targetLines: ["rpmemd: error while loading shared libraries: \(library): cannot open shared object file"]
        ).reason
        #expect(message.contains("`apt-get install \(package)` there"), "\(message)")
    }
}
