// libpmem's functions that the daemon calls, for memory that is persistent, and a platform without eADR.
//
// A flush notes the lines of its range, with the bytes that they have then. A drain makes those lines durable that its
// own thread has noted: the fence of another thread orders nothing here. Everything else is lost with the process.
#include <libpmem.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "forgetting.h"

struct note { struct shadow *shadow; size_t offset; uint64_t version; uint8_t bytes[64]; };

static _Thread_local struct note *notes;
static _Thread_local size_t note_count, note_capacity;
static uint64_t last_version;

static void note_line(struct shadow *shadow, size_t offset, const uint8_t *bytes) {
    enum fault fault = begin_event(EVENT_LINE);
    if (fault == FAULT_DROP) return;
    if (note_count == note_capacity) {
        note_capacity = note_capacity * 2 + 256;
        notes = realloc(notes, note_capacity * sizeof *notes);
        if (!notes) abort();
    }
    struct note *note = &notes[note_count++];
    *note = (struct note){.shadow = shadow, .offset = offset, .version = last_version};
    memcpy(note->bytes, bytes, 64);
    end_event(fault);
}

void pmem_flush(const void *address, size_t length) {
    if (length == 0) return;
    enum fault fault = begin_event(EVENT_FLUSH);
    if (fault == FAULT_DROP) return;
    uintptr_t line = (uintptr_t)address & ~(uintptr_t)63, end = (uintptr_t)address + length;
    lock_shadows();
    last_version++;
    for (; line < end; line += 64) {
        size_t one = 64, offset;
        struct shadow *shadow = find_mapping((void *)line, &one, &offset);
        if (shadow) note_line(shadow, offset, (const uint8_t *)line);
    }
    unlock_shadows();
    end_event(fault);
}

void pmem_drain(void) {
    enum fault fault = begin_event(EVENT_DRAIN);
    // The lines stay noted: a later fence would order them as well.
    if (fault == FAULT_DROP) return;
    lock_shadows();
    for (size_t i = 0; i < note_count; i++)
        store_line(notes[i].shadow, notes[i].offset, notes[i].bytes, notes[i].version);
    note_count = 0;
    unlock_shadows();
    end_event(fault);
}

int pmem_is_pmem(const void *address, size_t length) {
    (void)address, (void)length;
    return is_persistent_memory;
}

int pmem_has_auto_flush(void) { return 0; }
int pmem_has_hw_drain(void) { return 0; }

void pmem_deep_flush(const void *address, size_t length) { pmem_flush(address, length); }

void pmem_persist(const void *address, size_t length) {
    pmem_flush(address, length);
    pmem_drain();
}

int pmem_msync(const void *address, size_t length) {
    uintptr_t start = (uintptr_t)address & ~(uintptr_t)4095;
    size_t whole = ((uintptr_t)address - start + length + 4095) & ~(size_t)4095;
    return msync((void *)start, whole, MS_SYNC);
}

int pmem_deep_drain(const void *address, size_t length) {
    return pmem_msync(address, length < 4096 ? length : 4096);
}

int pmem_deep_persist(const void *address, size_t length) {
    pmem_persist(address, length);
    return pmem_deep_drain(address, length);
}

// Makes what was stored durable as far as the flags say.
static void *end_stores(void *destination, size_t length, unsigned flags) {
    if ((flags & PMEM_F_MEM_NOFLUSH) != 0) return destination;
    pmem_flush(destination, length);
    if ((flags & PMEM_F_MEM_NODRAIN) == 0) pmem_drain();
    return destination;
}

void *pmem_memcpy(void *destination, const void *source, size_t length, unsigned flags) {
    return end_stores(memcpy(destination, source, length), length, flags);
}

void *pmem_memmove(void *destination, const void *source, size_t length, unsigned flags) {
    return end_stores(memmove(destination, source, length), length, flags);
}

void *pmem_memset(void *destination, int value, size_t length, unsigned flags) {
    return end_stores(memset(destination, value, length), length, flags);
}

void *pmem_memcpy_persist(void *destination, const void *source, size_t length) {
    return pmem_memcpy(destination, source, length, 0);
}

void *pmem_memcpy_nodrain(void *destination, const void *source, size_t length) {
    return pmem_memcpy(destination, source, length, PMEM_F_MEM_NODRAIN);
}

void *pmem_memmove_persist(void *destination, const void *source, size_t length) {
    return pmem_memmove(destination, source, length, 0);
}

void *pmem_memmove_nodrain(void *destination, const void *source, size_t length) {
    return pmem_memmove(destination, source, length, PMEM_F_MEM_NODRAIN);
}

void *pmem_memset_persist(void *destination, int value, size_t length) {
    return pmem_memset(destination, value, length, 0);
}

void *pmem_memset_nodrain(void *destination, int value, size_t length) {
    return pmem_memset(destination, value, length, PMEM_F_MEM_NODRAIN);
}
