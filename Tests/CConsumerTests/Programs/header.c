/* The header's names, types and values, for C and C++ alike. Compiling is the test. */
#ifdef ANOTHER_LAYOUT
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#define uint32_t uint64_t
#endif
#include <librpmem.h>

#ifdef __cplusplus
#define SAME(name, condition) extern "C" char name[(condition) ? 1 : -1]
#else
#define SAME(name, condition) extern char name[(condition) ? 1 : -1]
#endif

SAME(persist_relaxed, RPMEM_PERSIST_RELAXED == 1U);
SAME(flush_relaxed, RPMEM_FLUSH_RELAXED == 1U);
SAME(remove_force, RPMEM_REMOVE_FORCE == 1);
SAME(remove_pool_set, RPMEM_REMOVE_POOL_SET == 2);
SAME(major_version, RPMEM_MAJOR_VERSION == 1);
SAME(minor_version, RPMEM_MINOR_VERSION == 3);
SAME(signature_length, RPMEM_POOL_HDR_SIG_LEN == 8);
SAME(uuid_length, RPMEM_POOL_HDR_UUID_LEN == 16);
SAME(user_flags_length, RPMEM_POOL_USER_FLAGS_LEN == 16);
SAME(smallest_pool, RPMEM_MIN_POOL == 8192 && sizeof(RPMEM_MIN_POOL) == sizeof(size_t));
SAME(smallest_part, RPMEM_MIN_PART == 2097152 && sizeof(RPMEM_MIN_PART) == sizeof(size_t));
SAME(attributes_size, sizeof(struct rpmem_pool_attr) == 104);

struct calls {
    RPMEMpool *(*create)(const char *, const char *, void *, size_t, unsigned *, const struct rpmem_pool_attr *);
    RPMEMpool *(*open)(const char *, const char *, void *, size_t, unsigned *, struct rpmem_pool_attr *);
    int (*set_attr)(RPMEMpool *, const struct rpmem_pool_attr *);
    int (*close)(RPMEMpool *);
    int (*persist)(RPMEMpool *, size_t, size_t, unsigned, unsigned);
    int (*flush)(RPMEMpool *, size_t, size_t, unsigned, unsigned);
    int (*drain)(RPMEMpool *, unsigned, unsigned);
    int (*deep_persist)(RPMEMpool *, size_t, size_t, unsigned);
    int (*read)(RPMEMpool *, void *, size_t, size_t, unsigned);
    int (*remove)(const char *, const char *, int);
    const char *(*check_version)(unsigned, unsigned);
    const char *(*errormsg)(void);
};

const struct calls calls = {
    rpmem_create, rpmem_open, rpmem_set_attr, rpmem_close, rpmem_persist, rpmem_flush, rpmem_drain, rpmem_deep_persist,
    rpmem_read, rpmem_remove, rpmem_check_version, rpmem_errormsg,
};

int main(void) {
    struct rpmem_pool_attr attributes;
    (void)attributes.signature[7];
    (void)attributes.ro_compat_features;
    (void)attributes.user_flags[15];
    /* Nothing fails, and nobody is connected to. */
    return calls.check_version(RPMEM_MAJOR_VERSION, RPMEM_MINOR_VERSION) != 0 || calls.errormsg()[0] != 0;
}
