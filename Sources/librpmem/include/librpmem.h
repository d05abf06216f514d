/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * librpmem.h: replication of persistent memory to another machine.
 *
 * A pool is page-aligned memory of this process. A target, a machine with rpmemd, holds a replica of it.
 * rpmem_persist() and rpmem_drain() return when the ranges are durable on the target. See librpmem(7),
 * rpmem_create(3) and rpmem_persist(3).
 *
 * Names, values and layouts are those of version 1.3 of the interface, as in PMDK 1.12.
 */
#ifndef LIBRPMEM_H
#define LIBRPMEM_H 1

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface, for rpmem_check_version(). */
#define RPMEM_MAJOR_VERSION 1
#define RPMEM_MINOR_VERSION 3

/* Lengths of fields of struct rpmem_pool_attr in bytes. */
#define RPMEM_POOL_HDR_SIG_LEN 8
#define RPMEM_POOL_HDR_UUID_LEN 16
#define RPMEM_POOL_USER_FLAGS_LEN 16

/* The smallest pool (8 KiB) and the smallest part of a pool set (2 MiB) that a target accepts, in bytes. */
#define RPMEM_MIN_POOL ((size_t)8192)
#define RPMEM_MIN_PART ((size_t)2097152)

/*
 * Flags of rpmem_persist() and rpmem_flush(): the bytes of the range may change in any order on the target. Without
 * the flag, each aligned group of eight bytes changes atomically.
 */
#define RPMEM_PERSIST_RELAXED (1U << 0)
#define RPMEM_FLUSH_RELAXED (1U << 0)

/*
 * Flags of rpmem_remove(). FORCE passes over missing parts and a missing pool set file; every other error still
 * ends the call. POOL_SET removes the pool set file as well.
 */
#define RPMEM_REMOVE_FORCE 0x1
#define RPMEM_REMOVE_POOL_SET 0x2

/* An open pool. */
typedef struct rpmem_pool RPMEMpool;

/* Attributes of a pool, which the target stores in the headers of its parts. */
struct rpmem_pool_attr {
    char signature[RPMEM_POOL_HDR_SIG_LEN]; /* names the format of the pool's contents */
    uint32_t major;                         /* version of that format */
    uint32_t compat_features;               /* programs without these features may write */
    uint32_t incompat_features;             /* programs without these features may not open */
    uint32_t ro_compat_features;            /* programs without these features may only read */
    unsigned char poolset_uuid[RPMEM_POOL_HDR_UUID_LEN]; /* of the pool with all its replicas */
    unsigned char uuid[RPMEM_POOL_HDR_UUID_LEN];         /* of this replica's first part */
    unsigned char next_uuid[RPMEM_POOL_HDR_UUID_LEN];    /* of the next replica's first part */
    unsigned char prev_uuid[RPMEM_POOL_HDR_UUID_LEN];    /* of the previous replica's first part */
    unsigned char user_flags[RPMEM_POOL_USER_FLAGS_LEN]; /* for the program's use */
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

/* PMDK's header has the same layout, so a program built with either header works with either library. */
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
