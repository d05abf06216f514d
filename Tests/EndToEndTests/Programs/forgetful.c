// A system that forgets, for LD_PRELOAD: one of the calls by which a daemon makes data durable succeeds and does nothing.
// RPMEM_TEST_FORGETS names it: msync, fsync, or dsync for writes with RWF_DSYNC, which become ordinary writes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int forgets(const char *call) {
    const char *name = getenv("RPMEM_TEST_FORGETS");
    return name && strcmp(name, call) == 0;
}

int msync(void *start, size_t length, int flags) {
    return forgets("msync") ? 0 : (int)((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(SYS_msync, start, length, flags);
}

int fsync(int file) {
    return forgets("fsync") ? 0 : (int)((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(SYS_fsync, file);
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_pwritev2 && forgets("dsync")) a[5] = 0;
    return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
