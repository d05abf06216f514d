// Arguments that are refused before anybody is connected to; RPMEM_SSH is a program that only fails.
#include "check.h"
#include <limits.h>
#include <pthread.h>

static void *other_thread(void *unused) {
    CHECK(rpmem_errormsg()[0] == 0);
    CHECK_REFUSED(rpmem_remove("host", "a.set", 64), EINVAL, "flags 64");
    return unused;
}

int main(void) {
    const size_t size = 1 << 20;
    char *memory = pool_memory(size);
    unsigned lanes = 4;
    unsigned none = 0;
    struct rpmem_pool_attr attributes = some_attributes();
    const struct rpmem_pool_attr before = attributes;

    CHECK(rpmem_errormsg()[0] == 0);
    CHECK_REFUSED(!rpmem_create(NULL, "a.set", memory, size, &lanes, &attributes), EINVAL, "target is NULL");
    CHECK_REFUSED(!rpmem_create("host", NULL, memory, size, &lanes, &attributes), EINVAL, "pool set is NULL");
    CHECK_REFUSED(!rpmem_create("host", "a.set", NULL, size, &lanes, &attributes), EINVAL, "address is NULL");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory + 1, size, &lanes, &attributes), EINVAL, "start of a page");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory, 0, &lanes, &attributes), EINVAL, "empty");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory, size + 1, &lanes, &attributes), EINVAL, "multiple of 4096");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory, SIZE_MAX & ~4095UL, &lanes, &attributes), EINVAL, "address space");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory, size, NULL, &attributes), EINVAL, "lanes is NULL");
    CHECK_REFUSED(!rpmem_create("host", "a.set", memory, size, &none, &attributes), EINVAL, "0 lanes");
    CHECK_REFUSED(!rpmem_create("", "a.set", memory, size, &lanes, &attributes), EINVAL, "host is empty");
    CHECK_REFUSED(!rpmem_create("-oProxyCommand=x", "a.set", memory, size, &lanes, &attributes), EINVAL, "option");
    CHECK_REFUSED(!rpmem_create("\xff", "a.set", memory, size, &lanes, &attributes), EINVAL, "UTF-8");
    CHECK_REFUSED(!rpmem_open("host:0", "a.set", memory, size, &lanes, &attributes), EINVAL, "port");
    CHECK_REFUSED(!rpmem_open("host", "", memory, size, &lanes, NULL), EINVAL, "");
    CHECK(memcmp(&attributes, &before, sizeof attributes) == 0);
    CHECK(lanes == 4);

    CHECK_REFUSED(rpmem_remove(NULL, "a.set", 0), EINVAL, "target is NULL");
    CHECK_REFUSED(rpmem_remove("host", NULL, 0), EINVAL, "pool set is NULL");
    CHECK_REFUSED(rpmem_remove("host", "", 0), EINVAL, "empty");
    CHECK_REFUSED(rpmem_remove("host", "a.set", 4), EINVAL, "flags 4");
    CHECK_REFUSED(rpmem_remove("host", "a.set", INT_MIN), EINVAL, "RPMEM_REMOVE_FORCE");
    CHECK_REFUSED(rpmem_remove("user@:22", "a.set", 0), EINVAL, "host is empty");

    CHECK_REFUSED(rpmem_close(NULL), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_set_attr(NULL, &attributes), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_persist(NULL, 4096, 1, 0, 0), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_flush(NULL, 4096, 1, 0, 0), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_drain(NULL, 0, 0), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_deep_persist(NULL, 4096, 1, 0), EINVAL, "the pool is NULL");
    CHECK_REFUSED(rpmem_read(NULL, memory, 0, 1, 0), EINVAL, "the pool is NULL");

    CHECK(rpmem_check_version(1, 0) == NULL);
    CHECK(rpmem_check_version(1, 3) == NULL);
    CHECK(strstr(rpmem_check_version(1, 4), "1.4") != NULL);
    CHECK(strstr(rpmem_check_version(2, 0), "1.3") != NULL);
    CHECK(rpmem_check_version(0, 0) != NULL);

    // A message stays until the thread's next one, through successes and other threads' failures.
    CHECK_REFUSED(rpmem_drain(NULL, 0, 0), EINVAL, "the pool is NULL");
    const char *message = rpmem_errormsg();
    char copy[200];
    snprintf(copy, sizeof copy, "%s", message);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(rpmem_check_version(1, 3) == NULL);
    CHECK(rpmem_errormsg() == message && strcmp(message, copy) == 0);
    return 0;
}
