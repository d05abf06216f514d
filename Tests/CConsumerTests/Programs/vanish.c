// vanish TARGET SET CALL ERRNO: prints "ready" once a pool of 4 MiB is open, reads a line, and expects the target to be
// out of reach by then: CALL (persist, drain, deep, read, attributes or close) fails with ERRNO, and then all calls do.
#include "check.h"
#include <unistd.h>

static const size_t size = 4 << 20;
static char *memory;
static RPMEMpool *pool;

static int call(const char *name) {
    struct rpmem_pool_attr attributes = some_attributes();
    if (strcmp(name, "persist") == 0) return rpmem_persist(pool, HEADER, 100, 0, 0);
    if (strcmp(name, "deep") == 0) return rpmem_deep_persist(pool, HEADER, 100, 0);
    if (strcmp(name, "read") == 0) return rpmem_read(pool, memory, HEADER, 100000, 0);
    if (strcmp(name, "attributes") == 0) return rpmem_set_attr(pool, &attributes);
    if (strcmp(name, "close") == 0) return rpmem_close(pool);
    CHECK(strcmp(name, "drain") == 0);
    // More than a lane's window, and than what the network takes in by itself.
    for (int i = 0; i < 100; i++) {
        if (rpmem_flush(pool, HEADER + (size_t)i * 40000, 40000, 0, RPMEM_FLUSH_RELAXED) != 0) return -1;
    }
    return rpmem_drain(pool, 0, 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    memory = pool_memory(size);
    unsigned lanes = 2;
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    if (!pool && errno == EEXIST) pool = rpmem_open(argv[1], argv[2], memory, size, &lanes, NULL);
    CHECK(pool != NULL && lanes == 2);
    CHECK(rpmem_persist(pool, HEADER, 100, 0, 0) == 0);
    CHECK(rpmem_persist(pool, HEADER, 100, 1, 0) == 0);
    puts("ready");
    fflush(stdout);
    char byte;
    CHECK(read(STDIN_FILENO, &byte, 1) == 1);

    int number = strcmp(argv[4], "ETIMEDOUT") == 0 ? ETIMEDOUT : ECONNRESET;
    errno = 0;
    CHECK(call(argv[3]) == -1 && errno == number);
    puts(rpmem_errormsg());
    if (strcmp(argv[3], "close") == 0) return 0;
    // The first reason stays.
    char reason[1000];
    CHECK(snprintf(reason, sizeof reason, "%s", rpmem_errormsg()) > 0);
    static const char *calls[] = {"persist", "drain", "deep", "read", "attributes", "close"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        errno = 0;
        CHECK(call(calls[i]) == -1 && errno == number);
        CHECK(strcmp(rpmem_errormsg(), reason) == 0);
    }
    return 0;
}
