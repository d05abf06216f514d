import Glibc
import TestSupport
import Testing

/// What a C program does while its target is lost, with RPMEM_RESUME (`docs/outages.md`).
@Suite("a C program in an outage", .serialized, .enabled(if: missingPrograms("gcc") == nil, "gcc is missing"))
struct OutageTests {
    @Test(
        "its children touch nothing of it, its signals interrupt no call, and it needs no more open files than before",
        arguments: ["fork", "signals", "descriptors"])
    func goesOn(action: String) throws {
        let place = try Workplace()
        try place.addTargetSet("a.set", "8M %/a.part")
        let gate = "\(place.path)/gate"
        let ssh = "\(place.path)/gated-ssh"
        try write(
            "#!/bin/sh\n[ -e \(gate) ] && exit 255\nexec \(place.environment["RPMEM_SSH"] ?? "") \"$@\"\n", to: ssh,
            mode: 0o755)
        let log = "\(place.path)/librpmem.log"
        let process = try place.start(
            place.compile("outage.c", ["-D_GNU_SOURCE"]), Workplace.target, "a.set", action,
            environment: Sanitizer.settings("detect_leaks=0").merging([
                "RPMEM_SSH": ssh, "RPMEM_RESUME": "100", "RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": log,
                "RPMEM_ENABLE_SOCKETS": action == "descriptors" ? "0" : "1",
                "RPMEM_ENABLE_TCP": action == "descriptors" ? "1" : "0",
            ]) { _, new in new })
        let ready = Array("ready\n".utf8)
        try #require(try process.receive(ready.count) == ready, "\(process.errorText)")
        try write("shut", to: gate)
        for daemon in place.daemons() { kill(daemon, SIGKILL) }
        try process.send([10])
        let lost = Array("lost\n".utf8)
        try #require(try process.receive(lost.count, within: 60_000) == lost, "\(process.errorText)")
        unlink(gate)
        let last = try process.receive(2, within: 100_000)
        #expect(try process.wait(within: 100_000) == .exited(0), "\(process.errorText)")
        #expect(place.awaitDaemons())
        let part = try place.bytes(of: "a.part")
        #expect(part[4096..<14_096].allSatisfy { $0 == 77 })
        #expect(last.count == 1 && part[4 << 20..<4 << 20 + 5000].allSatisfy { $0 == last.first })
    }
}
