// threads TARGET SET THREADS FILE: creates a pool of FILE, has each thread replicate its own part of it on a lane of its
// own in every way there is, and reads all back.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 40 };

static char *memory;
static size_t share;
static RPMEMpool *pool;
static unsigned lanes;

static unsigned next_random(unsigned *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

static void *work(void *argument) {
    unsigned lane = (unsigned)(size_t)argument;
    unsigned random = 12345 + lane;
    size_t start = HEADER + lane * share;
    for (int round = 0; round < ROUNDS; round++) {
        // Most are short, some are longer than a request, any alignment.
        size_t length = next_random(&random) % (round % 4 == 0 ? 60000 : 600) + 1;
        size_t offset = start + next_random(&random) % (share - length);
        for (size_t i = 0; i < length; i++) memory[offset + i] = (char)next_random(&random);
        switch (round % 5) {
        case 0: CHECK(rpmem_persist(pool, offset, length, lane, 0) == 0); break;
        case 1: CHECK(rpmem_persist(pool, offset, length, lane, RPMEM_PERSIST_RELAXED) == 0); break;
        case 2: CHECK(rpmem_deep_persist(pool, offset, length, lane) == 0); break;
        case 3: CHECK(rpmem_flush(pool, offset, length, lane, 0) == 0); break;
        case 4:
            CHECK(rpmem_flush(pool, offset, length, lane, RPMEM_FLUSH_RELAXED) == 0);
            CHECK(rpmem_drain(pool, lane, 0) == 0);
            break;
        }
        // Nothing of the host's is registered, least of all this.
        if (round % 5 != 3) {
            char *copy = malloc(length + 1);
            CHECK(copy != NULL);
            CHECK(rpmem_read(pool, copy + 1, offset, length, lane) == 0);
            CHECK(memcmp(copy + 1, memory + offset, length) == 0);
            free(copy);
        }
    }
    CHECK(rpmem_drain(pool, lane, 0) == 0);
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    int file = open(argv[4], O_RDWR);
    struct stat status;
    CHECK(file >= 0 && fstat(file, &status) == 0);
    size_t size = (size_t)status.st_size;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(memory != MAP_FAILED);
    close(file);
    unsigned wanted = (unsigned)atoi(argv[3]);
    lanes = wanted;
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    CHECK(pool != NULL);
    CHECK(lanes == wanted);
    share = (size - HEADER) / lanes;

    // What does not fit is refused, and the pool stays as good as it was.
    CHECK_REFUSED(rpmem_persist(pool, 0, 8, 0, 0), EINVAL, "header");
    CHECK_REFUSED(rpmem_flush(pool, 4095, 8, 0, 0), EINVAL, "header");
    CHECK_REFUSED(rpmem_deep_persist(pool, 8, 8, 0), EINVAL, "header");
    CHECK_REFUSED(rpmem_persist(pool, size, 1, 0, 0), EINVAL, "not inside the pool");
    CHECK_REFUSED(rpmem_persist(pool, HEADER, size, 0, 0), EINVAL, "not inside the pool");
    CHECK_REFUSED(rpmem_flush(pool, SIZE_MAX, 2, 0, 0), EINVAL, "not inside the pool");
    CHECK_REFUSED(rpmem_read(pool, memory, HEADER, SIZE_MAX, 0), EINVAL, "not inside the pool");
    CHECK_REFUSED(rpmem_read(pool, NULL, HEADER, 1, 0), EINVAL, "buffer is NULL");
    CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, lanes, 0), EINVAL, "lane");
    CHECK_REFUSED(rpmem_drain(pool, lanes, 0), EINVAL, "lane");
    CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, 0, 2), EINVAL, "RPMEM_PERSIST_RELAXED");
    CHECK_REFUSED(rpmem_flush(pool, HEADER, 8, 0, 3), EINVAL, "RPMEM_FLUSH_RELAXED");
    CHECK_REFUSED(rpmem_drain(pool, 0, 1), EINVAL, "flags");
    CHECK(rpmem_persist(pool, HEADER, 0, 0, 0) == 0);
    CHECK(rpmem_read(pool, NULL, HEADER, 0, 0) == 0);

    pthread_t threads[64];
    CHECK(lanes <= 64);
    for (unsigned lane = 0; lane < lanes; lane++) {
        CHECK(pthread_create(&threads[lane], NULL, work, (void *)(size_t)lane) == 0);
    }
    for (unsigned lane = 0; lane < lanes; lane++) CHECK(pthread_join(threads[lane], NULL) == 0);

    attributes.major = 7;
    CHECK(rpmem_set_attr(pool, &attributes) == 0);
    CHECK(rpmem_close(pool) == 0);

    // All of it again, from a new session.
    struct rpmem_pool_attr found;
    lanes = 1;
    pool = rpmem_open(argv[1], argv[2], memory, size, &lanes, &found);
    CHECK(pool != NULL && lanes == 1);
    CHECK(memcmp(&found, &attributes, sizeof found) == 0);
    char *copy = malloc(size);
    CHECK(copy != NULL && rpmem_read(pool, copy, 0, size, 0) == 0);
    CHECK(memcmp(copy + HEADER, memory + HEADER, size - HEADER) == 0);
    CHECK(memcmp(copy, "CONSUMER", 8) == 0);
    free(copy);
    CHECK(rpmem_close(pool) == 0);
    return 0;
}
