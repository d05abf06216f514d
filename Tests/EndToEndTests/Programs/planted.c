// A call that no session makes, as a fault of a library may let an initiator make it, for LD_PRELOAD. A persist of bytes that begin
// with 0xEE plants it into the worker's msync(2), and a block that begins with it into the pread(2) of a digest. RPMEM_TEST_PLANTED
// names it; its result goes to standard error.
// RPMEM_TEST_LACKS makes this a kernel without Landlock and seccomp.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Constructors of libraries make calls before this one could have a constructor run.
static long (*found)(long, ...);
#define real (found ? found : (found = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall")))

static long plant(const char *name) {
    const char *file = getenv("RPMEM_TEST_FILE");
    char *const words[] = {"/bin/true", NULL};
    if (!strcmp(name, "execve")) return real(SYS_execve, words[0], words, NULL);
    if (!strcmp(name, "clone")) return real(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    // A thread in a namespace of its own, which root may have. Without CLONE_SIGHAND the kernel refuses it.
    if (!strcmp(name, "namespace")) return real(SYS_clone, CLONE_THREAD | CLONE_NEWNET, 0, 0, 0, 0);
    if (!strcmp(name, "socketpair")) return real(SYS_socketpair, /* AF_TIPC */ 30, /* SOCK_STREAM */ 1, 0, (int[2]){0});
    if (!strcmp(name, "ptrace")) return real(SYS_ptrace, /* PTRACE_ATTACH */ 16, getppid(), 0, 0);
    if (!strcmp(name, "process_vm_readv")) return real(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0);
    if (!strcmp(name, "socket")) return real(SYS_socket, /* AF_INET */ 2, /* SOCK_STREAM */ 1, 0);
    if (!strcmp(name, "stream")) return real(SYS_socket, /* AF_UNIX */ 1, /* SOCK_STREAM */ 1, 0);
    if (!strcmp(name, "datagrams")) return real(SYS_socket, /* AF_UNIX */ 1, /* SOCK_DGRAM */ 2, 0);
    if (!strcmp(name, "fcntl")) return real(SYS_fcntl, 1, F_SETOWN, getppid());
    if (!strcmp(name, "ioctl")) return real(SYS_ioctl, 1, /* FIOSETOWN */ 0x8901, (int[]){getppid()});
    if (!strcmp(name, "kill")) return real(SYS_kill, getppid(), 0);
    if (!strcmp(name, "tgkill")) return real(SYS_tgkill, getppid(), getppid(), 0);
    if (!strcmp(name, "mount")) return real(SYS_mount, "x", "/", "tmpfs", 0, 0);
    if (!strcmp(name, "unshare")) return real(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS);
    if (!strcmp(name, "setns")) return real(SYS_setns, 0, CLONE_NEWNET);
    // To a port of this machine that something listens on, and whose number RPMEM_TEST_FILE is.
    if (!strcmp(name, "connect")) {
        int connection = (int)real(SYS_socket, AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        address.sin_port = htons((unsigned short)atoi(file));
        return connection < 0 ? connection : real(SYS_connect, connection, &address, sizeof address);
    }
    if (!strcmp(name, "bpf")) return real(SYS_bpf, 0, 0, 0);
    if (!strcmp(name, "keyctl")) return real(SYS_keyctl, 0, 0, 0, 0, 0);
    if (!strcmp(name, "io_uring_setup")) return real(SYS_io_uring_setup, 1, 0);
    if (!strcmp(name, "prctl")) return real(SYS_prctl, /* PR_SET_DUMPABLE */ 4, 1, 0, 0, 0);
    if (!strcmp(name, "prlimit64")) return real(SYS_prlimit64, 0, /* RLIMIT_CORE */ 4, (unsigned long long[]){9, 9}, 0);
    // The filter sees no flags of clone3.
    if (!strcmp(name, "clone3")) return real(SYS_clone3, 0, 0);
    if (!strcmp(name, "mmap")) return real(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(name, "rt_sigaction")) return real(SYS_rt_sigaction, SIGSYS, 0, 0, 8);
    if (!strcmp(name, "open")) return real(SYS_openat, AT_FDCWD, file, O_RDONLY);
    if (!strcmp(name, "create")) return real(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT, 0600);
    if (!strcmp(name, "unlink")) return real(SYS_unlinkat, AT_FDCWD, file, 0);
    abort();
}

static void act(const void *bytes) {
    const char *name = getenv("RPMEM_TEST_PLANTED");
    if (!name || *(volatile const unsigned char *)bytes != 0xEE) return;
    long result = plant(name);
    dprintf(STDERR_FILENO, "planted %s: %s\n", name, result < 0 ? strerrorname_np(errno) : "done");
}

int msync(void *start, size_t length, int flags) {
    act(start);
    return (int)real(SYS_msync, start, length, flags);
}

ssize_t pread(int file, void *bytes, size_t count, off_t offset) {
    long result = real(SYS_pread64, file, bytes, count, offset);
    if (result > 0) act(bytes);
    return result;
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (getenv("RPMEM_TEST_LACKS") && (number == 444 || number == SYS_seccomp)) {
        errno = ENOSYS;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
