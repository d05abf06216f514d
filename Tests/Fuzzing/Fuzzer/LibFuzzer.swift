import Glibc

/// The target that `RPMEM_FUZZ_TARGET` names.
private let target: FuzzTarget = {
    let name = getenv("RPMEM_FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        fatalError("RPMEM_FUZZ_TARGET: \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return target
}()

/// libFuzzer's entry point.
@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do throws(Finding) {
        try target.check(UnsafeRawBufferPointer(start: start, count: count))
    } catch {
        // libFuzzer keeps the input of a trap.
        fatalError("\(target.rawValue): \(error)")
    }
    return 0
}
