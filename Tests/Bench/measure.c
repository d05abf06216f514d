/*
 * measure: the measuring program of `make bench`. It loads either library of the C interface, so that the same loop measures
 * this project's and PMDK's. Each command prints one JSON object. Arguments are key=value; times are nanoseconds.
 *
 *   session library= target= set= pool=MiB operation=persist|atomic|read|open size= lanes= count= seconds= [stat=FILE]
 *       creates the pool and runs `operation` on each lane by a thread of its own. stat is the block device's file in /sys;
 *       its written sectors are counted around the operations.
 *   hold ... [fill=1]    the same arguments: opens the pool, prints the object, and closes the pool when standard input ends;
 *       with fill=1 it writes all of the pool before
 *   msync file= pages= batch= threads= seconds=   dirties `batch` random pages, then calls msync once
 *   socket bytes= count=                          sends bytes through a TCP connection on loopback, memory to memory
 *   load library=                                 loads libfabric and asks for its providers
 *   spin seconds=                                 uses a processor
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "librpmem.h"

enum { page = 4096, header = 4096, bulk = 1 << 20 };

static int argument_count;
static char **arguments;

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("measure: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(1);
}

static const char *optional(const char *key) {
    size_t length = strlen(key);
    for (int i = 2; i < argument_count; i++)
        if (strncmp(arguments[i], key, length) == 0 && arguments[i][length] == '=')
            return arguments[i] + length + 1;
    return NULL;
}

static const char *text(const char *key) {
    const char *value = optional(key);
    if (!value) fail("the argument %s= is missing", key);
    return value;
}

static unsigned long long number(const char *key) {
    char *end;
    const char *value = text(key);
    unsigned long long result = strtoull(value, &end, 10);
    if (end == value || *end) fail("%s=%s is no number", key, value);
    return result;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The percentile of sorted times; 0 of none. */
static uint64_t percentile(const uint64_t *times, size_t count, double percent) {
    size_t index = (size_t)((double)count * percent / 100);
    return count == 0 ? 0 : times[index < count ? index : count - 1];
}

/* The seventh field of a block device's stat file: sectors of 512 bytes that were written. */
static uint64_t written_bytes(const char *path) {
    unsigned long long fields[7];
    FILE *file = fopen(path, "r");
    if (!file) fail("%s: %s", path, strerror(errno));
    for (int i = 0; i < 7; i++)
        if (fscanf(file, "%llu", &fields[i]) != 1) fail("%s: too few fields", path);
    fclose(file);
    return fields[6] * 512;
}

/* The library of the C interface. */
static struct {
    RPMEMpool *(*create)(const char *, const char *, void *, size_t, unsigned *, const struct rpmem_pool_attr *);
    int (*persist)(RPMEMpool *, size_t, size_t, unsigned, unsigned);
    int (*read)(RPMEMpool *, void *, size_t, size_t, unsigned);
    int (*close)(RPMEMpool *);
    const char *(*errormsg)(void);
} rpmem;

static void *symbol(void *library, const char *name) {
    void *address = dlsym(library, name);
    if (!address) fail("%s", dlerror());
    return address;
}

static void load_librpmem(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library) fail("%s", dlerror());
    *(void **)&rpmem.create = symbol(library, "rpmem_create");
    *(void **)&rpmem.persist = symbol(library, "rpmem_persist");
    *(void **)&rpmem.read = symbol(library, "rpmem_read");
    *(void **)&rpmem.close = symbol(library, "rpmem_close");
    *(void **)&rpmem.errormsg = symbol(library, "rpmem_errormsg");
}

enum operation { op_persist, op_atomic, op_read, op_open };

/* What all lanes of a session share. */
static struct {
    RPMEMpool *pool;
    char *memory;
    enum operation operation;
    size_t size, per_lane, count;
    uint64_t seconds, start;
    pthread_barrier_t ready;
} session;

struct lane {
    pthread_t thread;
    unsigned index;
    uint64_t *times, end;
    size_t count;
};

static void *run_lane(void *argument) {
    struct lane *lane = argument;
    size_t chunk = (session.size + 63) / 64 * 64, places = session.per_lane / chunk;
    uint64_t random = 0x9e3779b97f4a7c15 * (lane->index + 1);
    char *destination = session.operation == op_read ? malloc(session.size) : NULL;
    if (destination) memset(destination, 1, session.size);
    pthread_barrier_wait(&session.ready);
    uint64_t limit = session.start + session.seconds * 1000000000;
    for (; lane->count < session.count; lane->count++) {
        size_t offset = header + lane->index * session.per_lane + next_random(&random) % places * chunk;
        uint64_t before = now();
        if (before >= limit && lane->count > 0) break;
        if (session.operation != op_read && session.size <= 65536)
            memset(session.memory + offset, (int)lane->count, session.size);
        int result = session.operation == op_read
            ? rpmem.read(session.pool, destination, offset, session.size, lane->index)
            : rpmem.persist(session.pool, offset, session.size, lane->index,
                  session.operation == op_persist ? RPMEM_PERSIST_RELAXED : 0);
        if (result != 0) fail("lane %u, operation %zu: %s", lane->index, lane->count, rpmem.errormsg());
        lane->times[lane->count] = now() - before;
    }
    lane->end = now();
    free(destination);
    return NULL;
}

