/* SPDX-License-Identifier: BSD-3-Clause */
#include "replica.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Examples do one thing at a time. */
enum { LANES = 1 };

static int random_uuid(unsigned char uuid[RPMEM_POOL_HDR_UUID_LEN]) {
    if (getrandom(uuid, RPMEM_POOL_HDR_UUID_LEN, 0) != RPMEM_POOL_HDR_UUID_LEN) return -1;
    uuid[6] = (unsigned char)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (unsigned char)((uuid[8] & 0x3f) | 0x80);
    return 0;
}

RPMEMpool *open_or_create(const char *target, const char *pool_set, void *memory, size_t size, const char *signature,
    bool *created) {
    struct rpmem_pool_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(attributes.signature, signature, strnlen(signature, sizeof attributes.signature));
    attributes.major = 1;
    if (random_uuid(attributes.poolset_uuid) != 0 || random_uuid(attributes.uuid) != 0) {
        perror("getrandom");
        return NULL;
    }
    /* No other replica: the ring of replicas is this one alone. */
    memcpy(attributes.next_uuid, attributes.uuid, sizeof attributes.uuid);
    memcpy(attributes.prev_uuid, attributes.uuid, sizeof attributes.uuid);

    unsigned lanes = LANES;
    RPMEMpool *pool = rpmem_create(target, pool_set, memory, size, &lanes, &attributes);
    if (pool != NULL) {
        *created = true;
        return pool;
    }
    if (errno != EEXIST) {
        complain("creating the replica");
        return NULL;
    }

    struct rpmem_pool_attr found;
    lanes = LANES;
    pool = rpmem_open(target, pool_set, memory, size, &lanes, &found);
    if (pool == NULL) {
        complain("opening the replica");
        return NULL;
    }
    if (memcmp(found.signature, attributes.signature, sizeof found.signature) != 0) {
        fprintf(stderr, "%s on %s holds a pool of another program: name another pool set\n", pool_set, target);
        rpmem_close(pool);
        errno = EPERM;
        return NULL;
    }
    *created = false;
    return pool;
}

void complain(const char *what) {
    int number = errno;
    fprintf(stderr, "%s: %s\n", what, rpmem_errormsg());
    errno = number;
}
