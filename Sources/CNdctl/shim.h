#ifndef RPMEM_CNDCTL_SHIM_H
#define RPMEM_CNDCTL_SHIM_H
#if !__has_include(<ndctl/libndctl.h>)
#error "libndctl's headers are missing: apt-get install libndctl-dev"
#endif
#if !__has_include(<daxctl/libdaxctl.h>)
#error "libdaxctl's headers are missing: apt-get install libdaxctl-dev"
#endif
#include <stdbool.h>
#include <ndctl/libndctl.h>
#include <daxctl/libdaxctl.h>
#endif
