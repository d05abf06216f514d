// leave exit|close TARGET SET: ends, or closes the pool first, while threads with small stacks are replicating.
#include "check.h"
#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4, SIZE = 4 << 20 };

static RPMEMpool *pool;

static void *work(void *argument) {
    unsigned lane = (unsigned)(size_t)argument;
    while (rpmem_persist(pool, HEADER + lane * 10000, 9000, lane, lane % 2 ? RPMEM_PERSIST_RELAXED : 0) == 0) continue;
    // Whenever that is: the pool is closed, and stays so.
    CHECK(errno == EBADF);
    for (int i = 0; i < 1000; i++) CHECK_REFUSED(rpmem_drain(pool, lane, 0), EBADF, "closed");
    CHECK_REFUSED(rpmem_close(pool), EBADF, "closed");
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    char *memory = pool_memory(SIZE);
    unsigned lanes = THREADS;
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[2], argv[3], memory, SIZE, &lanes, &attributes);
    if (!pool && errno == EEXIST) pool = rpmem_open(argv[2], argv[3], memory, SIZE, &lanes, NULL);
    CHECK(pool != NULL && lanes == THREADS);
    pthread_t threads[THREADS];
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 128 << 10) == 0);
    for (size_t lane = 0; lane < THREADS; lane++) {
        CHECK(pthread_create(&threads[lane], &small, work, (void *)lane) == 0);
    }
    usleep(20000);
    if (strcmp(argv[1], "close") == 0) {
        CHECK(rpmem_close(pool) == 0);
        munmap(memory, SIZE);
        for (int lane = 0; lane < THREADS; lane++) CHECK(pthread_join(threads[lane], NULL) == 0);
    }
    exit(0);
}
