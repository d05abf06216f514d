// Loaded before all other libraries (LD_PRELOAD): counts the calls that one program makes to the C library, to libpmem,
// libpmem2, libndctl and libdaxctl, and, through the tables of functions in its objects, to libfabric. One call fails.
//
//   RPMEM_FAIL_PROGRAM   the name of the program; in others no call is counted or fails
//   RPMEM_FAIL_COUNTS    a file of ENTRIES records of 48 bytes: a name of 44 bytes, and the calls so far, of all processes
//   RPMEM_FAIL_CALL      NAME:N, the call that fails; without it, all calls are only counted
//   RPMEM_FAIL_KILLS     set: the process is killed at this call, and does not carry it out
//   RPMEM_FAIL_REPORT    a file: when the call has failed, the stack is appended
//   RPMEM_FAIL_SANITIZED set when the program has AddressSanitizer, whose functions lie between the caller and these
//
// Calls that release something are carried out, and only report an error: nobody can release it a second time.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "failing-calls.h"

#define ENTRIES 256

struct entry {
    char name[44];
    _Atomic uint32_t count;
};

static struct entry *entries;
static char failing_name[44];
static uint32_t failing_number;
static const char *report;
static int is_sanitized;
static int kills;
static void *own_base;
static uintptr_t text_start, text_end;
static _Thread_local int inside;

static int note_text(struct dl_phdr_info *object, size_t size, void *data) {
    (void)size;
    (void)data;
    // The first object is the program.
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && header->p_flags & PF_X) {
            uintptr_t start = object->dlpi_addr + header->p_vaddr;
            if (text_start == 0 || start < text_start) text_start = start;
            if (start + header->p_memsz > text_end) text_end = start + header->p_memsz;
        }
    }
    return 1;
}

// Open from the start in a daemon, so that its numbers are the same whichever call fails.
static int report_file = -1;

