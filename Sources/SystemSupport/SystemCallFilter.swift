import CLinux
import Glibc

/// A seccomp(2) filter on the system calls of this process. A call that it does not allow is not carried out: the calling thread
/// gets SIGSYS.
///
/// A call whose number is newer than ``newestNumber`` fails with ENOSYS, and so does clone3(2), whose flags a filter cannot see:
/// the C library then takes an older one.
package struct SystemCallFilter {
    /// When a call is allowed, by one of its arguments. All conditions of a call must hold.
    package struct Condition {
        /// From 0.
        let argument: Int
        let mask: UInt32
        let values: [UInt32]
        /// Whether the masked argument must be one of the values, or none of them.
        let isOneOf: Bool
        /// Bytes from the argument's start; 4 for its upper half.
        let offset: Int

        /// The lower half of the argument, with the mask applied, is one of the values.
        package static func argument(_ argument: Int, mask: UInt32 = .max, isOneOf values: [UInt32]) -> Condition {
            Condition(argument: argument, mask: mask, values: values, isOneOf: true, offset: 0)
        }

        /// It is none of them.
        package static func argument(_ argument: Int, mask: UInt32 = .max, isNoneOf values: [UInt32]) -> Condition {
            Condition(argument: argument, mask: mask, values: values, isOneOf: false, offset: 0)
        }

        /// The upper half is zero.
        package static func upperHalfIsZero(_ argument: Int) -> Condition {
            Condition(argument: argument, mask: .max, values: [0], isOneOf: true, offset: 4)
        }
    }

    /// What happens to a call whose conditions do not hold.
    package enum Otherwise {
        case trap
        /// It fails with this errno.
        case fail(UInt32)
        /// The process is killed.
        case kill
        /// What is added for the call later decides.
        case next

        fileprivate var action: UInt32? {
            switch self {
            case .next: nil
            case .trap: rpmem_seccomp_trap
            case .fail(let code): rpmem_seccomp_error | code
            case .kill: rpmem_seccomp_kill
            }
        }
    }

    /// The last number of Linux 5.17, of the kernels that the calls were looked at for.
    package static let newestNumber: UInt32 = 450

    private var program: [sock_filter]

    /// Whether a filter can be made for this architecture.
    package static var isPossible: Bool { rpmem_audit_architecture != 0 }

    /// - Parameter allowed: Numbers (`SYS_read`). The kernel compares them in this order, before Linux 5.11 at each call.
    package init(allowing allowed: [Int32]) {
        // struct seccomp_data: the number, then the architecture, then the instruction's address, then the arguments.
        program = [
            Self.load(4), Self.jump(BPF_JEQ, rpmem_audit_architecture, then: 1), Self.answer(rpmem_seccomp_kill),
            Self.load(0),
        ]
        for number in allowed {
            program += [Self.jump(BPF_JEQ, UInt32(number), otherwise: 1), Self.answer(rpmem_seccomp_allow)]
        }
    }

    /// Allows a call under conditions.
    package mutating func allow(_ number: Int32, if conditions: [Condition], otherwise: Otherwise = .trap) {
        add(number, conditions, rpmem_seccomp_allow, otherwise)
    }

    /// Has a call fail with an errno under conditions, or always. Otherwise what is added for it later decides.
    package mutating func refuse(_ number: Int32, if conditions: [Condition] = [], with code: Int32) {
        add(number, conditions, rpmem_seccomp_error | UInt32(code), .next)
    }

    private mutating func add(
        _ number: Int32, _ conditions: [Condition], _ action: UInt32, _ otherwise: Otherwise
    ) {
        var block: [sock_filter] = []
        // Where `.next` leaves the block, once its length is known.
        var exits: [Int] = []
        func refusal() -> sock_filter {
            if let action = otherwise.action { return Self.answer(action) }
            exits.append(block.count)
            return Self.jump(BPF_JA, 0)
        }
        for condition in conditions {
            block.append(Self.load(16 + 8 * condition.argument + condition.offset))
            if condition.mask != .max { block.append(Self.instruction(BPF_ALU | BPF_AND | BPF_K, condition.mask)) }
            for (index, value) in condition.values.enumerated() {
                // A match leads past one instruction behind the list: the refusal, or the jump past it.
                block.append(Self.jump(BPF_JEQ, value, then: condition.values.count - index))
            }
            if !condition.isOneOf { block.append(Self.jump(BPF_JA, 1)) }
            block.append(refusal())
        }
        block.append(Self.answer(action))
        for exit in exits { block[exit] = Self.jump(BPF_JA, UInt32(block.count - exit - 1)) }
        // What follows compares the number.
        if !exits.isEmpty { block.append(Self.load(0)) }
        program.append(Self.jump(BPF_JEQ, UInt32(number), otherwise: block.count))
        program += block
    }

    /// Lays the filter on all threads of this process, for ever. The calling thread has `PR_SET_NO_NEW_PRIVS`.
    ///
    /// - Throws: ENOSYS or EINVAL where the kernel has no filters.
    package func apply() throws(SystemCallError) {
        var whole = program
        // x32's numbers have bit 30; no program of this architecture makes such calls.
        whole += [
            Self.jump(BPF_JGE, 0x4000_0000, otherwise: 1), Self.answer(rpmem_seccomp_kill),
            Self.jump(BPF_JGT, Self.newestNumber, otherwise: 1), Self.answer(rpmem_seccomp_error | UInt32(ENOSYS)),
            Self.answer(rpmem_seccomp_trap),
        ]
        let result = whole.withUnsafeMutableBufferPointer { buffer in
            var filter = sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
            return rpmem_filter_system_calls(&filter)
        }
        if result < 0 { throw .last("seccomp") }
        if result > 0 { throw SystemCallError("seccomp", on: "thread \(result)", errno: .permissionDenied) }
    }

    // MARK: Instructions

    private static func instruction(_ code: Int32, _ operand: UInt32, then: Int = 0, otherwise: Int = 0) -> sock_filter
    {
        sock_filter(code: UInt16(code), jt: UInt8(then), jf: UInt8(otherwise), k: operand)
    }

    private static func load(_ offset: Int) -> sock_filter { instruction(BPF_LD | BPF_W | BPF_ABS, UInt32(offset)) }

    private static func answer(_ action: UInt32) -> sock_filter { instruction(BPF_RET | BPF_K, action) }

    /// - Parameters:
    ///   - then: Instructions to skip when the comparison holds.
    ///   - otherwise: Instructions to skip when it does not.
    private static func jump(_ kind: Int32, _ operand: UInt32, then: Int = 0, otherwise: Int = 0) -> sock_filter {
        instruction(BPF_JMP | BPF_K | kind, operand, then: then, otherwise: otherwise)
    }
}
