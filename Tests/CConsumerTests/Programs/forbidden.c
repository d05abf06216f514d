// For LD_PRELOAD: a library whose msync(2) makes a system call that no session makes. keyctl(KEYCTL_GET_KEYRING_ID) changes
// nothing.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int msync(void *start, size_t length, int flags) {
    syscall(SYS_keyctl, 0, 0, 0, 0, 0);
    return (int)syscall(SYS_msync, start, length, flags);
}
