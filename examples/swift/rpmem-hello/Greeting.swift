import RpmemInitiator

/// What the pool holds: a language's number, 8 bytes, and the greeting in that language, UTF-8 and padded with zeros.
struct Greeting {
    private static let languages = [
        (name: "English", text: "Hello world!"),
        (name: "Spanish", text: "¡Hola mundo!"),
        (name: "Polish", text: "Witaj, świecie!"),
        (name: "German", text: "Hallo Welt!"),
        (name: "Japanese", text: "こんにちは、世界！"),
    ]

    /// The first byte that is not the pool's header.
    static let offset = 4096
    static let byteCount = 128

    static let signature: SIMD8<UInt8> = [0x48, 0x45, 0x4c, 0x4c, 0x4f, 0, 0, 0]  // HELLO

    static func poolAttributes() -> PoolAttributes {
        let uuid = UUIDBytes.random()
        return PoolAttributes(
            signature: signature, major: 1, poolsetUUID: .random(), uuid: uuid, nextUUID: uuid, previousUUID: uuid)
    }

    let language: Int
    let text: String

    /// - Parameter language: Any number; the languages come round again.
    init(language: Int) {
        self.language = language % Self.languages.count
        text = Self.languages[self.language].text
    }

    var languageName: String { Self.languages[language].name }

    /// The same in the next language.
    var translated: Greeting { Greeting(language: language + 1) }

    /// nil when there is none.
    init?(reading bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        let number = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let textBytes = bytes[(offset + 8)..<(offset + Self.byteCount)].prefix { $0 != 0 }
        guard number < Self.languages.count, !textBytes.isEmpty,
            let text = String(validating: textBytes, as: UTF8.self)
        else { return nil }
        language = Int(number)
        self.text = text
    }

    func write(to bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        let place = UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + Self.byteCount])
        place.initializeMemory(as: UInt8.self, repeating: 0)
        place.storeBytes(of: UInt64(language), as: UInt64.self)
        // The last byte stays zero.
        for (index, byte) in text.utf8.prefix(Self.byteCount - 9).enumerated() { place[8 + index] = byte }
    }
}
