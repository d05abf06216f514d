import Glibc
import RpmemInitiator
import SystemSupport
import TestSupport

/// The initiator of the power loss case, on a machine that stays on. It replicates to several pools of a target until the target
/// loses its power, waits until the target is up again, and compares the pools with the acknowledged records.
///
/// With `resume`, the sessions outlive the losses instead.
///
/// usage: power-loss-initiator ADDRESS LOSSES SEED [resume]
@main struct PowerLossInitiator {
    static func main() {
        let arguments = CommandLine.arguments
        let resumes = arguments.count == 5 && arguments[4] == "resume"
        guard arguments.count == 4 || resumes, let losses = Int(arguments[2]), let seed = UInt64(arguments[3]) else {
            print("usage: power-loss-initiator ADDRESS LOSSES SEED [resume]")
            exit(2)
        }
        do {
            let target = try Target(address: arguments[1])
            do {
                if resumes { return try ResumeCampaign(target: target, seed: seed).run(losses: losses) }
                let campaign = try Campaign(target: target, seed: seed)
                for round in 0..<losses { try campaign.writeUntilCutOff(round) }
                try campaign.finish(round: losses)
            } catch {
                // The target may be off. A thread that waits for it ends by its time-out.
                try target.tell("failed\n\(error)")
                exit(1)
            }
        } catch {
            print(error)
            exit(1)
        }
    }
}
