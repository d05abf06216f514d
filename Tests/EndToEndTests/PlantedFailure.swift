import Glibc
import SystemSupport
import TestSupport

/// One call of a target's daemons that fails, or at which the daemon is killed: the n-th call of a function, counted over all
/// daemons with this environment.
struct PlantedFailure {
    private let directory = TemporaryDirectory("rpmem-planted")
    private var path: String { directory.file("call") }

    init() throws {
        guard FailingCalls.library != nil else { throw TestSupportError("failing-calls.c cannot be compiled") }
        try FailingCalls.makeCounts("\(path).counts")
    }

    /// For the daemons.
    ///
    /// - Parameter call: `NAME:N`; nil only counts.
    func environment(_ call: String?, kills: Bool = false) -> [String: String] {
        var all = [
            "LD_PRELOAD": FailingCalls.library ?? "", "RPMEM_FAIL_PROGRAM": "rpmemd",
            "RPMEM_FAIL_COUNTS": "\(path).counts", "RPMEM_FAIL_REPORT": "\(path).report",
        ]
        if let call { all["RPMEM_FAIL_CALL"] = call }
        if kills { all["RPMEM_FAIL_KILLS"] = "1" }
        return all
    }

    /// The same as `NAME=VALUE`.
    func assignments(_ call: String?, kills: Bool = false) -> [String] {
        environment(call, kills: kills).map { "\($0)=\($1)" }.sorted()
    }

    /// Calls so far, by function.
    func counts() throws -> [String: Int] { try FailingCalls.counts("\(path).counts") }

    /// Whether the call was reached.
    var isHit: Bool {
        var status = stat()
        return stat("\(path).report", &status) == 0 && status.st_size > 0
    }
}
