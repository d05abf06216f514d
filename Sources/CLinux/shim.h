// Linux calls and constants that Glibc's overlay lacks or hides behind macros and variadic functions.
#ifndef RPMEM_CLINUX_SHIM_H
#define RPMEM_CLINUX_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
// Glibc's overlay is made without _GNU_SOURCE. Only so has fd_set the member that it has there, and Swift compares the two.
#include <features.h>
#undef __USE_XOPEN
#include <sys/select.h>
#define __USE_XOPEN 1
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/sock_diag.h>

/// openat2(2): descriptor or -1 with errno.
static inline int rpmem_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static const uint64_t rpmem_resolve_beneath = RESOLVE_BENEATH;
static const uint64_t rpmem_resolve_no_magiclinks = RESOLVE_NO_MAGICLINKS;

/// Where the network header starts in a socket filter's packet (linux/filter.h).
static const uint32_t rpmem_skf_net_off = (uint32_t)SKF_NET_OFF;

/// flock(2); Swift sees only the structure of that name.
static inline int rpmem_flock(int fd, int operation) { return flock(fd, operation); }

/// O_TMPFILE is made of other macros.
static const int rpmem_o_tmpfile = O_TMPFILE;
static const int rpmem_o_path = O_PATH;
static const int rpmem_o_nofollow = O_NOFOLLOW;

/// syncfs(2): 0, or -1 with errno, which since Linux 5.8 tells of any write to the file system that failed.
static inline int rpmem_syncfs(int fd) { return syncfs(fd); }

/// fallocate(2), and its mode that gives blocks back.
static const int rpmem_fallocate_punch_hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
static inline int rpmem_fallocate(int fd, int mode, int64_t offset, int64_t length) {
    return fallocate(fd, mode, offset, length);
}

/// pwrite(2) that makes these bytes durable, and no others of the file (RWF_DSYNC): bytes written, or -1 with errno.
static inline ssize_t rpmem_pwrite_durably(int fd, const void *bytes, size_t count, int64_t offset) {
    // An iovec(3type): <sys/uio.h> would bring an fd_set that is not the Glibc module's.
    const struct { const void *base; size_t length; } vector = {bytes, count};
    return syscall(SYS_pwritev2, fd, &vector, 1L, (long)offset, 0L, RWF_DSYNC);
}

/// Reports a failed write-back of the file that this open file has not been told of: 0, or -1 with errno. There is no
/// page at this offset, so that sync_file_range(2) has nothing to write or to wait for.
static inline int rpmem_report_write_back(int fd) {
    return sync_file_range(fd, (off64_t)1 << 60, 1, SYNC_FILE_RANGE_WAIT_BEFORE);
}

/// 1 when a file is on overlayfs, 0 when it is not, -1 with errno when the kernel does not say.
static inline int rpmem_is_on_overlay(int fd) {
    struct statfs status;
    return fstatfs(fd, &status) != 0 ? -1 : status.f_type == OVERLAYFS_SUPER_MAGIC;
}

/// 1 when a file is in memory only (tmpfs or ramfs), 0 when it is not, -1 with errno when the kernel does not say.
static inline int rpmem_is_in_memory(int fd) {
    struct statfs status;
    return fstatfs(fd, &status) != 0 ? -1 : status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

/// EROFS when the file's file system is read-only now, 0 when it is not, and otherwise the errno of fstatfs(2).
static inline int rpmem_read_only(int fd) {
    struct statfs status;
    if (fstatfs(fd, &status) != 0) return errno;
    return status.f_flags & ST_RDONLY ? EROFS : 0;
}

/// The system calls behind send(2), recv(2), sendmsg(2) and recvmsg(2), for a program that defines these functions itself.
/// `message` is a `struct msghdr *`.
static inline ssize_t rpmem_system_send(int fd, const void *bytes, size_t count, int flags) {
    return syscall(SYS_sendto, fd, bytes, count, flags, NULL, 0);
}
static inline ssize_t rpmem_system_recv(int fd, void *bytes, size_t count, int flags) {
    return syscall(SYS_recvfrom, fd, bytes, count, flags, NULL, NULL);
}
static inline ssize_t rpmem_system_sendmsg(int fd, const void *message, int flags) {
    return syscall(SYS_sendmsg, fd, message, flags);
}
static inline ssize_t rpmem_system_recvmsg(int fd, void *message, int flags) {
    return syscall(SYS_recvmsg, fd, message, flags);
}

/// Whether the kernel can read this process's byte at `address`: it copies the byte into a pipe, or fails with EFAULT.
static inline _Bool rpmem_can_read(const void *address) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return 1;
    _Bool can = write(ends[1], address, 1) == 1 || errno != EFAULT;
    close(ends[0]);
    close(ends[1]);
    return can;
}

/// The whence of lseek(2) for the next data in a sparse file.
static const int rpmem_seek_data = SEEK_DATA;

/// Parts of a device number.
static inline uint32_t rpmem_major(uint64_t device) { return major(device); }
static inline uint32_t rpmem_minor(uint64_t device) { return minor(device); }

/// MAP_SHARED_VALIDATE | MAP_SYNC, which Glibc's overlay may not define.
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
static const int rpmem_map_shared_sync = MAP_SHARED_VALIDATE | MAP_SYNC;

/// dlvsym(3), which is declared for GNU sources only.
extern void *dlvsym(void *handle, const char *symbol, const char *version);

/// The start of what dl_iterate_phdr(3) hands to its callback. Not from <link.h>, which would bring in a second fd_set.
struct rpmem_loaded_object {
    uintptr_t bias;
    const char *name;
    const void *headers;   // inside the object
    uint16_t header_count; // of Elf64_Phdr
};
extern int dl_iterate_phdr(int (*callback)(struct rpmem_loaded_object *, size_t, void *), void *data);

