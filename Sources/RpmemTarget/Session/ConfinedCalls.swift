import CLinux
import Glibc
import RpmemProtocol
import SystemSupport

/// The system calls that a session makes once its lanes are listened for: its own, and those of the Swift runtime, glibc, libfabric
/// and its providers, libpmem, libibverbs and librdmacm. strace(1) of sessions in all ways of working has shown them.
enum ConfinedCalls {
    /// A filter that allows what a session over this provider needs; with nil, what the digest of a pool needs.
    static func filter(for provider: Provider?) -> SystemCallFilter {
        var filter = SystemCallFilter(
            allowing: hot + files + memory + process + (provider == nil ? [SYS_connect] : network))
        // Syslog and the journal are sockets of UNIX datagrams. Streams would reach the user's service manager, which starts any
        // program, and ssh-agent; a name server's cache does without.
        let unix = SystemCallFilter.Condition.argument(0, isOneOf: [UInt32(AF_UNIX)])
        filter.allow(
            SYS_socket, if: [unix, .argument(1, mask: 0xf, isOneOf: [SOCK_DGRAM.rawValue])], otherwise: .next)
        filter.refuse(SYS_socket, if: [unix], with: EACCES)
        // libfabric wakes its threads by them.
        if provider != nil { filter.allow(SYS_socketpair, if: [unix]) }
        switch provider {
        case nil, .tcp: break
        case .sockets:
            // A listener of its own for each lane, whose address getifaddrs(3) asks for over netlink.
            Self.allowConnections(&filter)
            for number in [SYS_bind, SYS_listen] { filter.allow(number, if: []) }
        case .verbs:
            // librdmacm asks the kernel over netlink.
            Self.allowConnections(&filter)
            filter.allow(SYS_bind, if: [])
        }
        // Signals to the owner of a descriptor would reach every process of the user before Linux 6.12, and TIOCSTI a terminal.
        filter.allow(SYS_fcntl, if: [.argument(1, isNoneOf: Self.signallingCommands)])
        filter.allow(SYS_ioctl, if: [.argument(1, isNoneOf: Self.signallingControls)])
        // Threads alone, and in no new namespace.
        let threads = UInt32(CLONE_THREAD)
        filter.allow(SYS_clone, if: [.argument(0, mask: threads | Self.newNamespaces, isOneOf: [threads])])
        filter.refuse(SYS_clone3, with: ENOSYS)
        // abort(3) and raise(3): signals to this process alone.
        for number in [SYS_tgkill, SYS_kill] {
            filter.allow(number, if: [.argument(0, isOneOf: [UInt32(getpid())])])
        }
        filter.allow(SYS_rt_sigaction, if: [.argument(0, isNoneOf: [UInt32(SIGSYS)])], otherwise: .kill)
        // Names of threads, and those that glibc gives to memory.
        filter.allow(
            SYS_prctl, if: [.argument(0, isOneOf: [UInt32(PR_SET_NAME), UInt32(PR_GET_NAME), UInt32(PR_SET_VMA)])])
        // Limits are asked for, not set.
        filter.allow(SYS_prlimit64, if: [.upperHalfIsZero(2), .argument(2, isOneOf: [0])])
        // A library that loads another one now is refused, and can go on without.
        for number in [SYS_mmap, SYS_mprotect] {
            filter.allow(
                number, if: [.argument(2, mask: UInt32(PROT_EXEC), isOneOf: [0])], otherwise: .fail(UInt32(EPERM)))
        }
        return filter
    }

    /// Sockets of IP, but for protocols that Landlock does not know as TCP; and of netlink, for addresses and RDMA devices.
    private static func allowConnections(_ filter: inout SystemCallFilter) {
        filter.allow(
            SYS_socket,
            if: [
                .argument(0, isOneOf: [AF_INET, AF_INET6, AF_NETLINK].map(UInt32.init)),
                .argument(2, isOneOf: [IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, netlinkRDMA].map(UInt32.init)),
            ])
    }

    private static let netlinkRDMA = 20
    // CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET. clone(2) has no CLONE_NEWTIME.
    private static let newNamespaces: UInt32 = 0x7e02_0000
    // F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE.
    private static let signallingCommands: [UInt32] = [8, 10, 15, 1024]
    // FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX.
    private static let signallingControls: [UInt32] = [0x8901, 0x8902, 0x5412, 0x541c]

    /// Those of the data plane, first.
    private static let hot: [Int32] =
        olderHot + [
            SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_msync,
            SYS_fstatfs, SYS_read, SYS_write,
            SYS_futex, SYS_ppoll, SYS_sched_yield, SYS_clock_gettime, SYS_epoll_ctl,
        ]

    private static let files: [Int32] =
        olderFiles + [
            SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64,
            SYS_preadv,
            SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_fsync, SYS_fdatasync, SYS_syncfs,
            SYS_sync_file_range,
            SYS_fadvise64, SYS_fallocate, SYS_ftruncate, SYS_flock, SYS_fstat, SYS_newfstatat, SYS_statx,
            SYS_statfs, SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_getdents64, SYS_unlinkat, SYS_dup, SYS_dup3,
            SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_eventfd2, SYS_epoll_create1, SYS_pipe2,
            SYS_pselect6,
            // A part's writer token.
            SYS_fgetxattr, SYS_fsetxattr, SYS_fremovexattr, SYS_renameat, SYS_renameat2,
            // libsystemd passes an entry in a file of memory when the journal's socket takes no message.
            SYS_memfd_create,
        ]

