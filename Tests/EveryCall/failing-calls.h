// What failing-calls.c and failing-fabric.c share.
#ifndef FAILING_CALLS_H
#define FAILING_CALLS_H

struct entry;

/// Counts a call, and says whether it fails.
///
/// `entry` keeps the name's record for the next call. `caller` is the return address. `is_intercepted`: a sanitizer may have a
/// function of its own between the caller and this call.
int call_fails(const char *name, struct entry **entry, void *caller, int is_intercepted);

#define CALL_FAILS(name, is_intercepted) \
    ({ static struct entry *entry; \
       __builtin_expect(call_fails(name, &entry, __builtin_return_address(0), is_intercepted), 0); })

/// The function to use instead of a symbol of libfabric; NULL for those that are left alone.
void *fabric_symbol(const char *name, void *real);

#endif