/// pthread_setname_np for the calling thread; at most 15 bytes count.
static inline void rpmem_name_this_thread(const char *name) { (void)pthread_setname_np(pthread_self(), name); }

/// Extensions of posix_spawn(3), which are declared for GNU sources only. Untyped, since <spawn.h> would bring in a
/// second fd_set.
extern int posix_spawn_file_actions_addclosefrom_np(void *actions, int from);
extern int posix_spawn_file_actions_addchdir_np(void *actions, const char *directory);

/// Collects a child that has ended: 1 with `code` (CLD_EXITED, CLD_KILLED, ...) and `status` (exit status or signal),
/// 0 when it still runs, a negated errno otherwise (ECHILD: somebody else has collected it).
static inline int rpmem_collect_child(int pidfd, int *code, int *status) {
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) != 0) return -errno;
    if (info.si_pid == 0) return 0;
    *code = info.si_code;
    *status = info.si_status;
    return 1;
}

/// What getopt_long(3) found in one step. It prints nothing; its state is the process's, so one caller at a time.
struct rpmem_option_step {
    int code;             // -1: no more options; '?': not an option, or ambiguous; ':': its argument is missing
    int refused;          // with '?' and ':' the code of the option meant, 0 when there is none
    const char *argument; // of this option, or NULL; points into the arguments
    int next;             // index of the argument that comes next
};

/// `first` starts again from the first argument, with nothing remembered.
static inline struct rpmem_option_step rpmem_next_option(
    int count, char *const *arguments, const char *short_options, const struct option *long_options, int first) {
    if (first) optind = 0;
    opterr = 0;
    optopt = 0;
    int code = getopt_long(count, arguments, short_options, long_options, 0);
    struct rpmem_option_step step = {
        .code = code, .refused = optopt, .argument = optarg, .next = optind};
    return step;
}

/// Takes the argument that comes next for the option just found.
static inline void rpmem_take_next_argument(void) { optind++; }

/// Whether the kernel lets a process say where its arguments are (PR_SET_MM_MAP, CONFIG_CHECKPOINT_RESTORE).
static inline _Bool rpmem_can_move_arguments(void) {
    unsigned size = 0;
    // prctl(2); <sys/prctl.h> would define struct prctl_mm_map once more.
    return syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0;
}

/// Sets the process's addresses (PR_SET_MM_MAP): 0, or -1 with errno. `map.brk` must be the current one, so there is one thread.
static inline int rpmem_set_memory_map(const struct prctl_mm_map *map) {
    return (int)syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, map, sizeof *map, 0);
}

/// The end of the heap, sbrk(0).
static inline uint64_t rpmem_program_break(void) { return (uint64_t)syscall(SYS_brk, 0); }

/// prctl(2) with one argument: 0 or more, or -1 with errno. <sys/prctl.h> would define struct prctl_mm_map once more.
static inline int rpmem_prctl(int option, unsigned long argument) {
    return (int)syscall(SYS_prctl, option, argument, 0, 0, 0);
}

/// Landlock's system calls, which glibc has no functions for. The numbers are those of all architectures.
///
/// The version of the kernel's interface, from 1; -1 with errno when there is none.
static inline int rpmem_landlock_version(void) { return (int)syscall(444, NULL, 0, /* _VERSION */ 1); }
/// landlock_create_ruleset(2): a descriptor, or -1 with errno. Each kernel takes its own `size` of the attributes at most.
static inline int rpmem_landlock_create(uint64_t files, uint64_t ports, uint64_t scopes, size_t size) {
    const struct { uint64_t files, ports, scopes; } handled = {files, ports, scopes};
    return (int)syscall(444, &handled, size, 0);
}
/// landlock_add_rule(2) for what is at or below an open file or directory: 0, or -1 with errno.
static inline int rpmem_landlock_allow(int rules, uint64_t access, int beneath) {
    const struct __attribute__((packed)) { uint64_t access; int32_t beneath; } rule = {access, beneath};
    return (int)syscall(445, rules, /* LANDLOCK_RULE_PATH_BENEATH */ 1, &rule, 0);
}
/// landlock_restrict_self(2) for the calling thread, and those that it starts: 0, or -1 with errno.
static inline int rpmem_landlock_restrict(int rules) { return (int)syscall(446, rules, 0); }

/// Lays a filter on the system calls of all threads (seccomp(2)), without the mitigations that kernels before 5.16 switch on
/// with it: 0, the id of a thread that cannot take it, or -1 with errno.
static inline int rpmem_filter_system_calls(const struct sock_fprog *program) {
    return (int)syscall(
        SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, program);
}
static const uint32_t rpmem_seccomp_allow = SECCOMP_RET_ALLOW;
static const uint32_t rpmem_seccomp_trap = SECCOMP_RET_TRAP;
static const uint32_t rpmem_seccomp_kill = SECCOMP_RET_KILL_PROCESS;
static const uint32_t rpmem_seccomp_error = SECCOMP_RET_ERRNO;
#ifdef __x86_64__
static const uint32_t rpmem_audit_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
static const uint32_t rpmem_audit_architecture = AUDIT_ARCH_AARCH64;
#else
static const uint32_t rpmem_audit_architecture = 0; // no filter is made
#endif

/// Limits the address space of another process, in bytes (prlimit(2), RLIMIT_AS): 0, or -1 with errno.
static inline int rpmem_limit_address_space(pid_t process, uint64_t bytes) {
    struct rlimit64 { uint64_t soft, hard; } limit = {bytes, bytes};
    return (int)syscall(SYS_prlimit64, process, /* RLIMIT_AS */ 9, &limit, NULL);
}

#endif
