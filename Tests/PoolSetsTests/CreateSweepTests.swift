import Glibc
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport
import TestSupport
import Testing

@testable import PoolSets

/// Makes each step of a creation fail in turn. Each time the directory must be as before.
@Suite struct CreateSweepTests {
    final class Recorder: Sendable {
        private let steps = Mutex<[PoolStore.CreateStep]>([])
        private let failAt: Int

        /// - Parameter failAt: The number of the step that fails, from 0.
        init(failAt: Int = .max) { self.failAt = failAt }

        var recorded: [PoolStore.CreateStep] { steps.withLock { $0 } }

        static let failure = PoolError.system(SystemCallError("injected", errno: .ioError))

        func take(_ step: PoolStore.CreateStep) throws(PoolError) {
            let number = steps.withLock { steps in
                steps.append(step)
                return steps.count - 1
            }
            if number == failAt { throw Self.failure }
        }
    }

    struct Scene: Sendable, CustomTestStringConvertible {
        var name: String
        var lines: [String]
        var attributes: PoolAttributes
        /// Parts that are there before, with holes only.
        var existing: [String]
        var nameless = true
        /// The number of steps of a creation. A missing step fails the test.
        var steps: Int

        var testDescription: String { name }
    }

    static let scenes = [
        Scene(
            name: "three new", lines: ["2M @/p0", "3M @/p1", "2M @/p2"], attributes: .captured(), existing: [],
            steps: 3 + 3 + 1 + 1 + 3 * 4 + 1),
        Scene(
            name: "three new, named files", lines: ["2M @/p0", "3M @/p1", "2M @/p2"], attributes: .captured(),
            existing: [], nameless: false, steps: 3 + 3 + 1 + 1 + 3 * 4 + 1),
        Scene(
            name: "first there", lines: ["2M @/p0", "3M @/p1", "2M @/p2"], attributes: .captured(), existing: ["p0"],
            steps: 3 + 1 + 2 + 1 + 1 + 1 + 2 * 4 + 1),
        Scene(
            name: "all there", lines: ["2M @/p0", "2M @/p1"], attributes: .captured(), existing: ["p0", "p1"],
            steps: 2 + 2 + 1 + 1 + 2 + 1),
        Scene(
            name: "single header", lines: ["OPTION SINGLEHDR", "2M @/p0", "2M @/p1"],
            attributes: .captured(singleHeader: true), existing: ["p1"], steps: 2 + 1 + 1 + 1 + 4),
        Scene(
            name: "no headers", lines: ["OPTION NOHDRS", "2M @/p0", "2M @/p1"], attributes: .none, existing: ["p0"],
            steps: 2 + 1 + 1 + 3),
    ]

    @Test(arguments: scenes) func everyStepsFailureLeavesTheDirectoryAsItWas(_ scene: Scene) throws {
        let fixture = PoolFixture()
        fixture.writeSet("a.set", scene.lines.joined(separator: "\n"))
        for part in scene.existing {
            fixture.makeFile(fixture.part(part), size: (part == "p1" && scene.lines.contains("3M @/p1") ? 3 : 2) << 20)
        }
        let before = fixture.snapshot()

        func run(_ recorder: Recorder) throws(PoolError) -> Pool {
            try fixture.store(
                usesNamelessFiles: scene.nameless,
                onStep: { (step) throws(PoolError) in try recorder.take(step) }
            ).create(descriptor: .named("a.set"), attributes: scene.attributes, requestedSize: 3 << 20)
        }

        let good = Recorder()
        try run(good).abandonCreated()
        #expect(fixture.snapshot() == before)
        #expect(good.recorded.count == scene.steps, "\(good.recorded)")

        for number in good.recorded.indices {
            let recorder = Recorder(failAt: number)
            #expect(poolError { () throws(PoolError) in _ = try run(recorder) } == Recorder.failure)
            #expect(recorder.recorded == Array(good.recorded[...number]))
            #expect(fixture.snapshot() == before, "after \(good.recorded[number]) failed")
        }

        // A creation without a failure works after all of that.
        try run(Recorder()).close()
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 3 << 20).close()
    }

    /// A target that is killed at a step leaves the directory as it is at that step. OPEN then finds a whole pool or
    /// refuses, and a removal works.
    @Test(arguments: scenes) func whateverAKilledCreationLeavesIsNoHalfPool(_ scene: Scene) throws {
        let fixture = PoolFixture()
        fixture.writeSet("a.set", scene.lines.joined(separator: "\n"))
        for part in scene.existing {
            fixture.makeFile(fixture.part(part), size: (part == "p1" && scene.lines.contains("3M @/p1") ? 3 : 2) << 20)
        }
        let copies = Mutex<[PoolFixture]>([])
        let store = try fixture.store(
            usesNamelessFiles: scene.nameless,
            onStep: { _ in
                let copy = PoolFixture()
                copy.writeSet("a.set", scene.lines.joined(separator: "\n"))
                for name in TemporaryDirectory.entries(of: fixture.parts) {
                    let size = Int(fixture.status(fixture.part(name)).st_size)
                    copy.makeFile(copy.part(name), size: size)
                    copy.write(copy.part(name), fixture.read(fixture.part(name), count: size))
                }
                copies.withLock { $0.append(copy) }
            })
        try store.create(descriptor: .named("a.set"), attributes: scene.attributes, requestedSize: 3 << 20).close()

        let all = copies.withLock { $0 }
        #expect(all.count == scene.steps)
        for (number, copy) in all.enumerated() {
            let error = poolError { () throws(PoolError) in
                try copy.store().open(descriptor: .named("a.set"), requestedSize: 3 << 20).close()
            }
            // Before the last steps the first part has no header.
            if let error {
                #expect([.noSuchPool, .badPoolConfiguration].contains(error.status), "step \(number): \(error)")
            } else if !scene.attributes.isNone {
                #expect(number > scene.steps - 3, "step \(number) left a pool that opens")
            }
            try copy.store().remove(descriptor: .named("a.set"), force: true, removePoolSet: true)
            #expect(TemporaryDirectory.entries(of: copy.parts).isEmpty)
            #expect(TemporaryDirectory.entries(of: copy.sets).isEmpty)
        }
    }
}
