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
#endif
