// What the programs of these tests share. A program ends with status 0 when all of its checks held; one that did not is
// named on standard error.
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <librpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(condition)                                                                                          \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            fprintf(stderr, "%s:%d: not so: %s (errno %d, message \"%s\")\n", __FILE__, __LINE__, #condition, errno, \
                rpmem_errormsg());                                                                                \
            exit(1);                                                                                              \
        }                                                                                                         \
    } while (0)

// `call` fails with `number`, and the message contains `text`.
#define CHECK_REFUSED(call, number, text)                     \
    do {                                                      \
        errno = 0;                                            \
        CHECK((call) != 0);                                   \
        CHECK(errno == (number));                             \
        CHECK(strstr(rpmem_errormsg(), (text)) != NULL);      \
    } while (0)

enum { HEADER = 4096 };

// Zeroed memory for a pool.
static inline char *pool_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static inline struct rpmem_pool_attr some_attributes(void) {
    struct rpmem_pool_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(attributes.signature, "CONSUMER", 8);
    attributes.major = 0x01020304;
    attributes.compat_features = 0;
    attributes.incompat_features = 2;
    memset(attributes.poolset_uuid, 0x11, 16);
    memset(attributes.uuid, 0x22, 16);
    memset(attributes.next_uuid, 0x33, 16);
    memset(attributes.prev_uuid, 0x44, 16);
    memset(attributes.user_flags, 0x55, 16);
    return attributes;
}

#endif