static int open_report(void) {
    return report == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void start(void) {
    const char *program = getenv("RPMEM_FAIL_PROGRAM");
    const char *counts = getenv("RPMEM_FAIL_COUNTS");
    if (program == NULL || counts == NULL || strcmp(program, program_invocation_short_name) != 0) return;
    is_sanitized = getenv("RPMEM_FAIL_SANITIZED") != NULL;
    kills = getenv("RPMEM_FAIL_KILLS") != NULL;
    report = getenv("RPMEM_FAIL_REPORT");
    const char *call = getenv("RPMEM_FAIL_CALL");
    if (call != NULL) sscanf(call, "%43[^:]:%u", failing_name, &failing_number);
    // A confined daemon opens no file that is not its own.
    if (call != NULL && strcmp(program, "rpmemd") == 0) report_file = open_report();
    dl_iterate_phdr(note_text, NULL);
    int file = (int)syscall(SYS_openat, AT_FDCWD, counts, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *address = (void *)syscall(
        SYS_mmap, NULL, ENTRIES * sizeof(struct entry), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    // The first backtrace opens libgcc.
    void *frames[2];
    inside = 1;
    backtrace(frames, 2);
    inside = 0;
    Dl_info own;
    if (dladdr((void *)start, &own) != 0) own_base = own.dli_fbase;
    if (address != MAP_FAILED) entries = address;
}

// All processes of the program give the same name the same place: the first that calls it adds it.
static struct entry *entry_of(const char *name) {
    static atomic_flag lock = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&lock)) {}
    struct entry *found = NULL;
    for (int i = 0; i < ENTRIES && found == NULL; i++) {
        if (entries[i].name[0] == 0) strncpy(entries[i].name, name, sizeof entries[i].name - 1);
        if (strcmp(entries[i].name, name) == 0) found = &entries[i];
    }
    atomic_flag_clear(&lock);
    return found;
}

static void write_report(const char *name, uint32_t number) {
    int file = report_file >= 0 ? report_file : open_report();
    if (file < 0) return;
    char line[128];
    int length = snprintf(line, sizeof line, "%s:%u in process %d\n", name, number, getpid());
    syscall(SYS_write, file, line, (size_t)length);
    void *frames[24];
    backtrace_symbols_fd(frames, backtrace(frames, 24), file);
    if (file != report_file) syscall(SYS_close, file);
}

// The first frame that is neither this library's nor one of AddressSanitizer's stand-ins, which are in the program.
static void *caller_behind_sanitizer(void) {
    void *frames[8] = {0};
    void *caller = NULL;
    inside = 1;
    int count = backtrace(frames, 8);
    for (int i = 0; i < count && caller == NULL; i++) {
        Dl_info place = {0};
        int is_known = dladdr(frames[i], &place);
        if (is_known && place.dli_fbase == own_base) continue;
        if (is_known && place.dli_sname != NULL && strstr(place.dli_sname, "_interceptor_") != NULL) continue;
        caller = frames[i];
    }
    inside = 0;
    return caller;
}

int call_fails(const char *name, struct entry **entry, void *caller, int is_intercepted) {
    if (entries == NULL || inside) return 0;
    if (is_intercepted && is_sanitized) caller = caller_behind_sanitizer();
    if ((uintptr_t)caller < text_start || (uintptr_t)caller >= text_end) return 0;
    int before = errno;
    if (*entry == NULL) *entry = entry_of(name);
    if (*entry == NULL) return 0;
    uint32_t number = atomic_fetch_add(&(*entry)->count, 1) + 1;
    int hit = failing_number == number && strcmp(failing_name, name) == 0;
    if (hit) {
        inside = 1;
        write_report(name, number);
        inside = 0;
        if (kills) syscall(SYS_kill, getpid(), SIGKILL);
    }
    errno = before;
    return hit;
}

#define FAILS(name) CALL_FAILS(name, 1)

// MARK: Symbols

#define REAL(name) \
    ({ static __typeof__(&name) real; if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

// A function that returns -1 and sets errno.
#define CALL(type, name, parameters, arguments, code) \
    type name parameters { \
        if (FAILS(#name)) { errno = code; return (type)-1; } \
        return REAL(name) arguments; \
    }
// A function that returns an error number.
#define CALL_CODE(name, parameters, arguments, code) \
    int name parameters { \
        if (FAILS(#name)) return code; \
        return REAL(name) arguments; \
    }
// A function that releases something: it does so, and returns -1.
#define RELEASE(name, parameters, arguments, code) \
    int name parameters { \
        int hit = FAILS(#name); \
        int result = REAL(name) arguments; \
        if (hit) { errno = code; return -1; } \
        return result; \
    }
#define CALL_NULL(type, name, parameters, arguments, code) \
    type *name parameters { \
        if (FAILS(#name)) { errno = code; return NULL; } \
        return REAL(name) arguments; \
    }

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (FAILS("open")) { errno = EMFILE; return -1; }
    return REAL(open)(path, flags, mode);
}
int openat(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    // Names of their own for what the daemon can do without: a file without a name, and the directory of `rpmemctl status`.
    int fails = (flags & __O_TMPFILE) == __O_TMPFILE ? FAILS("openat(O_TMPFILE)")
                : strcmp(path, "rpmemd") == 0        ? FAILS("openat(status)")
                                                     : FAILS("openat");
    if (fails) { errno = EMFILE; return -1; }
    return REAL(openat)(directory, path, flags, mode);
}
long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long),
         e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    if (number == SYS_openat2 && FAILS("openat2")) { errno = EMFILE; return -1; }
    if (number == SYS_pwritev2 && FAILS("pwritev2")) { errno = EIO; return -1; }
    return REAL(syscall)(number, a, b, c, d, e, f);
}
CALL(int, fstat, (int fd, struct stat *status), (fd, status), EIO)
CALL(int, stat, (const char *path, struct stat *status), (path, status), EIO)
CALL(int, lstat, (const char *path, struct stat *status), (path, status), EIO)
CALL(int, fstatat, (int fd, const char *path, struct stat *status, int flags), (fd, path, status, flags), EIO)
CALL(int, fstatfs, (int fd, struct statfs *status), (fd, status), EIO)
CALL(int, fstatvfs, (int fd, struct statvfs *status), (fd, status), EIO)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), EIO)
CALL(int, fallocate, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size), ENOSPC)
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), EIO)
CALL(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence), EIO)
CALL(ssize_t, pread, (int fd, void *bytes, size_t count, off_t offset), (fd, bytes, count, offset), EIO)
CALL(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t offset), (fd, bytes, count, offset), EIO)
CALL(ssize_t, read, (int fd, void *bytes, size_t count), (fd, bytes, count), EIO)
CALL(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count), EIO)
CALL(ssize_t, send, (int fd, const void *bytes, size_t count, int flags), (fd, bytes, count, flags), EIO)
CALL(int, fsync, (int fd), (fd), EIO)
CALL(int, fdatasync, (int fd), (fd), EIO)
CALL(int, syncfs, (int fd), (fd), EIO)
CALL(int, sync_file_range, (int fd, off64_t offset, off64_t count, unsigned flags), (fd, offset, count, flags), EIO)
CALL_CODE(posix_fadvise, (int fd, off_t offset, off_t size, int advice), (fd, offset, size, advice), EIO)
void *mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset) {
    // Names of their own for mappings that the session can do without: MAP_SYNC, the first try to reserve an address,
    // all aliases of SyncAlias but one, and the memory of ProcessTitle.
    int fails = flags & MAP_SYNC        ? FAILS("mmap(MAP_SYNC)")
                : flags & MAP_NORESERVE ? FAILS("mmap(MAP_NORESERVE)")
                : flags & MAP_FIXED && rights == PROT_READ ? FAILS("mmap(alias)")
                : fd == -1 && size == 512 ? FAILS("mmap(title)")
                                        : FAILS("mmap");
    if (fails) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return REAL(mmap)(at, size, rights, flags, fd, offset);
}
CALL(int, madvise, (void *at, size_t size, int advice), (at, size, advice), ENOMEM)
CALL(int, msync, (void *at, size_t size, int flags), (at, size, flags), EIO)
RELEASE(munmap, (void *at, size_t size), (at, size), ENOMEM)
RELEASE(close, (int fd), (fd), EIO)
RELEASE(shutdown, (int fd, int how), (fd, how), ENOTCONN)
int flock(int fd, int operation) {
    if (operation & LOCK_UN) {
        int hit = FAILS("flock(LOCK_UN)");
        int result = REAL(flock)(fd, operation);
        if (!hit) return result;
    } else if (!FAILS("flock")) {
        return REAL(flock)(fd, operation);
    }
    errno = ENOLCK;
    return -1;
}
CALL(ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t size), (fd, name, value, size), EIO)
CALL(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
    (fd, name, value, size, flags), EIO)
