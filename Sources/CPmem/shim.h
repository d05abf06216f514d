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

/// Marks the page of one byte as dirty by an atomic operation that does not change the byte, even while others write to it.
/// On x86-64 in assembly, because compilers replace such an operation by a load.
static inline void rpmem_dirty_page(void *byte) {
#if defined(__x86_64__)
    __asm__ volatile("lock; orb $0, %0" : "+m"(*(volatile uint8_t *)byte) : : "cc");
#else
    (void)__atomic_fetch_or((volatile uint8_t *)byte, 0, __ATOMIC_RELAXED);
#endif
}

#endif
