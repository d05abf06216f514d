import Glibc
import RpmemProtocol
import SystemSupport

/// Text for people on standard output. What comes from a target is escaped: it makes no lines and no terminal sequences.
struct Page {
    /// A piece of a line.
    struct Cell {
        var text: String
        var colour: Colour?

        init(_ text: String, _ colour: Colour? = nil) {
            self.text = escapingControls(text)
            self.colour = colour
        }
    }

    /// By their numbers in ECMA-48.
    enum Colour: Int {
        case red = 31
        case green = 32
        case yellow = 33
    }

    /// Colours are for terminals, and not with NO_COLOR (https://no-color.org).
    let isColoured: Bool
    private var lines: [String] = []

    init(isColoured: Bool = Self.wantsColour) { self.isColoured = isColoured }

    static var wantsColour: Bool { wantsSequences && isatty(STDOUT_FILENO) == 1 }

    /// Whether the terminal takes the sequences of ECMA-48, and the user wants them.
    static var wantsSequences: Bool {
        if let value = getenv("NO_COLOR"), value.pointee != 0 { return false }
        if let value = getenv("TERM"), String(cString: value) == "dumb" { return false }
        return true
    }

    private func painted(_ cell: Cell, width: Int = 0, _ alignment: String.Alignment = .left) -> String {
        let text = cell.text.padded(to: width, alignment)
        guard isColoured, let colour = cell.colour else { return text }
        return "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m"
    }

    mutating func line(_ cells: Cell...) {
        lines.append(cells.filter { !$0.text.isEmpty }.map { painted($0) }.joined(separator: " "))
    }

    /// A name and its value; nothing when there is no value.
    mutating func field(_ name: String, _ value: String?, _ colour: Colour? = nil, indent: Int = 2) {
        guard let value else { return }
        let blanks = String(repeating: " ", count: indent)
        lines.append(blanks + name.padded(to: 24) + painted(Cell(value, colour)))
    }

    /// Rows of as many cells each, below a heading.
    mutating func table(_ heading: [String], rightAligned: Set<Int>, _ rows: [[Cell]]) {
        let all = [heading.map { Cell($0) }] + rows
        let widths = heading.indices.map { column in all.map { $0[column].text.count }.max() ?? 0 }
        for row in all {
            var text = ""
            for (column, cell) in row.enumerated() {
                if column > 0 { text += "  " }
                let isLast = column == row.count - 1
                text += painted(
                    cell, width: isLast ? 0 : widths[column], rightAligned.contains(column) ? .right : .left)
            }
            while text.last == " " { text.removeLast() }
            lines.append(text)
        }
    }

    /// All lines, each with its newline.
    var text: String { lines.map { $0 + "\n" }.joined() }

    func show() throws { try printOut(text) }
}

/// A number of bytes: exact where it is a whole number of a unit, otherwise with one digit behind the point.
func sizeText(_ bytes: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var unit = 0
    while unit < units.count - 1, bytes >> (10 * (unit + 1)) > 0 { unit += 1 }
    let base = UInt64(1) << (10 * unit)
    if bytes % base == 0 { return "\(bytes / base) \(units[unit])" }
    // Rounded down: a pool has at least this.
    let tenths = (bytes % base).multipliedFullWidth(by: 10)
    return "\(bytes / base).\(base.dividingFullWidth(tenths).quotient) \(units[unit])"
}

/// Such as `2026-01-31 12:34:56 UTC`; the number alone where no calendar has the time.
func dateText(_ seconds: UInt64) -> String {
    guard var time = time_t(exactly: seconds), time < 253_402_300_800 else { return "\(seconds) s since the epoch" }
    var parts = tm()
    gmtime_r(&time, &parts)
    func digits(_ number: Int32, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    return "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2)) "
        + "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2)) UTC"
}
