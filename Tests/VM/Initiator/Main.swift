import ArgumentParser
import Glibc
import RpmemInitiator
import RpmemProtocol

/// An initiator for cases in virtual machines: creates or opens a pool, writes a file to it or reads a range of it into
/// a file, and prints the results that a case looks for. RPMEM_SSH and RPMEM_CMD are honoured.
@main struct VMInitiator: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vm-initiator", abstract: "Creates or opens a pool on a target, and copies files to or from it.")

    enum Action: String, ExpressibleByArgument { case create, open }
    enum Mode: String, ExpressibleByArgument { case atomic, relaxed, deep }

    @Argument(help: "create or open.") var action: Action
    @Argument(help: "[user@]host[:port]") var target: String
    @Argument(help: "The pool set.") var poolSet: String
    @Option(help: "Bytes of the pool, whole pages; K, M or G may follow.") var size = Bytes(count: 8 << 20)
    @Option(help: "verbs, sockets or tcp.") var provider = "verbs"
    @Option(help: "Lanes to ask for.") var lanes = 1
    @Option(help: "A file to write to the pool.") var data: String?
    @Option(help: "A file to make of what the pool has.") var output: String?
    @Option(help: "Bytes to read for --output.") var length = Bytes(count: 0)
    @Option(help: "Offset in the pool of what is written or read.") var at = Bytes(count: 4096)
    @Option(help: "How to write: atomic, relaxed or deep.") var mode = Mode.relaxed
    @Option(help: "Bytes that one persist has.") var chunk = Bytes(count: 1 << 20)
    @Option(help: "Compat features of a pool to create; 1 checks bad blocks.") var compat: UInt32 = 0
    @Option(help: "Incompat features of a pool to create; 1 SINGLEHDR, 2 CKSUM_2K, 4 the shutdown state.")
    var incompat: UInt32 = 6
    @Flag(help: "Wait for a line of input before writing.") var prompted = false
    @Flag(help: "Keep the pool open after `connected` was printed, until standard input ends.") var hold = false

    func run() throws {
        let size = size.count
        var options = InitiatorOptions.processEnvironment()
        guard let provider = Provider.allCases.first(where: { $0.name == provider }) else {
            throw ValidationError("--provider must be verbs, sockets or tcp")
        }
        options.providers = [provider]
        // Only the pages that are used take memory.
        guard
            let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            start != MAP_FAILED
        else { throw ValidationError("no address space for \(size) bytes") }
        let memory = UnsafeMutableRawBufferPointer(start: start, count: size)
        do throws(InitiatorError) {
            let pool = try open(memory, options)
            say("connected: \(pool.lanes) lanes over \(pool.provider.name), \(pool.persistMethod)")
            if prompted { while ![EOF, 10].contains(getchar()) {} }
            try write(to: pool, memory)
            try read(from: pool, memory)
            if hold { while getchar() != EOF {} }
            try pool.close()
            say("closed")
        } catch {
            complain("\(error)")
            throw ExitCode.failure
        }
    }

    private func open(
        _ memory: UnsafeMutableRawBufferPointer, _ options: InitiatorOptions
    ) throws(InitiatorError) -> InitiatorPool {
        let target = try TargetAddress(target)
        switch action {
        case .open:
            return try InitiatorPool.open(
                target: target, poolSet: poolSet, memory: memory, lanes: lanes, options: options)
        case .create:
            return try InitiatorPool.create(
                target: target, poolSet: poolSet, memory: memory, lanes: lanes,
                attributes: PoolAttributes(
                    signature: SIMD8("VMREPLIC".utf8), major: 1, compatFeatures: compat, incompatFeatures: incompat),
                options: options)
        }
    }

    private func write(to pool: InitiatorPool, _ memory: UnsafeMutableRawBufferPointer) throws(InitiatorError) {
        guard let data else { return }
        guard let file = fopen(data, "r") else { throw .invalidArgument("\(data) cannot be read") }
        defer { fclose(file) }
        let count = fread(memory.baseAddress! + at.count, 1, memory.count - at.count, file)
        var done = 0
        var lane = 0
        while done < count {
            let length = min(chunk.count, count - done)
            let offset = at.count + done
            do throws(InitiatorError) {
                switch mode {
                case .atomic: try pool.persist(offset: offset, length: length, lane: lane)
                case .relaxed: try pool.persist(offset: offset, length: length, lane: lane, mode: .relaxed)
                case .deep: try pool.deepPersist(offset: offset, length: length, lane: lane)
                }
            } catch {
                say("acknowledged \(done) bytes at \(at.count)")
                throw error
            }
            done += length
            lane = (lane + 1) % pool.lanes
        }
        say("wrote \(count) bytes at \(at.count)")
    }

    private func read(from pool: InitiatorPool, _ memory: UnsafeMutableRawBufferPointer) throws(InitiatorError) {
        guard let output else { return }
        guard let file = fopen(output, "w") else { throw .invalidArgument("\(output) cannot be written") }
        defer { fclose(file) }
        let (at, length) = (at.count, length.count)
        let place = UnsafeMutableRawBufferPointer(rebasing: memory[at..<at + length])
        try pool.read(into: place, offset: at, lane: 0)
        if fwrite(place.baseAddress!, 1, length, file) != length {
            throw .invalidArgument("\(output) cannot be written")
        }
        say("read \(length) bytes at \(at)")
    }

    private func say(_ text: String) {
        print(text)
        fflush(nil)
    }

    private func complain(_ text: String) {
        let line = "vm-initiator: \(text)\n"
        _ = line.withCString { Glibc.write(2, $0, strlen($0)) }
    }
}

extension SIMD8<UInt8> {
    init(_ bytes: some Collection<UInt8>) {
        self.init(repeating: 0)
        for (index, byte) in bytes.prefix(8).enumerated() { self[index] = byte }
    }
}

/// A number of bytes, as people write it: 4096, 64K, 3M, 2G.
struct Bytes: ExpressibleByArgument {
    var count: Int

    init(count: Int) { self.count = count }

    init?(argument: String) {
        let units: [Character: Int] = ["K": 10, "M": 20, "G": 30]
        let shift = argument.last.flatMap { units[$0] }
        guard let number = Int(shift == nil ? argument : String(argument.dropLast())), number >= 0 else { return nil }
        count = number << (shift ?? 0)
    }

    var defaultValueDescription: String { "\(count)" }
}
