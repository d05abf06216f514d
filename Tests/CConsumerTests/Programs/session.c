// session create|open|remove|lose TARGET SET LANES [BYTES]: one session with a pool of BYTES, 4 MiB without it, and what came of
// it: "lanes N", or the name of errno and the message.
//
// lose: prints "ready" once the pool is open, reads a line, and expects the target to be gone by then.
#include "check.h"
#include <unistd.h>

static int explain(void) {
    const char *name = strerrorname_np(errno);
    printf("%s: %s\n", name ? name : "?", rpmem_errormsg());
    return 0;
}

int main(int argc, char **argv) {
    CHECK(argc == 5 || argc == 6);
    const char *target = argv[2], *set = argv[3];
    if (strcmp(argv[1], "remove") == 0) {
        if (rpmem_remove(target, set, 0) != 0) return explain();
        puts("removed");
        return 0;
    }
    const size_t size = argc == 6 ? (size_t)atol(argv[5]) : 4 << 20;
    char *memory = pool_memory(size);
    unsigned lanes = (unsigned)atoi(argv[4]);
    struct rpmem_pool_attr attributes = some_attributes();
    RPMEMpool *pool = strcmp(argv[1], "open") == 0 ? rpmem_open(target, set, memory, size, &lanes, NULL)
                                                   : rpmem_create(target, set, memory, size, &lanes, &attributes);
    if (!pool) return explain();
    printf("lanes %u\n", lanes);
    if (strcmp(argv[1], "lose") == 0) {
        puts("ready");
        fflush(stdout);
        char byte;
        CHECK(read(STDIN_FILENO, &byte, 1) == 1);
        CHECK_REFUSED(rpmem_persist(pool, HEADER, 100, 0, 0), ECONNRESET, "lost");
        // From now on all fails alike.
        CHECK_REFUSED(rpmem_persist(pool, HEADER, 100, 1, RPMEM_PERSIST_RELAXED), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_flush(pool, HEADER, 100, 1, 0), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_drain(pool, 0, 0), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_deep_persist(pool, HEADER, 100, 1), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_read(pool, memory, HEADER, 100, 0), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_set_attr(pool, &attributes), ECONNRESET, "lost");
        CHECK_REFUSED(rpmem_close(pool), ECONNRESET, "lost");
        return 0;
    }
    CHECK(rpmem_persist(pool, HEADER, 100, 0, 0) == 0);
    CHECK(rpmem_close(pool) == 0);
    return 0;
}
