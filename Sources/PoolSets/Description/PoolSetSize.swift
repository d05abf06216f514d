/// The sizes in pool set files: a decimal number with a suffix (`docs/media.md`, section 1.2 (Sizes in pool set
/// files)).
package enum PoolSetSize {
    /// - Returns: Bytes.
    package static func parse(_ text: some Collection<UInt8>) -> Result<UInt64, SizeError> {
        // As with PMDK, whose strtoull(3) takes a plus sign.
        let text = text.first == UInt8(ascii: "+") ? text.dropFirst() : text.dropFirst(0)
        let digits = text.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        guard !digits.isEmpty else { return .failure(.notANumber) }
        let suffix = text.dropFirst(digits.count)
        guard let factor = factor(of: String(decoding: suffix, as: UTF8.self)) else {
            return .failure(.unknownSuffix(PoolSetFile.excerpt(suffix)))
        }
        var number: UInt64 = 0
        for digit in digits {
            let (times, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, carry) = times.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
            if overflow || carry { return .failure(.tooLarge) }
            number = sum
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        // File offsets are signed.
        if overflow || bytes > UInt64(Int64.max) { return .failure(.tooLarge) }
        return bytes == 0 ? .failure(.zero) : .success(bytes)
    }

    /// Why a text is no size.
    package enum SizeError: Error, Equatable {
        case notANumber
        case unknownSuffix(String)
        case tooLarge
        case zero

        /// The rest of a sentence that begins with the text.
        var reason: String {
            switch self {
            case .notANumber: "is not a size: write a decimal number and a suffix such as 4G or 512MiB, or AUTO"
            case .unknownSuffix(let suffix):
                "has the unknown suffix '\(suffix)': use B, K, M, G, T, P, KiB ... PiB (powers of 1024) "
                    + "or kB, MB ... PB (powers of 1000)"
            case .tooLarge: "is more bytes than a file can have"
            case .zero: "is zero"
            }
        }
    }

    private static func factor(of suffix: String) -> UInt64? {
        switch suffix {
        case "", "B": 1
        case "K", "KiB": 1 << 10
        case "M", "MiB": 1 << 20
        case "G", "GiB": 1 << 30
        case "T", "TiB": 1 << 40
        case "P", "PiB": 1 << 50
        case "kB": 1000
        case "MB": 1_000_000
        case "GB": 1_000_000_000
        case "TB": 1_000_000_000_000
        case "PB": 1_000_000_000_000_000
        default: nil
        }
    }
}
