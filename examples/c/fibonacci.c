/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fibonacci [-r] TARGET POOLSET PATH: the Fibonacci numbers, one more with each run, kept on this machine and on another.
 *
 * PATH is persistent memory here, a file or a Device DAX, and the target has its replica. Either may be lost or
 * overwritten: the next run finds out, goes on from the other, and repairs what was damaged. When the replica's header is
 * damaged as well, so that the target cannot open it, -r has it made anew from what is here.
 */
#include "replica.h"

#include <errno.h>
#include <inttypes.h>
#include <libpmem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t pool_size = 32 << 20;

/* Two neighbours of the sequence, as they lie in memory behind the header page. */
struct numbers {
    char signature[8];
    uint64_t index;   /* of the first */
    uint64_t values[2];
    uint64_t checksum; /* of the above */
};

enum condition { VALID, EMPTY, DAMAGED };

/* A mapped pool: its numbers, and how to make changes to it durable. */
struct pool {
    char *memory;
    size_t mapped;
    int is_pmem;
    struct numbers *numbers;
};

/* FNV-1a. */
static uint64_t checksum(const struct numbers *numbers) {
    uint64_t sum = 14695981039346656037u;
    const unsigned char *bytes = (const unsigned char *)numbers;
    for (size_t i = 0; i < offsetof(struct numbers, checksum); i++) sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

static struct numbers numbers_at(uint64_t index, uint64_t first, uint64_t second) {
    struct numbers numbers = {{'F', 'I', 'B', 'O'}, index, {first, second}, 0};
    numbers.checksum = checksum(&numbers);
    return numbers;
}

static struct numbers first_numbers(void) { return numbers_at(0, 0, 1); }

static struct numbers next_numbers(const struct numbers *numbers) {
    uint64_t sum;
    if (__builtin_add_overflow(numbers->values[0], numbers->values[1], &sum)) {
        puts("The next number has more than 64 bits: from the start again.");
        return first_numbers();
    }
    return numbers_at(numbers->index + 1, numbers->values[1], sum);
}

static enum condition examine(const struct numbers *numbers) {
    static const struct numbers none;
    if (memcmp(numbers, &none, sizeof none) == 0) return EMPTY;
    return memcmp(numbers->signature, "FIBO", 5) == 0 && numbers->checksum == checksum(numbers) ? VALID : DAMAGED;
}

/* Makes a range of the pool durable on this machine. */
static int persist_here(const struct pool *pool, const void *start, size_t length) {
    if (pool->is_pmem) {
        pmem_persist(start, length);
        return 0;
    }
    if (pmem_msync(start, length) == 0) return 0;
    perror("msync");
    return -1;
}

/* Maps PATH, which is made when it is a file that does not exist. */
static int map(struct pool *pool, const char *path) {
    struct stat status;
    bool is_new = stat(path, &status) != 0 && errno == ENOENT;
    pool->memory = is_new ? pmem_map_file(path, pool_size, PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0600, &pool->mapped,
                                &pool->is_pmem)
                          : pmem_map_file(path, 0, 0, 0, &pool->mapped, &pool->is_pmem);
    if (pool->memory == NULL) {
        fprintf(stderr, "%s: %s\n", path, pmem_errormsg());
        return -1;
    }
    if (pool->mapped < pool_size) {
        fprintf(stderr, "%s has %zu bytes, and %zu are needed\n", path, pool->mapped, pool_size);
        pmem_unmap(pool->memory, pool->mapped);
        return -1;
    }
    pool->numbers = (struct numbers *)(pool->memory + DATA_OFFSET);
    return 0;
}

/* Puts the best of both sides in place here, and repairs the sides that are damaged. Returns whether there was any in
 * *found. */
static int recover(const struct pool *pool, RPMEMpool *replica, const struct numbers *remote, bool *found) {
    enum condition here = examine(pool->numbers), there = examine(remote);
    if (here == DAMAGED) puts("The pool here is damaged.");
    if (there == DAMAGED) puts("The replica is damaged.");
    *found = here == VALID || there == VALID;

    struct numbers best = first_numbers();
    if (here == VALID) best = *pool->numbers;
    if (there == VALID && (here != VALID || remote->index > best.index)) {
        best = *remote;
        puts("Going on from the replica.");
    }
    if (here == DAMAGED) {
        /* Who knows what else was overwritten. */
        memset(pool->memory, 0, pool_size);
        *pool->numbers = best;
        if (persist_here(pool, pool->memory, pool_size) != 0) return -1;
        puts("The pool here is repaired.");
    } else {
        *pool->numbers = best;
        if (persist_here(pool, pool->numbers, sizeof best) != 0) return -1;
    }
    if (there == DAMAGED) {
        if (rpmem_persist(replica, DATA_OFFSET, pool_size - DATA_OFFSET, 0, RPMEM_PERSIST_RELAXED) != 0) {
            complain("repairing the replica");
            return -1;
        }
        puts("The replica is repaired.");
    }
    return 0;
}

/* Recovers, takes one step in the sequence and makes it durable, here first. */
static int step(const struct pool *pool, RPMEMpool *replica, bool is_new) {
    struct numbers remote;
    memset(&remote, 0, sizeof remote);
    if (!is_new && rpmem_read(replica, &remote, DATA_OFFSET, sizeof remote, 0) != 0) {
        complain("reading the replica");
        return -1;
    }
    bool found;
    if (recover(pool, replica, &remote, &found) != 0) return -1;
    if (found) *pool->numbers = next_numbers(pool->numbers);
    if (persist_here(pool, pool->numbers, sizeof remote) != 0) return -1;
    if (rpmem_persist(replica, DATA_OFFSET, sizeof remote, 0, 0) != 0) {
        complain("replicating the numbers");
        return -1;
    }
    if (pool->numbers->index == 0) printf("F(0) = %" PRIu64 "\n", pool->numbers->values[0]);
    printf("F(%" PRIu64 ") = %" PRIu64 "\n", pool->numbers->index + 1, pool->numbers->values[1]);
    return 0;
}

int main(int argc, char **argv) {
    bool replaces = false;
    int option;
    while ((option = getopt(argc, argv, "r")) == 'r') replaces = true;
    if (option != -1 || argc - optind != 3) {
        fprintf(stderr,
            "usage: %s [-r] TARGET POOLSET PATH\n"
            "  -r  make the replica anew, if it cannot be opened and PATH is undamaged\n"
            "  such as: %s user@target fibonacci.set /dev/dax0.0\n",
            argv[0], argv[0]);
        return 2;
    }
    const char *target = argv[optind], *pool_set = argv[optind + 1], *path = argv[optind + 2];
    struct pool pool;
    if (map(&pool, path) != 0) return 1;

    int status = 1;
    bool is_new;
    RPMEMpool *replica = open_or_create(target, pool_set, pool.memory, pool_size, "FIBO", &is_new);
    if (replica == NULL && errno == EINVAL && examine(pool.numbers) == VALID) {
        if (!replaces) {
            fprintf(stderr, "If that replica is damaged, -r makes it anew from %s.\n", path);
        } else if (rpmem_remove(target, pool_set, RPMEM_REMOVE_FORCE) != 0) {
            complain("removing the replica");
        } else {
            puts("The replica is made anew.");
            replica = open_or_create(target, pool_set, pool.memory, pool_size, "FIBO", &is_new);
        }
    }
    if (replica != NULL) {
        if (step(&pool, replica, is_new) == 0) status = 0;
        if (rpmem_close(replica) != 0) {
            complain("closing the replica");
            status = 1;
        }
    }
    pmem_unmap(pool.memory, pool.mapped);
    return status;
}
