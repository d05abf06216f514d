import Glibc
import SystemSupport

/// The bytes of `Tests/Vectors/NAME.hex`; NAME is such as "control/create.c2s". `Tests/Vectors/README.md` describes
/// them.
package func vector(_ name: String) throws -> [UInt8] {
    let path = vectorsDirectory + name + ".hex"
    var bytes: [UInt8] = []
    var high: UInt8?
    for character in try readFile(Descriptor.open(path, O_RDONLY), limit: 1 << 20) {
        if character == UInt8(ascii: "\n") { continue }
        guard let digit = Character(Unicode.Scalar(character)).hexDigitValue else {
            throw VectorError.notHexadecimal(path)
        }
        if let upper = high {
            bytes.append(upper << 4 | UInt8(digit))
            high = nil
        } else {
            high = UInt8(digit)
        }
    }
    if high != nil { throw VectorError.notHexadecimal(path) }
    return bytes
}

/// The name of each file in `Tests/Vectors/DIRECTORY` as ``vector(_:)`` takes it, sorted.
package func vectorNames(in directory: String) throws -> [String] {
    let path = vectorsDirectory + directory
    guard let stream = opendir(path) else { throw SystemCallError.last("opendir") }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name.hasSuffix(".hex") { names.append(directory + "/" + name.dropLast(4)) }
    }
    return names.sorted()
}

package enum VectorError: Error {
    /// The file's path.
    case notHexadecimal(String)
}

/// `.../Tests/Vectors/`
private let vectorsDirectory: String = {
    let components = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return components.dropLast(2).joined(separator: "/") + "/Vectors/"
}()
