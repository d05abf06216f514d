extension String {
    /// Where blanks go.
    package enum Alignment { case left, right }

    /// The text with blanks up to `width` characters; unchanged when it has as many already.
    package func padded(to width: Int, _ alignment: Alignment = .left) -> String {
        let blanks = String(repeating: " ", count: max(0, width - count))
        return alignment == .left ? self + blanks : blanks + self
    }
}
