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
    private let sets: String
    private var image: String { "\(mounted).img" }

    enum Outcome: Sendable {
        /// OPEN finds the pool whole.
        case opened
        /// OPEN refuses, as it should where there is no pool, and CREATE makes one.
        case absent
        /// OPEN refuses, and what it says to do works.
        case remedied(String)
        /// OPEN refuses a header of which half was written by SET_ATTR. Every acknowledged range is in the parts.
        case torn
        /// Something is lost, or there is no way out.
        case failed(String)
    }

    init(_ scene: PowerLossRun.Scene) throws {
        self.scene = scene
        // In memory.
        directory = TemporaryDirectory("rpmem-check", in: "/dev/shm")
        mounted = directory.file("mounted")
        mkdir(mounted, 0o755)
        sets = directory.file("sets")
        mkdir(sets, 0o755)
        try write((["PMEMPOOLSET"] + scene.lines(on: mounted)).map { $0 + "\n" }.joined(), to: "\(sets)/a.set")
    }

    func look(_ record: DiskRecord, _ point: CrashPoint, expecting state: PowerLossHistory.State) -> Outcome {
        do {
            try record.makeImage(image, point.writes(of: record))
            return try record.withMounted(image, at: mounted) {
                try look(expecting: state, isTorn: point.loses == .halfOfTheLast)
            }
        } catch let failure as Failure {
            return .failed(failure.text)
        } catch {
            return .failed("\(error)")
        }
    }

    private struct Failure: Error { var text: String }

    private func look(expecting state: PowerLossHistory.State, isTorn: Bool) throws -> Outcome {
        try checkBystanders()
        let hasSet = access("\(mounted)/sets/a.set", F_OK) == 0
        if let expected = state.hasSet, expected != hasSet {
            throw Failure(text: "the pool set file is \(hasSet ? "there again" : "lost")")
        }
        let store = try PoolStore(directory: sets)
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
            guard state.isChangingAttributes, isTorn, "\(refusal)".contains("wrong checksum") else {
                throw Failure(text: "OPEN: \(refusal)")
            }
            try parts().withUnsafeBytes { try compare($0, state) }
            return .torn
        case .absent, .creating, .removing:
            let remedy = try remedy(store, refusal)
            try checkBystanders()
            return state.pool == .absent ? .absent : .remedied(remedy)
        }
    }

    /// Does what the messages of OPEN and CREATE say.
    ///
    /// - Returns: The messages.
    private func remedy(_ store: PoolStore, _ refusal: PoolError) throws -> String {
        var said = "OPEN: \(text(refusal))"
        do { try create(store) } catch {
            said += "; CREATE: \(text(error))"
            guard let error = error as? PoolError, case .exists = error else { throw Failure(text: said) }
            do { try store.remove(descriptor: descriptor, force: false, removePoolSet: false) } catch PoolError.notFound
            {
                // A part that is gone already: the others are removed all the same.
            } catch {
                throw Failure(text: "\(said); removal: \(error)")
            }
            do { try create(store) } catch { throw Failure(text: "\(said); CREATE after removal: \(text(error))") }
        }
        return said
    }

    /// An error, without the directory of this check.
    private func text(_ error: any Error) -> String { "\(error)".replacing(directory.path, with: "") }

    private var descriptor: PoolDescriptor {
        get throws { try PoolDescriptor(validating: "a.set") }
    }

    private func create(_ store: PoolStore) throws {
        let size = UInt64(scene.size)
        try store.create(descriptor: descriptor, attributes: PowerLossRun.attributes, requestedSize: size).close()
        try store.open(descriptor: descriptor, requestedSize: size).close()
    }

    /// The contents of the pool, from its parts.
    private func parts() throws -> [UInt8] {
        try (0..<scene.parts).flatMap { number in
            let file = try Descriptor.open(scene.part(number, on: mounted), O_RDONLY)
            return try readFile(file, limit: 1 << 24).dropFirst(number == 0 ? 0 : 4096)
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
                if state.unanswered.contains(where: { covers($0) && contents[offset] == $0.bytes[offset - $0.offset] })
                {
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
