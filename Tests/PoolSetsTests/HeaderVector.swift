import Glibc

/// A captured pool header of Tests/Vectors/headers.
func headerVector(_ name: String) -> [UInt8] {
    let directory = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
    guard let file = fopen("/\(directory)/Vectors/headers/\(name).hex", "r") else { return [] }
    defer { fclose(file) }
    var digits: [UInt8] = []
    while case let character = getc(file), character != EOF {
        switch UInt8(truncatingIfNeeded: character) {
        case let digit where digit >= 0x30 && digit <= 0x39: digits.append(digit - 0x30)
        case let digit where digit >= 0x61 && digit <= 0x66: digits.append(digit - 0x61 + 10)
        default: continue
        }
    }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
