// A persistence domain that forgets: what the files of this stand-in share. `docs/proofs.md` describes it.
#ifndef FORGETTING_H
#define FORGETTING_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// What the daemon does for durability, in the order in which `ForgettingEvent` of the tests has them.
enum event {
    EVENT_FLUSH,  // a range is noted
    EVENT_LINE,   // a cache line of it is noted; of ordinary files, msync(2) writes a page
    EVENT_DRAIN,  // the calling thread's noted lines become durable
    EVENT_MSYNC,  // msync(2)
    EVENT_WRITE,  // pwritev2(2) with RWF_DSYNC
    EVENT_FSYNC,  // fsync(2) or fdatasync(2) of a part
    EVENT_DEEP,   // the deep flush of a region
    EVENT_COUNT
};

/// What happens to one event.
enum fault {
    FAULT_NONE,
    FAULT_DROP,        // the call does nothing and reports success
    FAULT_KILL_BEFORE, // SIGKILL before it has an effect
    FAULT_KILL_AFTER,  // SIGKILL when it has had its effect
    FAULT_FAIL         // the call has no effect and fails with EIO; only calls that can fail
};

/// A page that the tests have mapped as well. It outlives the daemon.
struct control {
    _Atomic uint64_t counts[8]; // events so far, by enum event
    _Atomic uint64_t event;     // of the fault
    _Atomic uint64_t number;    // the fault hits the event with this number, counted from 1; 0: none
    _Atomic uint64_t fault;
    _Atomic uint64_t hits; // faults that happened
};
extern struct control *control;

/// Whether files are persistent memory. Otherwise they are ordinary files.
extern int is_persistent_memory;

/// Counts an event.
///
/// @return FAULT_NONE, FAULT_DROP or FAULT_FAIL, or FAULT_KILL_AFTER, which the caller passes to end_event().
enum fault begin_event(enum event event);
void end_event(enum fault fault);

/// A part, and two files that show what of it would survive. Of ordinary files both have the same bytes.
struct shadow {
    dev_t device;
    ino_t inode;
    size_t size;
    int is_device;        // Device DAX
    const uint8_t *part;  // the part itself
    uint8_t *domain;      // what is in the persistence domain: a loss of power keeps it
    uint8_t *medium;      // what is on the medium
    uint64_t *versions;   // of each line in the domain
    struct range *queued; // in the domain, and not known to be on the medium
    size_t queued_count, queued_capacity;
    int queued_all; // so is everything else, of which an earlier process left no record
};
struct range { size_t offset, length; };

/// All below need the lock.
void lock_shadows(void);
void unlock_shadows(void);

/// The shadow of the part that a descriptor is open on; NULL when it is open on something else.
struct shadow *shadow_of(int descriptor);
/// Behind a Device DAX of the tests is a file, to which this returns a descriptor. Any other descriptor is returned as it is.
int behind_device(int descriptor);
/// Moves what is in the domain on to the medium, for all Device DAX.
void empty_device_queues(void);
/// Notes that the range of addresses is a mapping of the part.
void add_mapping(const void *start, size_t length, struct shadow *shadow, size_t offset);
void remove_mappings(const void *start, size_t length);
/// The part that is mapped at an address.
///
/// @param length Bytes that the caller is about; cut to the end of the mapping.
/// @return NULL when no part is mapped there.
struct shadow *find_mapping(const void *address, size_t *length, size_t *offset);

/// Makes bytes of the part, as they are now, durable down to the medium.
void store_range(struct shadow *shadow, size_t offset, size_t length);
/// Makes a line durable in the domain, unless a later version of it is there already.
void store_line(struct shadow *shadow, size_t offset, const uint8_t *bytes, uint64_t version);
/// Moves what is in the domain on to the medium.
void empty_queue(struct shadow *shadow);

/// The C library's mmap(2).
void *system_mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset);

#endif
