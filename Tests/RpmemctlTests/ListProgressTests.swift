import Testing

@testable import rpmemctl

/// Lines of `rpmemd --list --with-progress`. Each that is taken lets rpmemctl wait longer, so a target must not have as many as it
/// likes.
@Suite struct ListProgressTests {
    private func taken(_ lines: String...) -> [Bool] {
        var progress = ListProgress()
        return lines.map { progress.take(Array($0.utf8)[...]) }
    }

    @Test func linesThatGoOnAreTaken() {
        #expect(taken("progress 0 0", "progress 0 3", "progress 1 3", "progress 3 3") == [true, true, true, true])
        var progress = ListProgress()
        #expect(progress.take(Array("progress 0 0".utf8)[...]) && progress.text == "looking for pools")
        #expect(progress.take(Array("progress 1 4".utf8)[...]) && progress.text == "looked at 1 of 4 pools")
        #expect(progress.share == 0.25)
    }

    @Test func linesThatDoNotGoOnAreNot() {
        #expect(taken("progress 1 3", "progress 1 3", "progress 0 3", "progress 0 2") == [true, false, false, false])
    }

    @Test(
        arguments: [
            "", "Welcome!", "{\"version\":1}", "progress", "progress 1", "progress 4 3", "progress -1 3",
            "progress 1 3 ",
            "progress 1 100001", "progress 1 99999999999999999999", "progress \u{1b}[31m 3", " progress 1 3",
        ])
    func otherLinesAreNot(_ line: String) {
        #expect(taken(line) == [false])
    }
}
