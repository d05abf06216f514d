import Glibc
import Histogram

extension BenchReport {
    /// Latency over percentile, both logarithmic, a line for each figure and a dashed one for each floor: an SVG
    /// document.
    func plot() -> String {
        let width = 900.0
        let height = 520.0
        let left = 70.0
        let right = 250.0
        let top = 40.0
        let bottom = 60.0
        let all = rows.map(\.outcome.latencies) + floors.values
        let low = Double(max(1, all.map { $0.valueAtPercentile(1) }.min() ?? 1))
        let high = Double(max(2, all.map { $0.valueAtPercentile(99.9) }.max() ?? 2))
        let lowest = floor(log10(low))
        let decades = max(1, ceil(log10(high)) - lowest)
        // "Nines": 0 % is 0, 90 % is 1, 99 % is 2, 99.9 % is 3.
        func x(_ nines: Double) -> Double { left + (width - left - right) * nines / 3 }
        func y(_ nanoseconds: UInt64) -> Double {
            top + (height - top - bottom) * (1 - (log10(Double(max(1, nanoseconds))) - lowest) / decades)
        }
        func number(_ value: Double) -> String { "\(Double(Int(value * 10)) / 10)" }

        var svg = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(width))\" height=\"\(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
            "<text x=\"\(Int(left))\" y=\"22\" font-size=\"15\">\(escaped("\(target), \(provider), \(method)"))</text>",
        ]
        for nines in 0...3 {
            let label = ["0 %", "90 %", "99 %", "99.9 %"][nines]
            svg.append(
                "<line x1=\"\(number(x(Double(nines))))\" x2=\"\(number(x(Double(nines))))\" y1=\"\(number(top))\" "
                    + "y2=\"\(number(height - bottom))\" stroke=\"#ddd\"/>")
            svg.append(
                "<text x=\"\(number(x(Double(nines))))\" y=\"\(number(height - bottom + 18))\" "
                    + "text-anchor=\"middle\">\(label)</text>")
        }
        for decade in 0...Int(decades) {
            let value = pow(10, lowest + Double(decade))
            let label =
                value >= 1e6 ? "\(Int(value / 1e6)) ms" : value >= 1000 ? "\(Int(value / 1000)) µs" : "\(Int(value)) ns"
            let place = number(y(UInt64(value)))
            svg.append(
                "<line x1=\"\(number(left))\" x2=\"\(number(width - right))\" y1=\"\(place)\" y2=\"\(place)\" stroke=\"#ddd\"/>"
            )
            svg.append("<text x=\"\(number(left - 8))\" y=\"\(place)\" text-anchor=\"end\" dy=\"4\">\(label)</text>")
        }
        func line(_ histogram: Histogram<UInt64>, _ color: String, dashed: Bool) -> String {
            let points = stride(from: 0.0, through: 3.0, by: 0.05).map { nines in
                let percentile = 100 * (1 - pow(10, -nines))
                return "\(number(x(nines))),\(number(y(histogram.valueAtPercentile(max(0.1, percentile)))))"
            }
            return "<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.8\""
                + (dashed ? " stroke-dasharray=\"5 4\"" : "") + " points=\"\(points.joined(separator: " "))\"/>"
        }
        var legend = top + 8
        func entry(_ name: String, _ color: String, dashed: Bool) {
            let from = width - right + 14
            svg.append(
                "<line x1=\"\(number(from))\" x2=\"\(number(from + 22))\" y1=\"\(number(legend))\" "
                    + "y2=\"\(number(legend))\" stroke=\"\(color)\" stroke-width=\"2\""
                    + (dashed ? " stroke-dasharray=\"5 4\"" : "") + "/>")
            svg.append("<text x=\"\(number(from + 28))\" y=\"\(number(legend + 4))\">\(escaped(name))</text>")
            legend += 17
        }
        let colors = [
            "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf", "#bcbd22",
        ]
        for (index, row) in rows.enumerated() {
            let color = colors[index % colors.count]
            svg.append(line(row.outcome.latencies, color, dashed: false))
            if legend < height - bottom { entry(row.scenario.name, color, dashed: false) }
        }
        for (size, histogram) in floors.sorted(by: { $0.key < $1.key }) {
            svg.append(line(histogram, "#555", dashed: true))
            if legend < height - 10 { entry("floor, \(size) bytes", "#555", dashed: true) }
        }
        svg.append("</svg>")
        return svg.joined(separator: "\n") + "\n"
    }

    private func escaped(_ text: String) -> String {
        text.map { character in
            switch character {
            case "<": "&lt;"
            case ">": "&gt;"
            case "&": "&amp;"
            default: String(character)
            }
        }.joined()
    }
}
