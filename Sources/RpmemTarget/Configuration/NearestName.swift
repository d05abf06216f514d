/// The name in `candidates` that `word` probably means; nil when none is similar.
func nearestName(to word: String, in candidates: some Sequence<String>) -> String? {
    let limit = max(2, word.count / 3)
    // A long word is never similar, and the comparison would take long.
    guard word.utf8.count <= 64 else { return nil }
    // The distance is never less than the difference in length. A file may have a thousand unknown keys.
    return candidates.filter { abs($0.utf8.count - word.utf8.count) <= limit }.map { ($0, editDistance(word, $0)) }
        .filter { $0.1 <= limit }.min { $0.1 < $1.1 }?.0
}

/// How many letters must be inserted, removed, changed, or swapped with their neighbour.
func editDistance(_ left: String, _ right: String) -> Int {
    let a = Array(left.utf8)
    let b = Array(right.utf8)
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1]
        for j in b.indices {
            var best = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforeLast[j - 1] + 1) }
            row.append(best)
        }
        beforeLast = last
        last = row
    }
    return last[b.count]
}
