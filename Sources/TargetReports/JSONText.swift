/// JSON (RFC 8259) of `Encodable` values, without Foundation: the daemon has none.
///
/// Objects keep the order of their declarations. Text is ASCII-safe for terminals: control and format characters are escaped.
/// What is no UTF-8 must be made so before. Dates, data and keys of super classes have no form here.
package func jsonText(_ value: some Encodable) -> String {
    let box = JSONBox()
    // The encoder below never throws, and reports declare nothing that does.
    try? value.encode(to: JSONEncoding(box: box))
    return box.text
}

/// The text of one value, and of an array or object while it grows.
private final class JSONBox {
    private enum Content {
        case none
        case scalar(String)
        case array([JSONBox])
        case object([(String, JSONBox)])
    }

    private var content = Content.none

    func set(_ scalar: String) { content = .scalar(scalar) }
    func becomeArray() { if case .none = content { content = .array([]) } }
    func becomeObject() { if case .none = content { content = .object([]) } }

    var count: Int { if case .array(let elements) = content { elements.count } else { 0 } }

    func append() -> JSONBox {
        let box = JSONBox()
        if case .array(let elements) = content { content = .array(elements + [box]) }
        return box
    }

    func add(_ key: String) -> JSONBox {
        let box = JSONBox()
        if case .object(let members) = content { content = .object(members + [(key, box)]) }
        return box
    }

    var text: String {
        switch content {
        case .none: "null"
        case .scalar(let text): text
        case .array(let elements): "[" + elements.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { "\(jsonString($0.0)):\($0.1.text)" }.joined(separator: ",") + "}"
        }
    }
}

private func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case " "..."~": result.unicodeScalars.append(scalar)
        default:
            if scalar.properties.isAlphabetic || scalar.properties.numericType != nil {
                result.unicodeScalars.append(scalar)
            } else {
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            }
        }
    }
    return result + "\""
}

private struct JSONEncoding: Encoder {
    let box: JSONBox
    var codingPath: [any CodingKey] { [] }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        box.becomeObject()
        return KeyedEncodingContainer(JSONObjectEncoding<Key>(box: box))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        box.becomeArray()
        return JSONArrayEncoding(box: box)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { JSONScalarEncoding(box: box) }
}

private struct JSONScalarEncoding: SingleValueEncodingContainer {
    let box: JSONBox
    var codingPath: [any CodingKey] { [] }

    func encodeNil() { box.set("null") }
    func encode(_ value: Bool) { box.set(value ? "true" : "false") }
    func encode(_ value: String) { box.set(jsonString(value)) }
    func encode(_ value: Double) { box.set(value.isFinite ? "\(value)" : "null") }
    func encode(_ value: Float) { encode(Double(value)) }
    func encode(_ value: Int) { box.set("\(value)") }
    func encode(_ value: Int8) { box.set("\(value)") }
    func encode(_ value: Int16) { box.set("\(value)") }
    func encode(_ value: Int32) { box.set("\(value)") }
    func encode(_ value: Int64) { box.set("\(value)") }
    func encode(_ value: UInt) { box.set("\(value)") }
    func encode(_ value: UInt8) { box.set("\(value)") }
    func encode(_ value: UInt16) { box.set("\(value)") }
    func encode(_ value: UInt32) { box.set("\(value)") }
    func encode(_ value: UInt64) { box.set("\(value)") }
    func encode(_ value: some Encodable) throws { try value.encode(to: JSONEncoding(box: box)) }
}

private struct JSONObjectEncoding<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let box: JSONBox
    var codingPath: [any CodingKey] { [] }

    private func scalar(_ key: Key) -> JSONScalarEncoding { JSONScalarEncoding(box: box.add(key.stringValue)) }

    func encodeNil(forKey key: Key) { scalar(key).encodeNil() }
    func encode(_ value: some Encodable, forKey key: Key) throws { try scalar(key).encode(value) }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
        JSONEncoding(box: box.add(key.stringValue)).container(keyedBy: type)
    }
    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        JSONEncoding(box: box.add(key.stringValue)).unkeyedContainer()
    }
    func superEncoder() -> any Encoder { JSONEncoding(box: box.add("super")) }
    func superEncoder(forKey key: Key) -> any Encoder { JSONEncoding(box: box.add(key.stringValue)) }
}

private struct JSONArrayEncoding: UnkeyedEncodingContainer {
    let box: JSONBox
    var codingPath: [any CodingKey] { [] }
    var count: Int { box.count }

    func encodeNil() { JSONScalarEncoding(box: box.append()).encodeNil() }
    func encode(_ value: some Encodable) throws { try JSONScalarEncoding(box: box.append()).encode(value) }
    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        JSONEncoding(box: box.append()).container(keyedBy: type)
    }
    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { JSONEncoding(box: box.append()).unkeyedContainer() }
    func superEncoder() -> any Encoder { JSONEncoding(box: box.append()) }
}