CALL(int, fremovexattr, (int fd, const char *name), (fd, name), EIO)
CALL(int, renameat, (int from, const char *path, int to, const char *name), (from, path, to, name), EIO)
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), EIO)
CALL(int, linkat, (int from, const char *path, int to, const char *name, int flags), (from, path, to, name, flags), EIO)
CALL(ssize_t, readlinkat, (int fd, const char *path, char *text, size_t size), (fd, path, text, size), EIO)
CALL(int, poll, (struct pollfd *set, nfds_t count, int milliseconds), (set, count, milliseconds), ENOMEM)
CALL(int, eventfd, (unsigned count, int flags), (count, flags), EMFILE)
CALL(int, signalfd, (int fd, const sigset_t *signals, int flags), (fd, signals, flags), EMFILE)
CALL(int, inotify_init1, (int flags), (flags), EMFILE)
CALL(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask), ENOSPC)
CALL(int, pipe, (int ends[2]), (ends), EMFILE)
CALL(int, pipe2, (int ends[2], int flags), (ends, flags), EMFILE)
CALL(int, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends), EMFILE)
CALL(int, dup, (int fd), (fd), EMFILE)
CALL(int, dup2, (int fd, int other), (fd, other), EMFILE)
CALL(int, dup3, (int fd, int other, int flags), (fd, other, flags), EMFILE)
CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
    (fd, level, name, value, size), ENOMEM)
CALL(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size), ENOBUFS)
CALL(int, getsockname, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size), ENOBUFS)
CALL(int, getpeername, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size), ENOBUFS)
CALL_CODE(getaddrinfo, (const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found),
    (node, service, hints, found), EAI_MEMORY)
CALL_CODE(getpwuid_r, (uid_t user, struct passwd *entry, char *text, size_t size, struct passwd **found),
    (user, entry, text, size, found), EIO)
CALL_CODE(pthread_create,
    (pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument),
    (thread, attributes, body, argument), EAGAIN)
CALL_CODE(posix_spawnp,
    (pid_t *process, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
     char *const arguments[], char *const environment[]),
    (process, file, actions, attributes, arguments, environment), ENOMEM)
