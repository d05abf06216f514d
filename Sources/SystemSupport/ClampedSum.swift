/// The sum, or the largest number where that is smaller: a sum of sizes that a peer or a file gives.
package func clampedSum(_ one: UInt64, _ other: UInt64) -> UInt64 {
    let (sum, overflow) = one.addingReportingOverflow(other)
    return overflow ? .max : sum
}
