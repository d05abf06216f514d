// errors TARGET SET CALL: creates a pool of 4 MiB, or opens the one that is there, prints "ready", reads a line, and prints the
// name of errno that CALL ends with: range, twice (on one lane by two threads), persist, attributes, child, or child-close.
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static RPMEMpool *pool;

static int explain(int result) {
    const char *name = result == 0 ? "success" : strerrorname_np(errno);
    printf("%s\n", name ? name : "?");
    fflush(stdout);
    return 0;
}

// Of two callers one is refused at once, and the other waits for a target that is stopped.
static void *persist_alone(void *unused) {
    if (rpmem_persist(pool, HEADER, 100, 0, 0) != 0 && errno == EBUSY) {
        explain(-1);
        _exit(0);
    }
    return unused;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    const size_t size = 4 << 20;
    const char *call = argv[3];
    char *memory = pool_memory(size);
    unsigned lanes = 1;
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    if (!pool && (errno == EEXIST || errno == EACCES)) pool = rpmem_open(argv[1], argv[2], memory, size, &lanes, NULL);
    CHECK(pool != NULL);
    puts("ready");
    fflush(stdout);
    char byte;
    CHECK(read(STDIN_FILENO, &byte, 1) == 1);
    if (strcmp(call, "range") == 0) return explain(rpmem_persist(pool, size, 1, 0, 0));
    if (strcmp(call, "persist") == 0) return explain(rpmem_persist(pool, HEADER, 100, 0, RPMEM_PERSIST_RELAXED));
    if (strcmp(call, "attributes") == 0) return explain(rpmem_set_attr(pool, &attributes));
    if (strcmp(call, "twice") == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, persist_alone, NULL) == 0);
        persist_alone(NULL);
        pthread_join(thread, NULL);
        return explain(0);
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        exit(explain(strcmp(call, "child-close") == 0 ? rpmem_close(pool) : rpmem_persist(pool, HEADER, 8, 0, 0)));
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(rpmem_close(pool) == 0);
    return 0;
}
