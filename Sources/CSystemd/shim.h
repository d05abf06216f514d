#ifndef RPMEM_CSYSTEMD_SHIM_H
#define RPMEM_CSYSTEMD_SHIM_H
#if !__has_include(<systemd/sd-journal.h>)
#error "libsystemd's headers are missing: apt-get install libsystemd-dev"
#endif
#include <systemd/sd-journal.h>
#include <systemd/sd-daemon.h>
#endif
