/// The answer to `rpmemctl list`.
package struct PoolListReport: Report {
    package static let command = "list"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    /// The pool set directory.
    package var directory: String
    /// Whether there is more below ``directory`` than the daemon looks at.
    package var truncated: Bool
    /// By name.
    package var pools: [ReportedPool]

    package init(rpmemd: String, directory: String, truncated: Bool, pools: [ReportedPool]) {
        self.rpmemd = rpmemd
        self.directory = directory
        self.truncated = truncated
        self.pools = pools
    }
}
