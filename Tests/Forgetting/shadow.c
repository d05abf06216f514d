// The shadows of parts, and which addresses are mappings of which part.
#include "forgetting.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct control *control;
int is_persistent_memory;

// Directories: of the shadows, and of the parts that get one.
static const char *shadow_directory, *part_directory;
// The file behind the Device DAX, whose node has the number of /dev/zero; -1: there is none.
static int device_file = -1;

#define MAXIMUM 256
static struct shadow shadows[MAXIMUM];
static size_t shadow_count;
static struct mapping { uintptr_t start; size_t length; struct shadow *shadow; size_t offset; } mappings[MAXIMUM];
static size_t mapping_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// A stand-in that cannot do its work must not let a test pass.
static void give_up(const char *what) {
    dprintf(2, "forgetting: %s: %s\n", what, strerror(errno));
    abort();
}

static void *map_file(const char *path, size_t size) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) give_up(path);
    void *start = system_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (start == MAP_FAILED) give_up(path);
    close(file);
    return start;
}

// Maps one of a part's shadows. What was there before the stand-in saw it is durable. A file without a name is new:
// nothing of it is durable, its size and its blocks included.
static uint8_t *map_shadow(const struct stat *part, const char *level, const void *contents) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%lu.%s", shadow_directory, (unsigned long)part->st_ino, level);
    if (part->st_nlink == 0) unlink(path);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 && errno != EEXIST) give_up(path);
    if (file >= 0 && ftruncate(file, part->st_size) != 0) give_up(path);
    uint8_t *start = map_file(path, (size_t)part->st_size);
    if (file < 0) return start;
    close(file);
    if (part->st_nlink == 0) memset(start, 0xa5, (size_t)part->st_size);
    else memcpy(start, contents, (size_t)part->st_size);
    return start;
}

__attribute__((constructor)) static void start(void) {
    shadow_directory = getenv("FORGETTING_SHADOWS");
    part_directory = getenv("FORGETTING_PARTS");
    const char *memory = getenv("FORGETTING_MEMORY");
    if (!shadow_directory || !part_directory || !memory) give_up("FORGETTING_... is not set");
    is_persistent_memory = strcmp(memory, "persistent") == 0;
    char path[4096];
    snprintf(path, sizeof path, "%s/control", shadow_directory);
    const char *device = getenv("FORGETTING_DEVICE");
    if (device && (device_file = open(device, O_RDWR | O_CLOEXEC)) < 0) give_up(device);
    control = map_file(path, 4096);
}

enum fault begin_event(enum event event) {
    uint64_t number = atomic_fetch_add(&control->counts[event], 1) + 1;
    if (atomic_load(&control->number) != number || atomic_load(&control->event) != event) return FAULT_NONE;
    enum fault fault = (enum fault)atomic_load(&control->fault);
    atomic_fetch_add(&control->hits, 1);
    if (fault == FAULT_KILL_BEFORE) kill(getpid(), SIGKILL);
    return fault;
}

void end_event(enum fault fault) {
    if (fault == FAULT_KILL_AFTER) kill(getpid(), SIGKILL);
}

void lock_shadows(void) { pthread_mutex_lock(&lock); }
void unlock_shadows(void) { pthread_mutex_unlock(&lock); }

// Whether a descriptor is open on a part: a file below the directory of parts, with or without a name.
static int is_part(int descriptor, struct stat *status) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t count = readlink(link, path, sizeof path - 1);
    if (count < 0) return 0;
    path[count] = 0;
    size_t length = strlen(part_directory);
    if (strncmp(path, part_directory, length) != 0 || path[length] != '/') return 0;
    return fstat(descriptor, status) == 0 && S_ISREG(status->st_mode) && status->st_size > 0;
}

int behind_device(int descriptor) {
    struct stat status;
    int is_device = device_file >= 0 && fstat(descriptor, &status) == 0 && S_ISCHR(status.st_mode) &&
                    status.st_rdev == makedev(1, 5);
    return is_device ? device_file : descriptor;
}

