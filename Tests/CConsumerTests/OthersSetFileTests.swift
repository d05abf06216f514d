import Glibc
import TestSupport
import Testing

/// Pool set files that belong to root, with a mistake in them, and a daemon of another user. The line is about the mistake where the
/// user may read the file, and about the permission where not.
@Suite(
    "a pool set file of root's",
    .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"),
    .enabled(if: geteuid() == 0, "only root can be somebody else"))
struct OthersSetFileTests {
    enum Contents: String, CaseIterable {
        case empty = ""
        case byteOrderMark = "\u{feff}PMEMPOOLSET\n4M %/a.part\n"
        case otherFirstLine = "pmempoolset\n4M %/a.part\n"

        var mistake: String {
            switch self {
            case .empty: "the file is empty"
            case .byteOrderMark: "the file begins with a byte order mark (U+FEFF): save it as UTF-8 without one"
            case .otherFirstLine: "the first line is 'pmempoolset'"
            }
        }
    }

    /// As by `rpmem_create`, `rpmem_open` and `rpmem_remove`.
    @Test(
        "is told to be malformed, or not to be readable; both can be mended",
        arguments: Contents.allCases, ["create", "open", "remove"])
    func mistake(contents: Contents, call: String) throws {
        let scene = try Scene()
        let file = "\(scene.place.sets)/a.set"
        try scene.becomeNobody()
        chown(scene.place.parts, 65534, 65534)
        if call != "create" { try scene.makePool("4M %/a.part") }
        func line() throws -> String {
            try scene.run([try Scene.programs.get().session, call, scene.target, "a.set", "1", "\(scene.size)"]).output
        }
        try write(contents.rawValue.replacing("%", with: scene.place.parts), to: file)
        chmod(file, 0o600)
        let refused = try line()
        #expect(refused.hasPrefix("EACCES: "), "\(refused)")
        #expect(
            refused.contains("\(file): Permission denied: owned by root:root, mode 0600, this process is uid 65534"),
            "\(refused)")
        #expect(refused.contains("change owner, group or mode so that it may read"), "\(refused)")
        // One remedy after the other.
        chmod(file, 0o644)
        let malformed = try line()
        #expect(malformed.hasPrefix("EINVAL: "), "\(malformed)")
        #expect(
            malformed.contains("\(file): ") && malformed.contains("is no pool set file")
                && malformed.contains(contents.mistake), "\(malformed)")
        #expect(!malformed.contains("`rm "), "\(malformed)")
        #expect(!malformed.contains("Permission denied"), "\(malformed)")
        try scene.describe("4M %/a.part")
        let last = try line()
        #expect(last == (call == "remove" ? "removed\n" : "lanes 1\n"), "\(last)")
    }
}
