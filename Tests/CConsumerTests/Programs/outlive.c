// outlive TARGET SET: a child made by fork(2) while a pool is open outlives the session, which ends all the same.
//
// The pool is closed and opened again while a first child lives. A second child is made, "forked" printed, and a line
// read, during which the program may be killed. Each child says that it is still there when standard input ends.
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t size = 4 << 20;

static pid_t child_until(int descriptor, const char *text) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0) return child;
    char byte;
    while (read(descriptor, &byte, 1) > 0) continue;
    dprintf(STDOUT_FILENO, "%s\n", text);
    _exit(0);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    char *memory = pool_memory(size);
    unsigned lanes = 2;
    struct rpmem_pool_attr attributes = some_attributes();
    RPMEMpool *pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    CHECK(pool != NULL);
    CHECK(rpmem_persist(pool, HEADER, 10000, 1, 0) == 0);

    int gate[2];
    CHECK(pipe(gate) == 0);
    // It must not keep the gate open itself.
    pid_t first = fork();
    CHECK(first >= 0);
    if (first == 0) {
        close(gate[1]);
        char byte;
        _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
    }
    CHECK(rpmem_close(pool) == 0);
    for (int round = 0; round < 3; round++) {
        pool = rpmem_open(argv[1], argv[2], memory, size, &lanes, NULL);
        CHECK(pool != NULL);
        CHECK(rpmem_persist(pool, HEADER, 10000, 1, 0) == 0);
        if (round < 2) CHECK(rpmem_close(pool) == 0);
    }
    CHECK(waitpid(first, NULL, WNOHANG) == 0);
    close(gate[0]);
    close(gate[1]);
    int status = -1;
    CHECK(waitpid(first, &status, 0) == first && WIFEXITED(status) && WEXITSTATUS(status) == 0);

    pid_t second = child_until(STDIN_FILENO, "the child is there");
    puts("forked");
    fflush(stdout);
    while (waitpid(second, NULL, 0) != second) continue;
    CHECK(rpmem_close(pool) == 0);
    return 0;
}
