// removal plain|ignore|reap TARGET SET: rpmem_remove in a host that does nothing about its children, ignores SIGCHLD, or
// waits for any child in a thread. Prints "removed", or the name of errno and the message.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void *reaper(void *unused) {
    for (;;) {
        if (waitpid(-1, NULL, 0) < 0) usleep(100);
    }
    return unused;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    pthread_t thread;
    if (strcmp(argv[1], "ignore") == 0) CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    if (strcmp(argv[1], "reap") == 0) CHECK(pthread_create(&thread, NULL, reaper, NULL) == 0);
    if (rpmem_remove(argv[2], argv[3], 0) == 0) {
        puts("removed");
    } else {
        const char *name = strerrorname_np(errno);
        printf("%s: %s\n", name ? name : "?", rpmem_errormsg());
    }
    return 0;
}
