// What Swift's runtime and standard library do out of ThreadSanitizer's sight, since they are not built with it. Without
// this it would take every Mutex that two threads want, and every global that two threads use first, for unprotected.
// The linker leads calls from what is ours here (--wrap).
#include <stdint.h>

#define CONTEXT __attribute__((swift_context))
#define SWIFT __attribute__((swiftcall))

extern void __tsan_acquire(void *) __attribute__((weak));
extern void __tsan_release(void *) __attribute__((weak));

// Synchronization._MutexHandle._lockSlow(_: UInt32) and _unlockSlow(), which Mutex.withLock calls when somebody else
// holds the lock or waits for it. The rest of it is compiled into its callers, and seen. The handle is the lock's word.
__attribute__((weak)) SWIFT void real_lock(uint32_t thread, CONTEXT void *handle) __asm__(
    "__real_$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");
__attribute__((weak)) SWIFT void real_unlock(CONTEXT void *handle) __asm__(
    "__real_$s15Synchronization12_MutexHandleV11_unlockSlowyyF");
SWIFT void wrapped_lock(uint32_t thread, CONTEXT void *handle) __asm__(
    "__wrap_$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");
SWIFT void wrapped_unlock(CONTEXT void *handle) __asm__("__wrap_$s15Synchronization12_MutexHandleV11_unlockSlowyyF");

SWIFT void wrapped_lock(uint32_t thread, CONTEXT void *handle) {
    real_lock(thread, handle);
    __tsan_acquire(handle);
}

SWIFT void wrapped_unlock(CONTEXT void *handle) {
    __tsan_release(handle);
    real_unlock(handle);
}

// The first use of a global: one thread initialises it, the others wait for that.
struct initialisation {
    void *token;
    void (*function)(void *);
    void *context;
};

static void initialise(void *argument) {
    struct initialisation *it = argument;
    it->function(it->context);
    __tsan_release(it->token);
}

void __real_swift_once(void *token, void (*function)(void *), void *context);

void __wrap_swift_once(void *token, void (*function)(void *), void *context) {
    struct initialisation it = {token, function, context};
    __real_swift_once(token, initialise, &it);
    __tsan_acquire(token);
}
