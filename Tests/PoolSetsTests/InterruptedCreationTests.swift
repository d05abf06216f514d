import Glibc
import RpmemProtocol
import Synchronization
import TestSupport
import Testing

@testable import PoolSets

/// Kills a process at each step of a creation: afterwards CREATE makes the pool, or OPEN finds it whole.
@Suite struct InterruptedCreationTests {
    struct Scene: Sendable, Codable, CustomTestStringConvertible {
        var name: String
        var lines: [String]
        /// Parts that are there, with zeros.
        var existing: [String] = []
        var isNameless = true
        var isSingleHeader = false

        var testDescription: String { name }
        var attributes: PoolAttributes { .captured(singleHeader: isSingleHeader) }
    }

    static let scenes = [
        Scene(name: "one part", lines: ["2M @/p0"]),
        Scene(name: "three parts", lines: ["2M @/p0", "2M @/p1", "2M @/p2"]),
        Scene(name: "three parts, named files", lines: ["2M @/p0", "2M @/p1", "2M @/p2"], isNameless: false),
        Scene(name: "the first there", lines: ["2M @/p0", "2M @/p1", "2M @/p2"], existing: ["p0"]),
        Scene(name: "all there", lines: ["2M @/p0", "2M @/p1"], existing: ["p0", "p1"]),
        Scene(name: "directory", lines: ["OPTION SINGLEHDR", "400M @"], isSingleHeader: true),
    ]

    /// Makes the pool; what is left of it is for whoever comes next.
    private static func create(
        _ scene: Scene, sets: String, onStep: @escaping @Sendable (PoolStore.CreateStep) -> Void = { _ in }
    ) throws(PoolError) {
        let store = try PoolStore(
            directory: sets, usesNamelessFiles: scene.isNameless, onStep: { step in onStep(step) })
        try store.create(descriptor: bytes("a.set"), attributes: scene.attributes, requestedSize: 2 << 20).close()
    }

    private func prepare(_ scene: Scene) -> PoolFixture {
        let fixture = PoolFixture()
        fixture.writeSet("a.set", scene.lines.joined(separator: "\n"))
        for part in scene.existing { fixture.makeFile(fixture.part(part), size: 2 << 20) }
        return fixture
    }

    private func expectCreateOrOpenToWork(_ scene: Scene, _ fixture: PoolFixture, _ place: String) {
        let create = poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }
        if let create { #expect(create.status == .exists, "\(place): CREATE: \(create)") }
        let open = poolError { () throws(PoolError) in
            try fixture.store().open(descriptor: bytes("a.set"), requestedSize: 2 << 20).close()
        }
        #expect(open == nil, "\(place): CREATE: \(create.map { "\($0)" } ?? "good"); OPEN: \(open!)")
        let remove = poolError { () throws(PoolError) in
            try fixture.store().remove(descriptor: bytes("a.set"), force: false, removePoolSet: false)
        }
        #expect(remove == nil, "\(place): \(remove!)")
    }

    @Test(arguments: scenes) func afterAKillAtAnyStepCreateOrOpenWorks(_ scene: Scene) async throws {
        let steps = Mutex<[PoolStore.CreateStep]>([])
        let whole = prepare(scene)
        try Self.create(scene, sets: whole.sets) { step in steps.withLock { $0.append(step) } }
        for (number, step) in steps.withLock({ $0 }).enumerated() {
            let fixture = prepare(scene)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [sets = fixture.sets as String, scene = scene as Scene, number = number as Int] in
                let count = Mutex(0)
                try Self.create(scene, sets: sets) { _ in
                    let isThere = count.withLock { count in
                        defer { count += 1 }
                        return count == number
                    }
                    if isThere { kill(getpid(), SIGKILL) }
                }
            }
            expectCreateOrOpenToWork(scene, fixture, "killed before \(step)")
        }
    }
}
