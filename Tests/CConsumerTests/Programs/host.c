// host TARGET SET: a session leaves the process as it was: signal handlers and masks, locale, environment, descriptors,
// threads, memory; and its threads stay away from the host's signals.
#include "check.h"
#include <dirent.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

extern char **environ;

// glibc's own business.
#define SA_RESTORER 0x04000000

static void handler(int number) { (void)number; }

static int entries(const char *path) {
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    int count = 0;
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

// Threads other than this one that take signals.
static int listeners(void) {
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    // Those that cannot be blocked, the two that glibc keeps for itself, and those of a thread's own faults.
    static const int exempt_signals[] = {
        SIGKILL, SIGSTOP, 32, 33, SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    unsigned long long exempt = 0;
    for (size_t i = 0; i < sizeof exempt_signals / sizeof exempt_signals[0]; i++) exempt |= 1ULL << (exempt_signals[i] - 1);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (atoi(entry->d_name) == 0 || atoi(entry->d_name) == getpid()) continue;
        char path[300], line[200];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long blocked = ~0ULL, caught = 0;
        while (file && fgets(line, sizeof line, file)) {
            if (sscanf(line, "SigBlk: %llx", &blocked) != 1) sscanf(line, "SigCgt: %llx", &caught);
        }
        // A thread that is just ending shows nothing, not even this program's handlers.
        if (caught != 0 && (blocked | exempt) != ~0ULL) count++;
        if (file) fclose(file);
    }
    closedir(directory);
    return count;
}

static void *failing_thread(void *unused) {
    CHECK_REFUSED(rpmem_drain(NULL, 0, 0), EINVAL, "NULL");
    return unused;
}

static void run_failing_threads(int count) {
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, failing_thread, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const size_t size = 8 << 20;
    char *memory = pool_memory(size);
    setlocale(LC_ALL, "C.UTF-8");
    char *locale = strdup(setlocale(LC_ALL, NULL));

    struct sigaction action, before[NSIG], after;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaddset(&action.sa_mask, SIGUSR2);
    CHECK(sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    action.sa_handler = SIG_IGN;
    CHECK(sigaction(SIGTERM, &action, NULL) == 0);
    for (int number = 1; number < NSIG; number++) {
        memset(&before[number], 0, sizeof before[number]);
        sigaction(number, NULL, &before[number]);
    }
    sigset_t mask, mask_after;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    CHECK(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    int variables = 0;
    while (environ[variables]) variables++;

    int descriptors = 0;
    for (int round = 0; round < 3; round++) {
        unsigned lanes = 2;
        struct rpmem_pool_attr attributes = some_attributes();
        RPMEMpool *pool = round == 0 ? rpmem_create(argv[1], argv[2], memory, size, &lanes, &attributes)
                                     : rpmem_open(argv[1], argv[2], memory, size, &lanes, &attributes);
        CHECK(pool != NULL);
        CHECK(rpmem_persist(pool, HEADER, 10000, 1, 0) == 0);
        CHECK(listeners() == 0);
        for (int number = 1; number < NSIG; number++) {
            memset(&after, 0, sizeof after);
            if (sigaction(number, NULL, &after) != 0) continue;
            CHECK(after.sa_handler == before[number].sa_handler);
            CHECK((after.sa_flags & ~SA_RESTORER) == (before[number].sa_flags & ~SA_RESTORER));
            for (int other = 1; other < NSIG; other++) {
                CHECK(sigismember(&after.sa_mask, other) == sigismember(&before[number].sa_mask, other));
            }
        }
        CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
        for (int number = 1; number < NSIG; number++) CHECK(sigismember(&mask, number) == sigismember(&mask_after, number));
        CHECK(rpmem_close(pool) == 0);
        CHECK(entries("/proc/self/task") == 3);
        // What the first session loads may stay open.
        if (round == 0) descriptors = entries("/proc/self/fd");
        CHECK(entries("/proc/self/fd") == descriptors);
    }
    CHECK(strcmp(locale, setlocale(LC_ALL, NULL)) == 0);
    free(locale);
    int variables_after = 0;
    while (environ[variables_after]) variables_after++;
    CHECK(variables == variables_after);

    // A thread takes its message with it.
    run_failing_threads(100);
    size_t used = mallinfo2().uordblks;
    run_failing_threads(1000);
    CHECK(mallinfo2().uordblks < used + 10000);
    return 0;
}
