import SystemSupport
import Testing

@Suite struct ParentDirectoryTests {
    @Test(arguments: [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", "."), ("/", "/"), ("", ".")])
    func theDirectoryOfAPath(path: String, directory: String) {
        #expect(parentDirectory(of: path) == directory)
    }
}
