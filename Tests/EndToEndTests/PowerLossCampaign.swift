import RpmemProtocol
import Synchronization
import TestSupport

/// All crash points of one run: what a loss of power may have left at each of them, looked at.
struct PowerLossCampaign {
    let points: Int
    private(set) var failures: [String] = []
    /// A line for each step of the run.
    let table: String

    /// - Parameters:
    ///   - seed: Of the bytes that are persisted, and of the choice of reordered writes.
    ///   - subsets: How many random subsets of the writes between two flushes are lost; nil for disks that lose nothing.
    init(_ scene: PowerLossRun.Scene, seed: UInt64, subsets: Int?) throws {
        let (record, history) = try PowerLossRun.record(scene, seed: seed)
        // Not those of unmounting.
        let end = history.steps.last?.end ?? 0
        let points = CrashPoint.all(of: record, subsets: subsets, seed: seed)
            .filter { $0.time == 0 || record.entries[$0.time - 1].position <= end }
        self.points = points.count
        let states = points.map { history.state(at: $0.time == 0 ? 0 : record.entries[$0.time - 1].position) }
        let next = Counter()
        let workers = Threads<[(Int, PowerLossCheck.Outcome)]>()
        for number in 0..<4 {
            try workers.start("check-\(number)") {
                let check = try PowerLossCheck(scene)
                var outcomes: [(Int, PowerLossCheck.Outcome)] = []
                while true {
                    let index = next.take()
                    if index >= points.count { return outcomes }
                    outcomes.append((index, check.look(record, points[index], expecting: states[index])))
                }
            }
        }
        var rows: [(name: String, row: Row)] = []
        for (index, outcome) in try workers.join().flatMap({ $0 }).sorted(by: { $0.0 < $1.0 }) {
            let (name, point) = (states[index].name, points[index])
            if !rows.contains(where: { $0.name == name }) { rows.append((name, Row())) }
            for place in rows.indices where rows[place].name == name { rows[place].row.add(point, outcome) }
            if case .failed(let reason) = outcome { failures.append("\(name), \(point): \(reason)") }
        }
        table =
            "power loss, \(scene): \(points.count) crash points, "
            + "\(record.entries.count { $0.position <= end }) writes and flushes\n"
            + rows.map { "    \($0.name): \($0.row)\n" }.joined()
    }

    private final class Counter: Sendable {
        private let value = Atomic(0)

        func take() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    }

    /// The crash points of one step, counted.
    private struct Row: CustomStringConvertible {
        private var inOrder = 0
        private var others = 0
        private var opened = 0
        private var absent = 0
        private var torn = 0
        private var failed = 0
        private var refusals: [String: Int] = [:]

        mutating func add(_ point: CrashPoint, _ outcome: PowerLossCheck.Outcome) {
            if point.loses == nil { inOrder += 1 } else { others += 1 }
            switch outcome {
            case .opened: opened += 1
            case .absent: absent += 1
            case .torn: torn += 1
            case .failed: failed += 1
            case .remedied(let refusal): refusals[refusal, default: 0] += 1
            }
        }

        var description: String {
            "\(inOrder) in order and \(others) with lost writes: \(opened) opened, \(absent) without a pool, "
                + "\(refusals.values.reduce(0, +)) refused and mended, \(torn) refused with a torn header, \(failed) failed"
                + refusals.sorted { $0.key < $1.key }.map { "\n        \($0.value) times: \($0.key)" }.joined()
        }
    }
}

/// What a loss of power leaves: the writes that the disk had got by then, perhaps without some that no flush had followed.
struct CrashPoint: Sendable, CustomStringConvertible {
    /// Entries of the record by then.
    var time: Int
    /// The lost writes; nil when the disk has all.
    var loses: Loss?

    enum Loss: Sendable, Equatable {
        /// Numbers of entries.
        case writes(Set<Int>)
        /// The second half of the last write.
        case halfOfTheLast
    }

    var description: String {
        switch loses {
        case nil: "after entry \(time)"
        case .writes(let numbers): "after entry \(time) without \(numbers.sorted())"
        case .halfOfTheLast: "in the middle of entry \(time)"
        }
    }

    /// Every prefix of the record; every write of several sectors, torn; and before each flush, every write since the last
    /// flush lost alone, and random subsets of these writes lost. Without a journal, a lost write may cost the file system its
    /// own structures: then there are only prefixes.
    static func all(of record: DiskRecord, subsets: Int?, seed: UInt64) -> [CrashPoint] {
        var random = SeededGenerator(seed: seed)
        var points = [CrashPoint(time: 0)]
        var pending: [Int] = []
        for (number, entry) in record.entries.enumerated() {
            if let write = entry.write {
                if subsets != nil, record.fileSystem.hasJournal, write.isDivisible {
                    points.append(CrashPoint(time: number + 1, loses: .halfOfTheLast))
                }
                pending.append(number)
            } else {
                if let subsets, record.fileSystem.hasJournal, pending.count > 1 {
                    points += pending.dropLast().map { CrashPoint(time: number, loses: .writes([$0])) }
                    for _ in 0..<(pending.count > 2 ? subsets : 0) {
                        let lost = pending.filter { _ in random.next() % 2 == 0 }
                        points.append(CrashPoint(time: number, loses: .writes(Set(lost))))
                    }
                }
                pending = []
            }
            points.append(CrashPoint(time: number + 1))
        }
        return points
    }

    /// The writes that the disk has, in order, and the bytes of each that count.
    func writes(of record: DiskRecord) -> [DiskRecord.Write] {
        record.entries[..<time].enumerated().compactMap { number, entry in
            guard let write = entry.write else { return nil }
            switch loses {
            case .writes(let numbers) where numbers.contains(number): return nil
            case .halfOfTheLast where number == time - 1: return write.firstHalf
            default: return write
            }
        }
    }
}