static enum operation parse_operation(const char *name) {
    static const char *const names[] = {"persist", "atomic", "read", "open"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return (enum operation)i;
    fail("operation=%s is not known", name);
    return op_open;
}

static int run_session(bool holds) {
    unsigned lanes = (unsigned)number("lanes"), granted = lanes;
    size_t pool_size = number("pool") << 20;
    const char *stat = optional("stat");
    session.operation = parse_operation(text("operation"));
    session.size = number("size");
    session.count = number("count");
    session.seconds = number("seconds");
    session.memory = mmap(NULL, pool_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (session.memory == MAP_FAILED) fail("mmap: %s", strerror(errno));
    if (!holds || optional("fill")) memset(session.memory, 7, pool_size);
    struct rpmem_pool_attr attributes = {.signature = "BENCHING", .major = 1, .uuid = {1}, .poolset_uuid = {2}};

    uint64_t before = now();
    load_librpmem(text("library"));
    session.pool = rpmem.create(text("target"), text("set"), session.memory, pool_size, &granted, &attributes);
    uint64_t opened = now() - before;
    if (!session.pool) fail("rpmem_create: %s", rpmem.errormsg());
    if (granted < lanes) fail("%u lanes were granted, %u are needed", granted, lanes);

    if (holds && optional("fill"))
        for (size_t offset = header; offset < pool_size; offset += bulk) {
            size_t length = pool_size - offset < bulk ? pool_size - offset : bulk;
            if (rpmem.persist(session.pool, offset, length, 0, RPMEM_PERSIST_RELAXED) != 0)
                fail("fill: %s", rpmem.errormsg());
        }
    struct lane *all = calloc(lanes, sizeof(*all));
    size_t total = 0;
    uint64_t elapsed = 0, written = 0;
    uint64_t *times = NULL;
    if (!holds && session.operation != op_open) {
        session.per_lane = (pool_size - header) / lanes / 64 * 64;
        if (session.per_lane < (session.size + 63) / 64 * 64) fail("the pool is too small");
        pthread_barrier_init(&session.ready, NULL, lanes + 1);
        for (unsigned i = 0; i < lanes; i++) {
            all[i].index = i;
            all[i].times = malloc(session.count * sizeof(uint64_t));
            if (!all[i].times || pthread_create(&all[i].thread, NULL, run_lane, &all[i]) != 0) fail("no thread");
        }
        if (stat) written = written_bytes(stat);
        session.start = now();
        pthread_barrier_wait(&session.ready);
        for (unsigned i = 0; i < lanes; i++) {
            pthread_join(all[i].thread, NULL);
            if (all[i].end - session.start > elapsed) elapsed = all[i].end - session.start;
            total += all[i].count;
        }
        if (stat) written = written_bytes(stat) - written;
        times = malloc((total + 1) * sizeof(uint64_t));
        size_t filled = 0;
        for (unsigned i = 0; i < lanes; filled += all[i].count, i++)
            memcpy(times + filled, all[i].times, all[i].count * sizeof(uint64_t));
        qsort(times, total, sizeof(uint64_t), compare);
    }
    printf("{\"open\": %llu, \"operations\": %zu, \"elapsed\": %llu, \"p50\": %llu, \"p90\": %llu, \"p99\": %llu, "
           "\"max\": %llu, \"written\": %llu}\n",
        (unsigned long long)opened, total, (unsigned long long)elapsed,
        (unsigned long long)percentile(times, total, 50), (unsigned long long)percentile(times, total, 90),
        (unsigned long long)percentile(times, total, 99), (unsigned long long)percentile(times, total, 100),
        (unsigned long long)written);
    fflush(stdout);
    char byte;
    while (holds && read(STDIN_FILENO, &byte, 1) > 0) { }
    if (rpmem.close(session.pool) != 0) fail("rpmem_close: %s", rpmem.errormsg());
    return 0;
}

/* What the threads of the msync loop share. */
static struct {
    char *map;
    size_t pages, batch;
    uint64_t limit;
    atomic_ullong done;
} syncing;

static void *sync_loop(void *argument) {
    uint64_t random = 0x9e3779b97f4a7c15 * ((uintptr_t)argument + 1);
    unsigned long long done = 0;
    while (now() < syncing.limit) {
        size_t place = 0;
        for (size_t i = 0; i < syncing.batch; i++) {
            place = next_random(&random) % syncing.pages * page;
            syncing.map[place + random % page]++;
        }
        bool single = syncing.batch == 1;
        if (msync(syncing.map + (single ? place : 0), single ? page : syncing.pages * page, MS_SYNC) != 0)
            fail("msync: %s", strerror(errno));
        done += syncing.batch;
    }
    syncing.done += done;
    return NULL;
}

static int run_msync(void) {
    const char *path = text("file");
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) fail("%s: %s", path, strerror(errno));
    syncing.pages = number("pages");
    syncing.batch = number("batch");
    char *chunk = calloc(1, bulk);
    for (size_t left = syncing.pages * page; left > 0; left -= bulk)
        if (write(file, chunk, bulk) != bulk) fail("%s: %s", path, strerror(errno));
    if (fsync(file) != 0) fail("fsync: %s", strerror(errno));
    /* The pages come back in small folios then. msync writes large folios whole. */
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    syncing.map = mmap(NULL, syncing.pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (syncing.map == MAP_FAILED) fail("mmap: %s", strerror(errno));
    madvise(syncing.map, syncing.pages * page, MADV_RANDOM);
    size_t threads = number("threads");
    uint64_t start = now();
    syncing.limit = start + number("seconds") * 1000000000;
    pthread_t *all = calloc(threads, sizeof(*all));
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, sync_loop, (void *)i) != 0) fail("no thread");
    for (size_t i = 0; i < threads; i++) pthread_join(all[i], NULL);
    printf("{\"operations\": %llu, \"elapsed\": %llu}\n", (unsigned long long)syncing.done,
        (unsigned long long)(now() - start));
    return 0;
}

