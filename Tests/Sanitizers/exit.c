// The daemon ends by _exit(2), which the leak detector does not notice. So it looks right before, at the end of each session that
// does not end abruptly. The linker leads the call of `leave(with:)` here (--wrap).
#include <stdint.h>

#define SWIFT __attribute__((swiftcall))

// Writes a report, and returns 1, when there is a leak.
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

__attribute__((weak)) SWIFT void real_leave(int32_t status) __asm__("__real_$s11RpmemTarget5leave4withs5NeverOs5Int32V_tF");
SWIFT void wrapped_leave(int32_t status) __asm__("__wrap_$s11RpmemTarget5leave4withs5NeverOs5Int32V_tF");

SWIFT void wrapped_leave(int32_t status) {
    // The status of a report, as in options.c.
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) status = 66;
    real_leave(status);
}
