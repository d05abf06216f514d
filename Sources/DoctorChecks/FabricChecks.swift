import Fabric
import Glibc
import TargetReports

/// libfabric, the providers of both ends, and the lane that was tried.
package enum FabricChecks {
    /// Loads libfabric.
    ///
    /// - Parameter more: What else is loaded already, for the text.
    package static func libraries(_ machine: ReportedCheck.Machine, more: String = "") -> ReportedCheck {
        do throws(FabricError) {
            let version = try FabricLibrary.shared().version
            return ReportedCheck(.libraries, machine, .ok, "libfabric \(version)\(more)")
        } catch {
            return unusableLibrary(machine, error)
        }
    }

    static func unusableLibrary(_ machine: ReportedCheck.Machine, _ error: FabricError) -> ReportedCheck {
        ReportedCheck(
            .libraries, machine, .fail, "libfabric cannot be loaded: \(error.detail ?? "\(error)")",
            remedy: FabricLibrary.remedy(for: error, root: "sudo "))
    }

    /// What this end has of providers.
    package struct OwnProviders: Sendable {
        /// Those that the environment enables, in the order in which they are tried.
        package var enabled: [String]
        /// The first one that libfabric has for the target's host; nil when there is none.
        package var chosen: String?
        /// The one that a session goes on with where the target does not have the first one; nil when there is none.
        package var next: String?
        /// Why there is no first one.
        package var problem: String?

        package init(enabled: [String], chosen: String?, next: String? = nil, problem: String?) {
            self.enabled = enabled
            self.chosen = chosen
            self.next = next
            self.problem = problem
        }

        /// The provider of sessions.
        ///
        /// - Parameter offered: nil when the target did not answer.
        package func used(_ offered: [DoctorListener]?) -> String? {
            guard let offered, let next else { return chosen }
            let there = offered.filter { $0.problem == nil }.map(\.provider)
            return chosen.map { !there.contains($0) && there.contains(next) ? next : $0 }
        }
    }

    /// Whether both ends have the provider that a session would ask for.
    ///
    /// - Parameter offered: nil when the target did not answer.
    package static func providers(_ own: OwnProviders, offered: [DoctorListener]?) -> [ReportedCheck] {
        guard let chosen = own.chosen else {
            let other = offered?.first { $0.problem == nil && !own.enabled.contains($0.provider) }?.provider ?? "tcp"
            return [
                ReportedCheck(
                    .providers, .initiator, .fail, own.problem ?? "no provider is enabled",
                    remedy: "enable one that both machines have: `export \(variable(other))=1`")
            ]
        }
        let here = ReportedCheck(
            .providers, .initiator, .ok, "\(chosen) is the first that is enabled and possible here")
        guard let offered else { return [here] }
        let there = offered.filter { $0.problem == nil }.map(\.provider)
        if there.contains(chosen) {
            return [here, ReportedCheck(.providers, .target, .ok, "possible there: \(there.joined(separator: ", "))")]
        }
        let listener = offered.first { $0.provider == chosen }
        var remedies: [String] = []
        if let setting = listener?.setting { remedies.append("correct the setting \(setting) there") }
        if let common = own.enabled.first(where: { there.contains($0) }) {
            remedies.append("leave it out on the initiator, so that \(common) is used: `export \(variable(chosen))=0`")
        } else if let other = there.first(where: { $0 != "verbs" }) {
            remedies.append("use \(other) on the initiator: `export \(variable(chosen))=0 \(variable(other))=1`")
        }
        let used = own.used(offered).flatMap { $0 == chosen ? nil : $0 }
        return [
            here,
            ReportedCheck(
                .providers, .target, used == nil ? .fail : .warn,
                "a session asks for \(chosen), which the target has not: \(listener?.problem ?? "it does not know it")"
                    + (used.map { "; it logs in again, and uses \($0)" } ?? ""),
                remedy: remedies.isEmpty ? "make \(chosen) possible there" : remedies.joined(separator: "; or ")),
        ]
    }

    /// What PMDK's rpmemd has, which tells nothing of itself: verbs where there are devices, and sockets.
    package static let listenersOfPMDK = [
        DoctorListener(provider: "sockets"), DoctorListener(provider: "tcp", problem: "PMDK's rpmemd has no tcp"),
    ]

    /// As ``providers(_:offered:)`` for a target that is PMDK's rpmemd.
    package static func providersOfPMDK(_ own: OwnProviders) -> [ReportedCheck] {
        if own.chosen == "tcp" { return providers(own, offered: listenersOfPMDK) }
        return providers(own, offered: nil)
            + [ReportedCheck(.providers, .target, .skip, "PMDK's rpmemd does not tell what it has")]
    }

    private static func variable(_ provider: String) -> String { "RPMEM_ENABLE_\(provider.uppercased())" }

    /// A lane that was tried, without a pool.
    package struct Trial: Sendable {
        package var provider: String
        package var host: String
        package var port: UInt16
        /// nil when the lane was connected.
        package var failure: String?
        package var milliseconds: Int

        package init(provider: String, host: String, port: UInt16, failure: String?, milliseconds: Int) {
            self.provider = provider
            self.host = host
            self.port = port
            self.failure = failure
            self.milliseconds = milliseconds
        }
    }

    /// - Parameters:
    ///   - isChosen: Whether a session would use this provider.
    ///   - refusal: What the target said when it refused a lane of this provider.
    package static func inBand(_ trial: Trial, isChosen: Bool, refusal: DoctorRefusal?) -> ReportedCheck {
        let place = "\(trial.provider): \(trial.host) port \(trial.port)"
        guard let failure = trial.failure else {
            return ReportedCheck(
                .inBand, .initiator, .ok, "\(place): a lane was connected within \(trial.milliseconds) ms")
        }
        let remedy =
            if refusal?.kind == .peer {
                "where lanes come from another address than ssh, as over a jump host: `in-band-peer = any` in the target's "
                    + "rpmemd.conf"
            } else if refusal != nil {
                "run `rpmemctl doctor` again; if the target refuses again, correct there what it says"
            } else if failure.contains(String(cString: strerror(ENODEV))) {
                "name the target by an address of its RDMA device: `fi_info -p verbs` there lists those that libfabric finds"
            } else {
                "let the port through the firewalls; `port-range` in the target's rpmemd.conf says which it is. Where lanes have "
                    + "a network of their own, set `in-band-address` there, and name the target by that address"
            }
        return ReportedCheck(
            .inBand, .initiator, isChosen ? .fail : .warn, "\(place): \(refusal?.text ?? failure)", remedy: remedy)
    }

    /// Whether the target grants what the initiator leaves out: the secret that its lanes show.
    ///
    /// - Parameters:
    ///   - isRequired: Whether the target's `in-band-secret` is `require`.
    ///   - isOffered: Whether sessions of this machine offer extensions to the target.
    /// - Returns: nil when sessions are not refused for it.
    package static func secret(isRequired: Bool, isOffered: Bool) -> ReportedCheck? {
        if !isRequired || isOffered { return nil }
        return ReportedCheck(
            .inBand, .initiator, .fail,
            "the target refuses to create and open pools: in-band-secret = require there, and RPMEM_EXTENSIONS=0 here leaves "
                + "the secret out",
            remedy: "`unset RPMEM_EXTENSIONS`; or set `in-band-secret = auto` in the target's rpmemd.conf")
    }

    /// What one question for the target's clock tells.
    ///
    /// - Parameters:
    ///   - clock: The target's answer, in nanoseconds. It can be any number.
    ///   - sent: When this machine asked, by its own clock.
    ///   - received: When it had the answer.
    /// - Returns: Nanoseconds by which the target's clock is ahead, and half of the round trip; nil when they are no numbers
    ///   that a clock can have.
    package static func compare(
        clock: Int64, sent: Int64, received: Int64
    ) -> (offset: Int64, uncertainty: Int64)? {
        let (trip, isTooLong) = received.subtractingReportingOverflow(sent)
        // This machine's clock was set back meanwhile.
        if isTooLong || trip < 0 { return nil }
        let (offset, isTooFar) = clock.subtractingReportingOverflow(sent + trip / 2)
        return isTooFar ? nil : (offset, trip / 2)
    }

    /// - Parameters:
    ///   - offset: Nanoseconds by which the target's clock is ahead.
    ///   - uncertainty: Nanoseconds, not negative: half of the round trip.
    package static func clocks(offset: Int64, uncertainty: Int64) -> ReportedCheck {
        let milliseconds = offset / 1_000_000
        let text =
            "the target's clock is \(milliseconds.magnitude) ms \(milliseconds < 0 ? "behind" : "ahead"), within "
            + "\(uncertainty / 1_000_000 + 1) ms"
        if offset.magnitude <= uncertainty.magnitude + 2_000_000_000 {
            return ReportedCheck(.clocks, .target, .ok, text)
        }
        return ReportedCheck(
            .clocks, .target, .warn, "\(text): times in logs and pool headers do not match",
            remedy: "on the machine whose clock is wrong: `sudo timedatectl set-ntp true`")
    }
}
