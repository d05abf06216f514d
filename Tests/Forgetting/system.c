// Replaces the C library's functions by which a file becomes durable, or is mapped, and libndctl's deep flush.
#include "forgetting.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) { \
        *(void **)&real = dlsym(RTLD_NEXT, name); \
        if (!real) abort(); \
    }

void *system_mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t)
    return real(address, length, protection, flags, descriptor, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    int kind = flags & MAP_TYPE;
    if (!control || descriptor < 0 || (kind != MAP_SHARED && kind != MAP_SHARED_VALIDATE))
        return system_mmap(address, length, protection, flags, descriptor, offset);
    lock_shadows();
    descriptor = behind_device(descriptor);
    struct shadow *shadow = shadow_of(descriptor);
    void *start = MAP_FAILED;
    if (shadow && (flags & MAP_SYNC) != 0 && !is_persistent_memory) {
        errno = EOPNOTSUPP;
    } else {
        // The file system below cannot do it, but the stand-in can.
        if (shadow && (flags & MAP_SYNC) != 0) flags = (flags & ~(MAP_SYNC | MAP_TYPE)) | MAP_SHARED;
        start = system_mmap(address, length, protection, flags, descriptor, offset);
        if (start != MAP_FAILED) {
            if (flags & MAP_FIXED) remove_mappings(start, length);
            if (shadow) add_mapping(start, length, shadow, (size_t)offset);
        }
    }
    int code = errno;
    unlock_shadows();
    errno = code;
    return start;
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    return mmap(address, length, protection, flags, descriptor, offset);
}

int munmap(void *address, size_t length) {
    REAL(int, "munmap", void *, size_t)
    if (!control) return real(address, length);
    lock_shadows();
    int result = real(address, length);
    if (result == 0) remove_mappings(address, length);
    int code = errno;
    unlock_shadows();
    errno = code;
    return result;
}

int msync(void *address, size_t length, int flags) {
    REAL(int, "msync", void *, size_t, int)
    if (!control) return real(address, length, flags);
    enum fault fault = begin_event(EVENT_MSYNC);
    if (fault == FAULT_DROP) return 0;
    if (fault == FAULT_FAIL) {
        errno = EIO;
        return -1;
    }
    int result = real(address, length, flags);
    if (result != 0) return result;
    lock_shadows();
    for (size_t done = 0; done < length; done += 4096) {
        size_t page = length - done < 4096 ? length - done : 4096, offset;
        struct shadow *shadow = find_mapping((char *)address + done, &page, &offset);
        if (!shadow) continue;
        // Of persistent memory only drained lines go on to the medium: stricter than Linux, which would flush the page.
        if (is_persistent_memory) {
            empty_queue(shadow);
            continue;
        }
        enum fault of_page = begin_event(EVENT_LINE);
        if (of_page == FAULT_DROP) continue;
        store_range(shadow, offset, page);
        end_event(of_page);
    }
    unlock_shadows();
    end_event(fault);
    return 0;
}

// Likewise for fsync(2) and fdatasync(2).
static int synchronize(int descriptor, int (*real)(int)) {
    if (!control) return real(descriptor);
    lock_shadows();
    struct shadow *shadow = shadow_of(descriptor);
    unlock_shadows();
    if (!shadow) return real(descriptor);
    enum fault fault = begin_event(EVENT_FSYNC);
    if (fault == FAULT_DROP) return 0;
    if (fault == FAULT_FAIL) {
        errno = EIO;
        return -1;
    }
    int result = real(descriptor);
    if (result != 0) return result;
    lock_shadows();
    store_range(shadow, 0, shadow->size);
    unlock_shadows();
    end_event(fault);
    return 0;
}

int fsync(int descriptor) {
    REAL(int, "fsync", int)
    return synchronize(descriptor, real);
}

int fdatasync(int descriptor) {
    REAL(int, "fdatasync", int)
    return synchronize(descriptor, real);
}

// A write that is durable when it returns; of the kernel's calls only this one is made by number.
static long write_durably(long (*real)(long, ...), long number, const long *a) {
    lock_shadows();
    struct shadow *shadow = shadow_of((int)a[0]);
    unlock_shadows();
    if (!shadow) return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    enum fault fault = begin_event(EVENT_WRITE);
    if (fault == FAULT_FAIL) {
        errno = EIO;
        return -1;
    }
    long count = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (count < 0 || fault == FAULT_DROP) return count;
    lock_shadows();
    store_range(shadow, (size_t)a[3], (size_t)count);
    unlock_shadows();
    end_event(fault);
    return count;
}

long syscall(long number, ...) {
    REAL(long, "syscall", long, ...)
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (control && number == SYS_pwritev2 && (a[5] & RWF_DSYNC) != 0) return write_durably(real, number, a);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// What a deep flush of the region would write to sysfs.
int ndctl_region_deep_flush(void *region) {
    REAL(int, "ndctl_region_deep_flush", void *)
    enum fault fault = begin_event(EVENT_DEEP);
    if (fault == FAULT_DROP) return 0;
    if (fault == FAULT_FAIL) return -EIO;
    int result = real(region);
    if (result != 0) return result;
    lock_shadows();
    empty_device_queues();
    unlock_shadows();
    end_event(fault);
    return 0;
}