    private static let memory: [Int32] = [
        SYS_munmap, SYS_madvise, SYS_brk, SYS_mremap, SYS_mincore, SYS_mlock, SYS_munlock, SYS_membarrier,
    ]

    private static let process: [Int32] = [
        SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_sigaltstack, SYS_restart_syscall, SYS_exit,
        SYS_exit_group, SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_set_tid_address, SYS_gettid, SYS_getpid,
        SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrusage, SYS_times, SYS_sched_getaffinity,
        SYS_sched_getparam, SYS_sched_getscheduler, SYS_sysinfo, SYS_uname, SYS_getcpu, SYS_nanosleep,
        SYS_clock_nanosleep,
        SYS_clock_getres, SYS_gettimeofday, SYS_getrandom, SYS_get_mempolicy,
    ]

    /// On connections that are there or come in. connect(2) is for syslog: the filter allows UNIX sockets, and Landlock no connection
    /// over TCP.
    private static let network: [Int32] = [
        SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockname, SYS_getpeername, SYS_getsockopt,
        SYS_setsockopt,
    ]

    // Calls that newer architectures do without.
    #if arch(x86_64)
        private static let olderHot: [Int32] = [SYS_epoll_wait, SYS_poll]
        private static let olderFiles: [Int32] = [
            SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_unlink, SYS_pipe, SYS_eventfd,
            SYS_epoll_create,
            SYS_select, SYS_dup2, SYS_getdents, SYS_time,
        ]
        private static let olderNames: [(number: Int32, name: String)] = [
            (SYS_fork, "fork"), (SYS_vfork, "vfork"), (SYS_rename, "rename"), (SYS_mkdir, "mkdir"),
            (SYS_chmod, "chmod"),
            (SYS_link, "link"), (SYS_symlink, "symlink"), (SYS_creat, "creat"), (SYS_arch_prctl, "arch_prctl"),
        ]
    #else
        private static let olderHot: [Int32] = []
        private static let olderFiles: [Int32] = []
        private static let olderNames: [(number: Int32, name: String)] = []
    #endif

    /// Names of calls that the filter does not allow, or not always, for messages.
    static let names: [(number: Int32, name: String)] =
        olderNames + [
            (SYS_execve, "execve"), (SYS_execveat, "execveat"), (SYS_clone, "clone"), (SYS_ptrace, "ptrace"),
            (SYS_process_vm_readv, "process_vm_readv"), (SYS_process_vm_writev, "process_vm_writev"),
            (SYS_socket, "socket"), (SYS_socketpair, "socketpair"), (SYS_fcntl, "fcntl"), (SYS_ioctl, "ioctl"),
            (SYS_bind, "bind"),
            (SYS_listen, "listen"), (SYS_kill, "kill"),
            (SYS_tkill, "tkill"),
            (SYS_tgkill, "tgkill"), (SYS_prctl, "prctl"), (SYS_prlimit64, "prlimit64"), (SYS_setrlimit, "setrlimit"),
            (SYS_mount, "mount"), (SYS_umount2, "umount2"), (SYS_bpf, "bpf"), (SYS_seccomp, "seccomp"),
            (SYS_keyctl, "keyctl"), (SYS_add_key, "add_key"), (SYS_request_key, "request_key"),
            (SYS_io_uring_setup, "io_uring_setup"), (SYS_io_uring_enter, "io_uring_enter"),
            (SYS_io_uring_register, "io_uring_register"), (SYS_io_setup, "io_setup"), (SYS_unshare, "unshare"),
            (SYS_setns, "setns"), (SYS_chroot, "chroot"), (SYS_pivot_root, "pivot_root"),
            (SYS_userfaultfd, "userfaultfd"), (SYS_perf_event_open, "perf_event_open"),
            (SYS_personality, "personality"), (SYS_pidfd_open, "pidfd_open"),
            (SYS_pidfd_getfd, "pidfd_getfd"), (SYS_pidfd_send_signal, "pidfd_send_signal"),
            (SYS_renameat, "renameat"), (SYS_renameat2, "renameat2"), (SYS_linkat, "linkat"),
            (SYS_symlinkat, "symlinkat"), (SYS_mkdirat, "mkdirat"), (SYS_mknodat, "mknodat"),
            (SYS_fchmod, "fchmod"), (SYS_fchmodat, "fchmodat"), (SYS_fchown, "fchown"), (SYS_fchownat, "fchownat"),
            (SYS_truncate, "truncate"), (SYS_setuid, "setuid"), (SYS_setresuid, "setresuid"), (SYS_capset, "capset"),
            (SYS_chdir, "chdir"), (SYS_setsid, "setsid"), (SYS_wait4, "wait4"), (SYS_waitid, "waitid"),
            (SYS_sched_setaffinity, "sched_setaffinity"), (SYS_sched_setscheduler, "sched_setscheduler"),
            (SYS_pkey_mprotect, "pkey_mprotect"), (SYS_mlock2, "mlock2"), (SYS_timerfd_create, "timerfd_create"),
            (SYS_accept4, "accept4"),
            (SYS_signalfd4, "signalfd4"), (SYS_splice, "splice"), (SYS_sendfile, "sendfile"),
            (SYS_recvmmsg, "recvmmsg"), (SYS_sendmmsg, "sendmmsg"), (SYS_umask, "umask"), (SYS_mbind, "mbind"),
        ]
}