CALL(int, pidfd_open, (pid_t process, unsigned flags), (process, flags), EMFILE)
CALL(int, sigaction, (int number, const struct sigaction *action, struct sigaction *before), (number, action, before), EINVAL)
CALL(int, waitid, (idtype_t kind, id_t id, siginfo_t *info, int options), (kind, id, info, options), ECHILD)
CALL(int, pidfd_send_signal, (int fd, int number, siginfo_t *info, unsigned flags), (fd, number, info, flags), EPERM)
CALL_CODE(posix_spawn_file_actions_init, (posix_spawn_file_actions_t *actions), (actions), ENOMEM)
CALL_CODE(posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *actions, int fd, int other),
    (actions, fd, other), ENOMEM)
CALL_CODE(posix_spawn_file_actions_addchdir_np, (posix_spawn_file_actions_t *actions, const char *path),
    (actions, path), ENOMEM)
CALL_CODE(posix_spawn_file_actions_addclosefrom_np, (posix_spawn_file_actions_t *actions, int fd), (actions, fd), ENOMEM)
CALL(int, getrlimit, (__rlimit_resource_t what, struct rlimit *limit), (what, limit), EINVAL)
CALL(int, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), (what, limit), EPERM)
CALL(int, faccessat, (int fd, const char *path, int rights, int flags), (fd, path, rights, flags), EIO)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), EIO)
CALL(int, rmdir, (const char *path), (path), EIO)
CALL_NULL(char, realpath, (const char *path, char *resolved), (path, resolved), EIO)
CALL_NULL(char, if_indextoname, (unsigned index, char name[IF_NAMESIZE]), (index, name), ENXIO)
CALL_NULL(struct dirent, readdir, (DIR *directory), (directory), EIO)
CALL_NULL(struct passwd, getpwuid, (uid_t user), (user), EIO)
CALL_NULL(DIR, opendir, (const char *path), (path), EMFILE)
CALL_NULL(DIR, fdopendir, (int fd), (fd), ENOMEM)
CALL_NULL(void, dlopen, (const char *path, int flags), (path, flags), ENOMEM)

// libfabric looks for a symbol of the kernel when it is loaded, which took most of a session's time. Without the file it
// takes the symbol for missing.
FILE *fopen(const char *path, const char *mode) {
    if (strcmp(path, "/proc/kallsyms") == 0) { errno = ENOENT; return NULL; }
    return REAL(fopen)(path, mode);
}

// libpmem and its relatives; only what they return matters.
extern int pmem_msync(const void *, size_t);
extern int pmem_deep_drain(const void *, size_t);
extern int pmem2_source_from_fd(void **, int);
extern int pmem2_source_device_id(const void *, char *, size_t *);
extern int pmem2_source_device_usc(const void *, uint64_t *);
extern int pmem2_badblock_context_new(void **, void *);
extern int pmem2_badblock_next(void *, void *);
extern int ndctl_new(void **);
extern int daxctl_new(void **);
CALL(int, pmem_msync, (const void *at, size_t size), (at, size), EIO)
CALL(int, pmem_deep_drain, (const void *at, size_t size), (at, size), EIO)
CALL_CODE(pmem2_source_from_fd, (void **source, int fd), (source, fd), -ENOMEM)
CALL_CODE(pmem2_source_device_id, (const void *source, char *text, size_t *size), (source, text, size), -EIO)
CALL_CODE(pmem2_source_device_usc, (const void *source, uint64_t *count), (source, count), -EIO)
CALL_CODE(pmem2_badblock_context_new, (void **context, void *source), (context, source), -ENOMEM)
CALL_CODE(pmem2_badblock_next, (void *context, void *block), (context, block), -EIO)
CALL_CODE(ndctl_new, (void **context), (context), -ENOMEM)
CALL_CODE(daxctl_new, (void **context), (context), -ENOMEM)

// Only libfabric's symbols are looked up with a version.
void *dlvsym(void *handle, const char *name, const char *version) {
    void *real = REAL(dlvsym)(handle, name, version);
    if (entries == NULL || strncmp(name, "fi_", 3) != 0) return real;
    if (FAILS("dlvsym")) return NULL;
    void *counted = fabric_symbol(name, real);
    return counted == NULL ? real : counted;
}
