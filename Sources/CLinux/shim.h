// Linux calls and constants that Glibc's overlay lacks or hides behind macros and variadic functions.
#ifndef RPMEM_CLINUX_SHIM_H
#define RPMEM_CLINUX_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/openat2.h>

/// openat2(2): descriptor or -1 with errno.
static inline int rpmem_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static const uint64_t rpmem_resolve_beneath = RESOLVE_BENEATH;
static const uint64_t rpmem_resolve_no_magiclinks = RESOLVE_NO_MAGICLINKS;

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

/// pthread_setname_np for the calling thread; at most 15 bytes count.
static inline void rpmem_name_this_thread(const char *name) { (void)pthread_setname_np(pthread_self(), name); }

static inline int rpmem_wifexited(int status) { return WIFEXITED(status); }
static inline int rpmem_wexitstatus(int status) { return WEXITSTATUS(status); }
static inline int rpmem_wifsignaled(int status) { return WIFSIGNALED(status); }
static inline int rpmem_wtermsig(int status) { return WTERMSIG(status); }

/// posix_spawn_file_actions_addclosefrom_np(3), which is declared for GNU sources only. Untyped, since <spawn.h> would
/// bring in a second fd_set.
extern int posix_spawn_file_actions_addclosefrom_np(void *actions, int from);

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

#endif
