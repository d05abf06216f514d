import SystemPackage

/// All errors of a configuration that cannot be used.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// One error.
    package struct Problem: Equatable, Sendable, CustomStringConvertible {
        /// `path:line`, a path, or an option.
        package let place: String
        /// The error and the remedy, on one line.
        package let explanation: String
        /// Never 0.
        package let errno: Errno

        package init(at place: String, _ explanation: String, errno: Errno = .invalidArgument) {
            self.place = place
            self.explanation = explanation
            self.errno = errno.rawValue == 0 ? .invalidArgument : errno
        }

        package var description: String { "\(place): \(explanation)" }
    }

    package let first: Problem
    package let others: [Problem]

    package init(_ first: Problem, others: [Problem] = []) {
        self.first = first
        self.others = others
    }

    /// Never empty.
    package var problems: [Problem] { [first] + others }

    /// The reason to send as initial status, never 0.
    package var errno: Errno { first.errno }

    /// A line for each problem, no newline at the end.
    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
