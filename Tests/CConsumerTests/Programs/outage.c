// outage TARGET SET fork|signals|descriptors: a program with RPMEM_RESUME. It prints "ready" once its lanes persist, and "lost" when
// a call has waited for the target for a while; the test kills the target's daemon, and lets no session begin before it has read
// "lost".
//
// fork: it forks children in the middle of the outage. signals: it gets signals all the time, with and without SA_RESTART.
// descriptors: its limit on open files has room for one session only.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t size = 8 << 20;
static char *memory;
static RPMEMpool *pool;
static atomic_int is_over;
static atomic_uint calls;
static volatile sig_atomic_t restarting, interrupting;

static void *persist_on(void *unused) {
    for (unsigned i = 0; !is_over; i++) {
        memset(memory + size / 2, (int)i, 5000);
        CHECK(rpmem_persist(pool, size / 2, 5000, 1, 0) == 0);
        atomic_fetch_add(&calls, 1);
    }
    return unused;
}

static void on_alarm(int number) {
    if (number == SIGALRM) restarting++;
    else interrupting++;
}

static void await_success(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) != child) CHECK(errno == EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void say(const char *what) {
    puts(what);
    fflush(stdout);
}

static void await_line(void) {
    char byte;
    ssize_t count;
    while ((count = read(STDIN_FILENO, &byte, 1)) < 0) CHECK(errno == EINTR);
    CHECK(count == 1);
}

// Until the other thread's call has waited for so long that it waits for the target.
static void await_outage(void) {
    for (unsigned before = calls, still = 0; still < 300; still++) {
        usleep(1000);
        if (calls != before) before = calls, still = 0;
    }
}

static void fork_children(void) {
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            // It does not wait for the end of the outage, and does not end it.
            char byte;
            struct rpmem_pool_attr attributes = some_attributes();
            CHECK_REFUSED(rpmem_persist(pool, HEADER, 8, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_drain(pool, 0, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_read(pool, &byte, HEADER, 1, 0), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_set_attr(pool, &attributes), EBADF, "child of that process");
            CHECK_REFUSED(rpmem_close(pool), EBADF, "child of that process");
            exit(0);
        }
        await_success(child);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    int forks = strcmp(argv[3], "fork") == 0, signals = strcmp(argv[3], "signals") == 0;
    memory = pool_memory(size);
    unsigned lanes = 2;
    if (!forks && !signals) {
        struct rlimit few = {200, 200};
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        lanes = 1000;
    }
    struct rpmem_pool_attr attributes = some_attributes();
    pool = rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes);
    CHECK(pool != NULL && (forks || signals ? lanes == 2 : lanes > 2 && lanes < 100));
    if (signals) {
        struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
        CHECK(sigaction(SIGALRM, &action, NULL) == 0);
        action.sa_flags = 0;
        CHECK(sigaction(SIGVTALRM, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
        struct itimerval often = {{0, 2000}, {0, 2000}};
        CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, persist_on, NULL) == 0);
    while (calls < 20) usleep(1000);
    say("ready");
    await_line();
    await_outage();
    if (forks) fork_children();
    unsigned restarted = (unsigned)restarting, interrupted = (unsigned)interrupting;
    // The thread waits in poll(2), which no flag restarts; this one does so in a moment.
    for (int i = 0; signals && i < 200; i++) {
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
        usleep(1000);
    }
    unsigned before = calls;
    say("lost");
    // This call may begin in the outage.
    memset(memory + HEADER, 77, 10000);
    CHECK(rpmem_persist(pool, HEADER, 10000, 0, 0) == 0);
    while (calls < before + 20) usleep(1000);
    if (signals) CHECK((unsigned)restarting > restarted && (unsigned)interrupting > interrupted);
    is_over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(rpmem_persist(pool, size / 2, 5000, 1, 0) == 0);
    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(rpmem_close(pool) == 0);
    CHECK(fwrite(memory + size / 2, 1, 1, stdout) == 1);
    return 0;
}
