/// Names a session in the log: eight hexadecimal digits, random.
package struct SessionID: Hashable, Sendable, CustomStringConvertible {
    package let number: UInt32

    package init(number: UInt32) {
        self.number = number
    }

    package static func random() -> SessionID {
        SessionID(number: .random(in: 0...UInt32.max))
    }

    package var description: String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
