// errno TARGET SET: a call that succeeds leaves errno alone, whatever the library did meanwhile.
#include "check.h"

enum { BEFORE = 4711 };

// `condition` holds, and errno is what it was.
#define CHECK_QUIET(condition)    \
    do {                          \
        errno = BEFORE;           \
        CHECK(condition);         \
        CHECK(errno == BEFORE);   \
    } while (0)

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *target = argv[1], *set = argv[2];
    const size_t size = 4 << 20;
    char *memory = pool_memory(size);
    struct rpmem_pool_attr attributes = some_attributes();
    unsigned lanes = 2;
    RPMEMpool *pool;

    CHECK_QUIET(rpmem_check_version(RPMEM_MAJOR_VERSION, RPMEM_MINOR_VERSION) == NULL);
    CHECK_QUIET(rpmem_errormsg() != NULL);
    CHECK_QUIET((pool = rpmem_create(target, set, memory, size, &lanes, &attributes)) != NULL);
    CHECK_QUIET(rpmem_persist(pool, HEADER, 100, 0, 0) == 0);
    CHECK_QUIET(rpmem_persist(pool, HEADER, 100, 1, RPMEM_PERSIST_RELAXED) == 0);
    CHECK_QUIET(rpmem_deep_persist(pool, HEADER, 100, 0) == 0);
    CHECK_QUIET(rpmem_flush(pool, HEADER, 100, 0, 0) == 0);
    CHECK_QUIET(rpmem_drain(pool, 0, 0) == 0);
    CHECK_QUIET(rpmem_read(pool, memory, HEADER, 100, 0) == 0);
    CHECK_QUIET(rpmem_set_attr(pool, &attributes) == 0);
    CHECK_QUIET(rpmem_close(pool) == 0);
    CHECK_QUIET((pool = rpmem_open(target, set, memory, size, &lanes, &attributes)) != NULL);
    CHECK_QUIET(rpmem_close(pool) == 0);
    CHECK_QUIET(rpmem_remove(target, set, 0) == 0);
    return 0;
}