struct shadow *shadow_of(int descriptor) {
    struct stat status;
    if (!is_part(descriptor, &status)) return NULL;
    for (size_t i = 0; i < shadow_count; i++)
        if (shadows[i].inode == status.st_ino && shadows[i].device == status.st_dev) return &shadows[i];
    if (shadow_count == MAXIMUM) give_up("too many parts");
    size_t size = (size_t)status.st_size;
    void *part = system_mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
    size_t lines = size / 64 + 1;
    void *versions = system_mmap(
        NULL, lines * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (part == MAP_FAILED || versions == MAP_FAILED) give_up("mmap");
    struct shadow *shadow = &shadows[shadow_count++];
    *shadow = (struct shadow){
        .device = status.st_dev, .inode = status.st_ino, .size = size, .part = part,
        .is_device = descriptor == device_file,
        .domain = map_shadow(&status, "domain", part), .medium = map_shadow(&status, "medium", part),
        .versions = versions, .queued_all = 1};
    return shadow;
}

void add_mapping(const void *start, size_t length, struct shadow *shadow, size_t offset) {
    if (mapping_count == MAXIMUM) give_up("too many mappings");
    mappings[mapping_count++] = (struct mapping){(uintptr_t)start, length, shadow, offset};
}

void remove_mappings(const void *start, size_t length) {
    uintptr_t from = (uintptr_t)start, to = from + length;
    for (size_t i = 0; i < mapping_count;) {
        if (mappings[i].start >= from && mappings[i].start < to) mappings[i] = mappings[--mapping_count];
        else i++;
    }
}

struct shadow *find_mapping(const void *address, size_t *length, size_t *offset) {
    uintptr_t place = (uintptr_t)address;
    for (size_t i = 0; i < mapping_count; i++) {
        struct mapping *mapping = &mappings[i];
        if (place < mapping->start || place - mapping->start >= mapping->length) continue;
        size_t rest = mapping->length - (place - mapping->start);
        if (*length > rest) *length = rest;
        *offset = mapping->offset + (place - mapping->start);
        return mapping->shadow;
    }
    return NULL;
}

void store_range(struct shadow *shadow, size_t offset, size_t length) {
    if (offset >= shadow->size) return;
    if (length > shadow->size - offset) length = shadow->size - offset;
    memcpy(shadow->domain + offset, shadow->part + offset, length);
    memcpy(shadow->medium + offset, shadow->part + offset, length);
}

void store_line(struct shadow *shadow, size_t offset, const uint8_t *bytes, uint64_t version) {
    if (shadow->versions[offset / 64] > version) return;
    shadow->versions[offset / 64] = version;
    memcpy(shadow->domain + offset, bytes, 64);
    size_t count = shadow->queued_count;
    if (count > 0 && shadow->queued[count - 1].offset + shadow->queued[count - 1].length == offset) {
        shadow->queued[count - 1].length += 64;
        return;
    }
    if (count == shadow->queued_capacity) {
        shadow->queued_capacity = count * 2 + 64;
        shadow->queued = realloc(shadow->queued, shadow->queued_capacity * sizeof *shadow->queued);
        if (!shadow->queued) give_up("realloc");
    }
    shadow->queued[shadow->queued_count++] = (struct range){offset, 64};
}

void empty_queue(struct shadow *shadow) {
    // Comparing costs less than making all pages of the medium dirty.
    for (size_t i = 0; shadow->queued_all && i < shadow->size; i += 4096) {
        size_t page = shadow->size - i < 4096 ? shadow->size - i : 4096;
        if (memcmp(shadow->medium + i, shadow->domain + i, page) != 0)
            memcpy(shadow->medium + i, shadow->domain + i, page);
    }
    for (size_t i = 0; !shadow->queued_all && i < shadow->queued_count; i++) {
        struct range range = shadow->queued[i];
        memcpy(shadow->medium + range.offset, shadow->domain + range.offset, range.length);
    }
    shadow->queued_all = 0;
    shadow->queued_count = 0;
}

void empty_device_queues(void) {
    for (size_t i = 0; i < shadow_count; i++)
        if (shadows[i].is_device) empty_queue(&shadows[i]);
}