struct transfer {
    int socket;
    size_t bytes;
    char *memory;
};

static void *send_all(void *argument) {
    struct transfer *transfer = argument;
    for (size_t sent = 0; sent < transfer->bytes;) {
        ssize_t count = send(transfer->socket, transfer->memory + sent, transfer->bytes - sent, MSG_NOSIGNAL);
        if (count <= 0) fail("send: %s", strerror(errno));
        sent += (size_t)count;
    }
    return NULL;
}

static int run_socket(void) {
    size_t bytes = number("bytes"), count = number("count");
    char *source = malloc(bytes), *destination = malloc(bytes);
    uint64_t *times = calloc(count, sizeof(*times));
    memset(source, 1, bytes);
    memset(destination, 2, bytes);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0
        || getsockname(listener, (struct sockaddr *)&address, &length) != 0
        || connect(client, (struct sockaddr *)&address, length) != 0)
        fail("loopback: %s", strerror(errno));
    int server = accept(listener, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        struct transfer transfer = {client, bytes, source};
        pthread_t thread;
        uint64_t before = now();
        if (pthread_create(&thread, NULL, send_all, &transfer) != 0) fail("no thread");
        for (size_t received = 0; received < bytes;) {
            ssize_t got = recv(server, destination + received, bytes - received, 0);
            if (got <= 0) fail("recv: %s", strerror(errno));
            received += (size_t)got;
        }
        pthread_join(thread, NULL);
        times[i] = now() - before;
    }
    qsort(times, count, sizeof(*times), compare);
    printf("{\"p50\": %llu}\n", (unsigned long long)percentile(times, count, 50));
    return 0;
}

static int run_load(void) {
    uint64_t before = now();
    void *library = dlopen(text("library"), RTLD_NOW), *info = NULL;
    if (!library) fail("%s", dlerror());
    int (*getinfo)(uint32_t, const char *, const char *, uint64_t, const void *, void **);
    *(void **)&getinfo = symbol(library, "fi_getinfo");
    getinfo(1 << 16 | 4, NULL, NULL, 0, NULL, &info);
    printf("{\"p50\": %llu}\n", (unsigned long long)(now() - before));
    return 0;
}

int main(int count, char **values) {
    argument_count = count;
    arguments = values;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const char *command = count > 1 ? values[1] : "";
    if (strcmp(command, "session") == 0) return run_session(false);
    if (strcmp(command, "hold") == 0) return run_session(true);
    if (strcmp(command, "msync") == 0) return run_msync();
    if (strcmp(command, "socket") == 0) return run_socket();
    if (strcmp(command, "load") == 0) return run_load();
    if (strcmp(command, "spin") == 0) {
        for (uint64_t end = now() + number("seconds") * 1000000000; now() < end;) { }
        return 0;
    }
    fail("usage: measure session|hold|msync|socket|load|spin key=value...");
}
