/* SPDX-License-Identifier: BSD-3-Clause */
/* What the examples share: opening a pool's replica on a target, or creating it the first time. */
#ifndef REPLICA_H
#define REPLICA_H

#include <librpmem.h>
#include <stdbool.h>

/* The first byte of a pool that is not its header's. */
enum { DATA_OFFSET = 4096 };

/*
 * Opens the replica of a pool, or creates it when there is none yet, and checks that it is this program's.
 *
 * signature: up to eight characters that tell this program's pools from others'.
 * created: set to whether it is new.
 *
 * Returns NULL when that fails, with errno as librpmem set it (EPERM: a pool of another program), and after having said
 * why on standard error.
 */
RPMEMpool *open_or_create(const char *target, const char *pool_set, void *memory, size_t size, const char *signature,
    bool *created);

/* Says on standard error what failed, with librpmem's reason. */
void complain(const char *what);

#endif
