#ifndef RPMEM_CPMEM_SHIM_H
#define RPMEM_CPMEM_SHIM_H
#if !__has_include(<libpmem.h>)
#error "libpmem's headers are missing: apt-get install libpmem-dev"
#endif
#if !__has_include(<libpmem2.h>)
#error "libpmem2's headers are missing: apt-get install libpmem2-dev"
#endif
#include <libpmem.h>
#include <libpmem2.h>
#include <stdint.h>

/// Marks the page of one byte as dirty by an atomic operation that does not change the byte, even while others write to
/// it.
/// On x86-64 in assembly, because compilers replace such an operation by a load.
static inline void rpmem_dirty_page(void *byte) {
#if defined(__x86_64__)
    __asm__ volatile("lock; orb $0, %0" : "+m"(*(volatile uint8_t *)byte) : : "cc");
#else
    (void)__atomic_fetch_or((volatile uint8_t *)byte, 0, __ATOMIC_RELAXED);
#endif
}

/// Copies bytes by ascending addresses, and stores each aligned word of 8 bytes that the destination covers at once. The
/// ranges must not overlap. Inlined, so that the way of a persist request makes no call for it. The stores are atomic: the
/// compiler may divide plain ones, and initiators may write to one place of a pool on two lanes at once.
__attribute__((always_inline)) static inline void rpmem_copy_words(
    void *destination, const void *source, size_t count) {
    uint8_t *to = (uint8_t *)destination;
    const uint8_t *from = (const uint8_t *)source;
    for (; count > 0 && ((uintptr_t)to & 7) != 0; count--, to++, from++) __atomic_store_n(to, *from, __ATOMIC_RELAXED);
    for (; count >= 8; count -= 8, to += 8, from += 8) {
        uint64_t word;
        __builtin_memcpy(&word, from, 8);
        __atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELAXED);
    }
    for (; count > 0; count--, to++, from++) __atomic_store_n(to, *from, __ATOMIC_RELAXED);
}

#endif
