import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TestSupport

/// Looks at disks as a loss of power may have left them, with the target's own CREATE, OPEN and removal.
struct PowerLossCheck {
    let scene: PowerLossRun.Scene
    private let directory: TemporaryDirectory
    private let mounted: String
    private var image: String { "\(mounted).img" }

    enum Outcome: Sendable {
        /// OPEN finds the pool whole.
        case opened
        /// OPEN refuses, as it should where there is no pool, and CREATE makes one.
        case absent
        /// OPEN refuses, and what it says to do works.
        case remedied(String)
        /// Something is lost, or there is no way out.
        case failed(String)
    }

    init(_ scene: PowerLossRun.Scene) throws {
        self.scene = scene
        // In memory.
        directory = TemporaryDirectory("rpmem-check", in: "/dev/shm")
        mounted = directory.file("mounted")
        mkdir(mounted, 0o755)
        mkdir(directory.file("sets"), 0o755)
        try write(
            (["PMEMPOOLSET"] + scene.lines(on: mounted)).map { $0 + "\n" }.joined(), to: directory.file("sets/a.set"))
    }

    func look(_ record: DiskRecord, _ point: CrashPoint, expecting state: PowerLossHistory.State) -> Outcome {
        do {
            try record.makeImage(image, point.writes(of: record))
            return try record.withMounted(image, at: mounted) { try look(expecting: state) }
        } catch let failure as Failure {
            return .failed(failure.text)
        } catch {
            return .failed("\(error)")
        }
    }

    private struct Failure: Error { var text: String }

    private func look(expecting state: PowerLossHistory.State) throws -> Outcome {
        try checkBystanders()
        let store = try PoolStore(directory: directory.file("sets"))
        let refusal = try tryOpening(store, state)
        guard let refusal else {
            if state.pool == .absent { throw Failure(text: "the pool is there again") }
            // Closing marks it, and it opens once more.
            if let again = try tryOpening(store, state) { throw Failure(text: "the second OPEN: \(again)") }
            try checkBystanders()
            return .opened
        }
        switch state.pool {
        case .whole:
            throw Failure(text: "OPEN: \(refusal)")
        case .absent, .creating:
            try create(store)
            try checkBystanders()
            return state.pool == .absent ? .absent : .remedied("\(refusal)")
        case .removing:
            do {
                try store.remove(descriptor: descriptor, force: true, removePoolSet: false)
            } catch {
                throw Failure(text: "OPEN: \(refusal); removal: \(error)")
            }
            try create(store)
            try checkBystanders()
            return .remedied("\(refusal)")
        }
    }

    private var descriptor: PoolDescriptor {
        get throws { try PoolDescriptor(validating: "a.set") }
    }

    private func create(_ store: PoolStore) throws {
        do {
            try store.create(
                descriptor: descriptor, attributes: PowerLossRun.attributes, requestedSize: UInt64(scene.size)
            ).close()
            try store.open(descriptor: descriptor, requestedSize: UInt64(scene.size)).close()
        } catch {
            throw Failure(text: "CREATE after it was refused by OPEN: \(error)")
        }
    }

    /// - Returns: The refusal; nil when the pool is open and whole.
    private func tryOpening(_ store: PoolStore, _ state: PowerLossHistory.State) throws -> PoolError? {
        let pool: Pool
        do throws(PoolError) {
            pool = try store.open(
                descriptor: descriptorOrFail(), requestedSize: UInt64(scene.size))
        } catch {
            return error
        }
        defer { try? pool.close() }
        if !state.attributes.contains(pool.attributes) {
            throw Failure(text: "its attributes are \(pool.attributes), not \(state.attributes)")
        }
        let contents = UnsafeRawBufferPointer(start: pool.base, count: pool.size)
        if state.pool == .removing { return nil }
        try compare(contents, state)
        return nil
    }

    private func descriptorOrFail() throws(PoolError) -> PoolDescriptor {
        do { return try descriptor } catch { throw .badName(descriptor: "a.set", reason: "\(error)") }
    }

    private func compare(_ contents: UnsafeRawBufferPointer, _ state: PowerLossHistory.State) throws {
        for (number, range) in state.acknowledged.enumerated() {
            let found = contents[range.offset..<range.offset + range.bytes.count]
            if found.elementsEqual(range.bytes) { continue }
            let later = state.acknowledged[(number + 1)...]
            for (index, byte) in range.bytes.enumerated() {
                let offset = range.offset + index
                func covers(_ other: (offset: Int, bytes: [UInt8])) -> Bool {
                    offset >= other.offset && offset < other.offset + other.bytes.count
                }
                // A later range that was acknowledged is compared itself.
                if contents[offset] == byte || later.contains(where: covers) { continue }
                if state.unanswered.contains(where: { covers($0) && contents[offset] == $0.bytes[offset - $0.offset] }) {
                    continue
                }
                throw Failure(
                    text: "byte \(offset) of the acknowledged range \(range.offset)+\(range.bytes.count) is lost")
            }
        }
    }

    private func checkBystanders() throws {
        if let difference = try Bystanders.difference(in: mounted, directories: scene.parts) {
            throw Failure(text: "a file of others: \(difference)")
        }
    }
}
