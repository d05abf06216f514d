import PoolSets
import RpmemProtocol

/// A text is refused at one of its lines, or describes a pool set that means the same when it is written down again.
func checkPoolSet(_ bytes: [UInt8]) throws(Finding) {
    let lineCount = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    let description: PoolSetDescription
    do throws(PoolSetFile.SyntaxError) { description = try PoolSetFile.parse(bytes) } catch {
        try require((1...lineCount + 1).contains(error.line), "the error is in line \(error.line) of \(lineCount)")
        try require(!error.reason.isEmpty, "the error has no reason")
        return
    }
    try require((1...PoolSetFile.maximumParts).contains(description.parts.count), "\(description.parts.count) parts")
    try require(
        !description.options.isSuperset(of: [.singleHeader, .noHeaders]), "the set has both options about headers")
    var line = 1
    for part in description.parts {
        try require(part.line > line && part.line <= lineCount, "part of line \(part.line) comes after line \(line)")
        line = part.line
        if case .bytes(let size) = part.size {
            try require(size > 0 && size <= UInt64(Int64.max), "a part has \(size) bytes")
        }
        let path = pathBytes(part)
        try require(path.first == UInt8(ascii: "/"), "a part's path is not absolute")
        try require(path.count <= PoolSetFile.maximumPathLength, "a part's path has \(path.count) bytes")
        try require(
            path.allSatisfy { ![0, UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "#")].contains($0) },
            "a part's path has a blank or a comment")
    }
    var again = try? PoolSetFile.parse(text(of: description))
    for index in description.parts.indices where again?.parts.indices.contains(index) == true {
        again?.parts[index].line = description.parts[index].line
    }
    try require(again == description, "written down again, \(description) is \(String(describing: again))")
}

private func pathBytes(_ part: PoolSetDescription.Part) -> [UInt8] {
    part.path.withPlatformString { path in
        var bytes: [UInt8] = []
        while path[bytes.count] != 0 { bytes.append(UInt8(bitPattern: path[bytes.count])) }
        return bytes
    }
}

private func text(of description: PoolSetDescription) -> [UInt8] {
    var text = Array("PMEMPOOLSET\n".utf8)
    if description.options.contains(.singleHeader) { text += Array("OPTION SINGLEHDR\n".utf8) }
    if description.options.contains(.noHeaders) { text += Array("OPTION NOHDRS\n".utf8) }
    for part in description.parts {
        switch part.size {
        case .auto: text += Array("AUTO ".utf8)
        case .bytes(let bytes): text += Array("\(bytes) ".utf8)
        }
        text += pathBytes(part) + [UInt8(ascii: "\n")]
    }
    return text
}
