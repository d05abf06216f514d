/// A virtual machine and the cases that run on it while it is up. One boot serves many cases.
struct Boot {
    /// The name in the table and of the console's log.
    var name: String
    /// The modules behind `/dev/dax0.0` or `/dev/pmem0` and so on, in this order. Their contents survive a pulled plug.
    var nvdimms: [NVDIMM] = []
    /// Memory in MiB of a CXL device (`mem0`) below a CXL host bridge; nil for a machine without CXL. Its contents survive a
    /// pulled plug.
    var cxlMemory: Int?
    /// Disks in MiB, `/dev/vdc` and so on. Their contents survive a pulled plug.
    var disks: [Int] = []
    /// A second machine, linked with this one, that stays on when this one's plug is pulled.
    var companion: Companion?
    /// The persistence domain that the firmware reports; nil reports none.
    var persistenceDomain: PersistenceDomain?
    /// Memory of the guest in MiB.
    var memory = 2048
    /// Appended to the kernel's command line.
    var kernelArguments: [String] = []
    /// Appended to QEMU's command line.
    var machineArguments: [String] = []
    /// Whether systemd is the first program and starts sshd and the cases, instead of `Tests/VM/guest/run-cases` alone.
    var runsSystemd = false
    /// Seconds from switching on until the machine reports. Then it is switched on once more.
    var startLimit = 300
    var cases: [Case]

    /// A module of memory that keeps its contents, in MiB: at least 128 and a multiple of it.
    struct NVDIMM {
        var size = 1024
    }

    struct Companion {
        /// The companion's first program, in `Tests/VM/guest`. It gets the boot's kernel arguments on its own command line.
        var program: String
        /// Memory in MiB.
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
    /// The name of the script, without `.sh`, and of its log; unique in the table.
    var name: String
    /// The longest time of one run in seconds. It only ends a case that hangs: on a busy host, a guest is ten times as slow as
    /// on an idle one.
    var limit: Int
    /// The reason for skipping the case; nil runs it.
    var skipped: String?

    init(_ name: String, limit: Int = 900, skipped: String? = nil) {
        self.name = name
        self.limit = limit
        self.skipped = skipped
    }
}

/// The result of a case.
struct CaseResult {
    var name: String
    var boot: String
    var outcome: Outcome
    /// Duration in seconds.
    var seconds: Double = 0

    enum Outcome: Equatable {
        case passed
        case failed(String)
        case skipped(String)
    }
}
