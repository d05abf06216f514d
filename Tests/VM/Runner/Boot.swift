/// A machine that is booted, and what is tried on it while it is up: one boot serves many cases.
struct Boot {
    /// Shows in the table and names the console's log.
    var name: String
    /// One of each for `/dev/dax0.0` or `/dev/pmem0` and so on, in this order. Their contents outlast a pulled plug.
    var nvdimms: [NVDIMM] = []
    /// Disks in MiB, `/dev/vdc` and so on. Their contents outlast a pulled plug too.
    var disks: [Int] = []
    /// A second machine, linked with this one, that stays on when this one's plug is pulled.
    var companion: Companion?
    /// What the platform's firmware says is flushed at power loss; nil says nothing.
    var persistenceDomain: PersistenceDomain?
    /// Of the guest, in MiB.
    var memory = 2048
    /// Appended to the kernel's command line.
    var kernelArguments: [String] = []
    /// Appended to QEMU's command line.
    var machineArguments: [String] = []
    /// Whether systemd is the first program and starts sshd and the cases, instead of `Tests/VM/guest/run-cases` alone.
    var runsSystemd = false
    /// Seconds from switching on until the first case begins.
    var startLimit = 600
    var cases: [Case]

    /// A module of memory that keeps its contents, in MiB: at least 128 and a multiple of it.
    struct NVDIMM {
        var size = 1024
    }

    struct Companion {
        /// Its first program, in `Tests/VM/guest`; it finds the boot's kernel arguments on its own command line.
        var program: String
        /// In MiB.
        var memory = 768
    }

    enum PersistenceDomain: String {
        case memoryController = "mem-ctrl"
        /// eADR: the caches are flushed too.
        case processorCache = "cpu"
    }
}

/// A script in `Tests/VM/cases`, run in a guest as root.
struct Case {
    /// Of the script, without `.sh`, and of its log; unique in the table.
    var name: String
    /// Seconds that it may take each time that it runs. Only there so that nothing hangs: a guest on a busy machine is ten
    /// times as slow as on an idle one.
    var limit: Int
    /// Why it is left out; nil runs it.
    var skipped: String?

    init(_ name: String, limit: Int = 900, skipped: String? = nil) {
        self.name = name
        self.limit = limit
        self.skipped = skipped
    }
}

/// What came of a case.
struct CaseResult {
    var name: String
    var boot: String
    var outcome: Outcome
    /// What it took, in seconds.
    var seconds: Double = 0

    enum Outcome: Equatable {
        case passed
        case failed(String)
        case skipped(String)
    }
}
