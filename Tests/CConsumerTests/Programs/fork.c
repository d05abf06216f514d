// fork TARGET SET OTHERSET: children of a process with an open pool cannot touch its session, not even by exiting, and
// may have sessions of their own.
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t size = 8 << 20;
static char *memory;
static RPMEMpool *pool;
static atomic_int is_over;

// Keeps another lane busy meanwhile.
static void *persist_on(void *unused) {
    while (!is_over) CHECK(rpmem_persist(pool, size / 2, 5000, 1, 0) == 0);
    return unused;
}

static void await_success(pid_t child) {
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    memory = pool_memory(size);
    unsigned lanes = 2;
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    CHECK(pool != NULL && lanes == 2);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, persist_on, NULL) == 0);

    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            char byte;
            CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_flush(pool, HEADER, 8, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_drain(pool, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_deep_persist(pool, HEADER, 8, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_read(pool, &byte, HEADER, 1, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_set_attr(pool, &attributes), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_close(pool), EBADF, "child of that process");
            void *library = dlopen("librpmem.so.1", RTLD_NOW);
            CHECK(library != NULL && dlclose(library) == 0);
            // With all that runs at exit.
            exit(0);
        }
        await_success(child);
        memset(memory + HEADER, round, 10000);
        CHECK(rpmem_persist(pool, HEADER, 10000, 0, 0) == 0);
    }
    is_over = 1;
    CHECK(pthread_join(thread, NULL) == 0);

    // A child with a pool of its own, and a grandchild that must not touch that one either.
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char *own = pool_memory(size);
        lanes = 1;
        RPMEMpool *second = rpmem_create(argv[1], argv[3], own, size, &lanes, &attributes);
        CHECK(second != NULL);
        CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, 0, 0), EBADF, "child of that process");
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_persist(second, HEADER, 8, 0, 0), EBADF, "child of that process");
            exit(0);
        }
        await_success(grandchild);
        CHECK(rpmem_persist(second, HEADER, 10000, 0, 0) == 0);
        CHECK(rpmem_close(second) == 0);
        exit(0);
    }
    await_success(child);

    // A child that outlives the parent's session must not keep it from ending.
    int ready[2];
    CHECK(pipe(ready) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(ready[1]);
        exit(read(ready[0], &byte, 1) == 0 ? 0 : 1);
    }
    CHECK(rpmem_persist(pool, HEADER, 10000, 0, 0) == 0);
    CHECK(rpmem_close(pool) == 0);
    CHECK(waitpid(child, NULL, WNOHANG) == 0);
    close(ready[0]);
    close(ready[1]);
    await_success(child);
    return 0;
}
