import ArgumentParser
import SystemSupport
import TargetReports

/// Shows all that is known of a pool.
struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows all that is known of a pool on a target.",
        usage: "rpmemctl info [[user@]target] set [--json]",
        discussion: "Headers decoded, geometry, shutdown state, bad blocks, persistence. Nothing is locked or changed.")

    @OptionGroup var arguments: SetArguments

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func run() throws {
        let report = try arguments.query.ask(["--info", arguments.set], for: PoolInfoReport.self)
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            var page = Page()
            page.show(report)
            try page.show()
        }
    }
}

extension Page {
    fileprivate mutating func show(_ report: PoolInfoReport) {
        show(report.pool)
        for part in report.parts { show(part) }
        if let state = report.shutdownState { show(state) }
        if let mapping = report.mapping { show(mapping) }
    }

    /// The first lines of `info` and `check`.
    mutating func show(_ pool: ReportedPool) {
        line(.init("\(pool.name):"), .init(pool.state.rawValue, pool.state.colour))
        field(pool.kind == .set ? "pool set file" : "pool", pool.path)
        field("problem", pool.problem, .red)
        field("in use by", pool.state == .inUse ? pool.holder?.text ?? "another process" : nil)
        field("owner", pool.owner)
        field("options", pool.options.isEmpty ? nil : pool.options.joined(separator: ", "))
        field("size", pool.size.map { "\(sizeText($0)) in \(pool.parts) part\(pool.parts == 1 ? "" : "s")" })
        field("size to ask for", pool.usableSize.map { "\($0) bytes (\(sizeText($0))) or less" })
        field("created", pool.created.map(dateText))
        field("signature", pool.signature)
        field("pool set uuid", pool.poolSetUUID)
    }

    private mutating func show(_ part: ReportedPart) {
        line(
            .init("part \(part.path):"),
            .init(part.kind.rawValue, part.kind == .file || part.kind == .device ? nil : .red))
        field("problem", part.problem, .red)
        field("listed on line", part.line.map { "\($0)" })
        field("size in the set", part.configuredSize.map { "\($0) bytes" })
        field("size", part.size.map { "\($0) bytes" })
        if let from = part.mappedFrom, let length = part.mappedLength {
            field("mapped", "\(length) bytes from \(from)")
        }
        field("region", part.region)
        field("persistence domain", part.persistenceDomain)
        if let blocks = part.badBlocks {
            field(
                "bad blocks",
                blocks.isEmpty
                    ? "none known" : blocks.map { "\($0.length) bytes at \($0.offset)" }.joined(separator: ", "),
                blocks.isEmpty ? nil : .red)
        }
        if let header = part.header { show(header) }
    }

    private mutating func show(_ header: ReportedHeader) {
        line(
            .init("  header: checksum"),
            .init(header.checksumValid ? "right" : "wrong", header.checksumValid ? nil : .red))
        field("signature", header.signature, indent: 4)
        field("major version", "\(header.major)", indent: 4)
        let masks = [header.compatFeatures, header.incompatFeatures, header.roCompatFeatures]
        field(
            "features",
            "compat 0x\(String(masks[0], radix: 16)), incompat 0x\(String(masks[1], radix: 16)), "
                + "ro_compat 0x\(String(masks[2], radix: 16))"
                + (header.features.isEmpty ? "" : " (\(header.features.joined(separator: ", ")))"), indent: 4)
        field("pool set uuid", header.poolSetUUID, indent: 4)
        field("uuid", header.uuid, indent: 4)
        field("previous, next part", "\(header.previousPartUUID), \(header.nextPartUUID)", indent: 4)
        field("previous, next replica", "\(header.previousReplicaUUID), \(header.nextReplicaUUID)", indent: 4)
        field("created", dateText(header.created), indent: 4)
        field("user flags", header.userFlags, indent: 4)
    }

    private mutating func show(_ state: ReportedShutdownState) {
        line(.init("shutdown state:"), .init(state.dirty ? "dirty" : "clean", state.dirty ? .yellow : .green))
        field("checksum", state.checksumValid ? "right" : "wrong", state.checksumValid ? nil : .red)
        field(
            "unsafe shutdowns",
            "\(state.unsafeShutdowns) then, \(state.unsafeShutdownsNow.map { "\($0)" } ?? "unknown") now")
        field("devices and counts", state.sameDevices.map { $0 ? "the same as then" : "others than then" })
    }

    private mutating func show(_ mapping: ReportedMapping) {
        line(.init("a session would:"))
        field("map", mapping.kind.rawValue)
        field("persist by", mapping.persist.rawValue)
        field("eADR", mapping.eADR ? "yes" : "no")
        field("persist-apm", mapping.persistAPM)
        field("method over verbs", mapping.method)
        field("method over tcp", mapping.methodOverTCP)
    }
}
