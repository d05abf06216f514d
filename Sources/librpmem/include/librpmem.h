/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * librpmem.h: replication of persistent memory to another machine.
 *
 * A pool is memory of this process, mapped and page-aligned. A target, where rpmemd runs, holds a replica of it. The
 * functions here copy ranges of the pool to the replica, and return when they are durable there. librpmem(7),
 * rpmem_create(3) and rpmem_persist(3) have the details.
 *
 * Names, values and layouts are those of version 1.3 of this interface, which PMDK had up to 1.12.
 */
#ifndef LIBRPMEM_H
#define LIBRPMEM_H 1

#include <stddef.h>
#include <stdint.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface, for rpmem_check_version(). */
#define RPMEM_MAJOR_VERSION 1
#define RPMEM_MINOR_VERSION 3

/* Lengths of the fields below, in bytes. */
#define RPMEM_POOL_HDR_SIG_LEN 8
#define RPMEM_POOL_HDR_UUID_LEN 16
#define RPMEM_POOL_USER_FLAGS_LEN 16

/* What a target asks for at least, in bytes: of a pool (8 KiB), and of each of its parts (2 MiB). */
#define RPMEM_MIN_POOL ((size_t)8192)
#define RPMEM_MIN_PART ((size_t)2097152)

/* Flags of rpmem_persist() and rpmem_flush(): bytes may change in any order on the target. */
#define RPMEM_PERSIST_RELAXED (1U << 0)
#define RPMEM_FLUSH_RELAXED (1U << 0)

/* Flags of rpmem_remove(): go on where a part cannot be removed; remove the pool set file too. */
#define RPMEM_REMOVE_FORCE 0x1
#define RPMEM_REMOVE_POOL_SET 0x2

/* An open pool. */
typedef struct rpmem_pool RPMEMpool;

/* What the target keeps about a pool in its headers. */
struct rpmem_pool_attr {
    char signature[RPMEM_POOL_HDR_SIG_LEN]; /* of the format of what lies in the pool */
    uint32_t major;                         /* its version */
    uint32_t compat_features;               /* a reader may know these features, */
    uint32_t incompat_features;             /* must know these, */
    uint32_t ro_compat_features;            /* must know these to write */
    unsigned char poolset_uuid[RPMEM_POOL_HDR_UUID_LEN]; /* of the pool and its replicas together */
    unsigned char uuid[RPMEM_POOL_HDR_UUID_LEN];         /* of this replica's first part */
    unsigned char next_uuid[RPMEM_POOL_HDR_UUID_LEN];    /* of the next replica's first part */
    unsigned char prev_uuid[RPMEM_POOL_HDR_UUID_LEN];    /* of the previous replica's first part */
    unsigned char user_flags[RPMEM_POOL_USER_FLAGS_LEN]; /* the program's own */
};

/* Pools: rpmem_create(3). */

RPMEMpool *rpmem_create(const char *target, const char *pool_set_name, void *pool_addr, size_t pool_size,
    unsigned *nlanes, const struct rpmem_pool_attr *create_attr);

RPMEMpool *rpmem_open(const char *target, const char *pool_set_name, void *pool_addr, size_t pool_size,
    unsigned *nlanes, struct rpmem_pool_attr *open_attr);

int rpmem_set_attr(RPMEMpool *rpp, const struct rpmem_pool_attr *attr);

int rpmem_close(RPMEMpool *rpp);

int rpmem_remove(const char *target, const char *pool_set_name, int flags);

/* Data: rpmem_persist(3). */

int rpmem_persist(RPMEMpool *rpp, size_t offset, size_t length, unsigned lane, unsigned flags);

int rpmem_deep_persist(RPMEMpool *rpp, size_t offset, size_t length, unsigned lane);

int rpmem_flush(RPMEMpool *rpp, size_t offset, size_t length, unsigned lane, unsigned flags);

int rpmem_drain(RPMEMpool *rpp, unsigned lane, unsigned flags);

int rpmem_read(RPMEMpool *rpp, void *buff, size_t offset, size_t length, unsigned lane);

/* The library: librpmem(7). */

const char *rpmem_check_version(unsigned major_required, unsigned minor_required);

const char *rpmem_errormsg(void);

/* Programs and libraries that were built against each other's headers agree on this layout. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define RPMEM_ASSERT_LAYOUT(condition) static_assert(condition, "layout of struct rpmem_pool_attr")
#elif !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define RPMEM_ASSERT_LAYOUT(condition) _Static_assert(condition, "layout of struct rpmem_pool_attr")
#endif
#ifdef RPMEM_ASSERT_LAYOUT
RPMEM_ASSERT_LAYOUT(sizeof(struct rpmem_pool_attr) == 104);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, signature) == 0);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, major) == 8);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, compat_features) == 12);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, incompat_features) == 16);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, ro_compat_features) == 20);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, poolset_uuid) == 24);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, uuid) == 40);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, next_uuid) == 56);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, prev_uuid) == 72);
RPMEM_ASSERT_LAYOUT(offsetof(struct rpmem_pool_attr, user_flags) == 88);
#undef RPMEM_ASSERT_LAYOUT
#endif

#ifdef __cplusplus
}
#endif

#endif
