// objects fill|digest|sequences|endless|until SET [THREADS [RECORD]]: a program on libpmemobj that knows nothing of replicas.
//
// fill: each thread grows a chain by transactions and a list atomically, and aborts some transactions in between.
// digest: prints a digest of all that is in the pool. endless: goes on filling until it is ended.
// until: goes on filling until standard input has a newline, or ends. A p there has all threads rest between two rounds, with
// nothing under way. "resting" and the offset of the root's lists, 16 hexadecimal digits, on standard output say that they do. A g
// has them go on.
//
// Each transaction that commits takes its thread's next number. RECORD is a file outside of the pool: eight numbers, of the last
// transaction of each thread that has returned. sequences: prints the numbers that the pool has.
#include <fcntl.h>
#include <libpmemobj.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHAINS = 8, ROUNDS = 8 };

POBJ_LAYOUT_BEGIN(objects);
POBJ_LAYOUT_ROOT(objects, struct root);
POBJ_LAYOUT_TOID(objects, struct link);
POBJ_LAYOUT_TOID(objects, struct item);
POBJ_LAYOUT_END(objects);

struct link {
    TOID(struct link) next;
    uint64_t number;
    char text[1000];
};

struct item {
    POBJ_LIST_ENTRY(struct item) list;
    uint64_t number;
};

POBJ_LIST_HEAD(items, struct item);

struct root {
    TOID(struct link) chains[CHAINS];
    uint64_t lengths[CHAINS];
    struct items lists[CHAINS];
    uint64_t sequences[CHAINS];
};

static PMEMobjpool *pool;
static TOID(struct root) root;
static volatile int is_endless;
static volatile uint64_t *record;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int rests, resting;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, pmemobj_errormsg());
    exit(1);
}

static void grow_chain(int chain, int aborts) {
    TX_BEGIN(pool) {
        uint64_t length = D_RO(root)->lengths[chain];
        TOID(struct link) link = TX_NEW(struct link);
        D_RW(link)->next = D_RO(root)->chains[chain];
        D_RW(link)->number = length;
        snprintf(D_RW(link)->text, sizeof D_RO(link)->text, "link %d of chain %d", (int)length, chain);
        TX_ADD_FIELD(root, chains[chain]);
        TX_ADD_FIELD(root, lengths[chain]);
        D_RW(root)->chains[chain] = link;
        D_RW(root)->lengths[chain] = length + 1;
        TX_ADD_FIELD(root, sequences[chain]);
        D_RW(root)->sequences[chain]++;
        if (aborts) {
            // libpmemobj makes what an aborted transaction has written durable nowhere: the replicas would differ there.
            pmemobj_persist(pool, D_RW(link), sizeof(struct link));
            pmemobj_tx_abort(ECANCELED);
        }
    } TX_ONABORT {
        if (!aborts) fail("transaction");
    } TX_END
    if (record) record[chain] = D_RO(root)->sequences[chain];
}

static int set_number(PMEMobjpool *pop, void *object, void *argument) {
    struct item *item = object;
    item->number = *(uint64_t *)argument;
    pmemobj_persist(pop, item, sizeof *item);
    return 0;
}

static void grow_list(int list, uint64_t number) {
    PMEMoid item = POBJ_LIST_INSERT_NEW_HEAD(
        pool, &D_RW(root)->lists[list], list, sizeof(struct item), set_number, &number);
    if (OID_IS_NULL(item)) fail("list");
    if (number % 3 == 2) {
        TOID(struct item) last = POBJ_LIST_LAST(&D_RW(root)->lists[list], list);
        if (POBJ_LIST_REMOVE_FREE(pool, &D_RW(root)->lists[list], last, list)) fail("list");
    }
}

static void rest(void) {
    pthread_mutex_lock(&lock);
    resting++;
    pthread_cond_broadcast(&changed);
    while (rests) pthread_cond_wait(&changed, &lock);
    resting--;
    pthread_mutex_unlock(&lock);
}

static void have_rest(int wanted, int threads) {
    pthread_mutex_lock(&lock);
    rests = wanted;
    pthread_cond_broadcast(&changed);
    while (wanted && resting < threads) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void *fill(void *argument) {
    int thread = (int)(intptr_t)argument;
    for (int round = 0; round < ROUNDS || is_endless; round++) {
        grow_chain(thread, round % 5 == 4);
        grow_list(thread, (uint64_t)round);
        if (is_endless && round % 50 == 49) {
            // The pool must not get full.
            TX_BEGIN(pool) {
                TX_ADD(root);
                while (!TOID_IS_NULL(D_RO(root)->chains[thread])) {
                    TOID(struct link) link = D_RO(root)->chains[thread];
                    D_RW(root)->chains[thread] = D_RO(link)->next;
                    TX_FREE(link);
                }
                D_RW(root)->lengths[thread] = 0;
            } TX_ONABORT { fail("transaction"); } TX_END
        }
        if (is_endless && thread == 0 && round == 10) {
            puts("under way");
            fflush(stdout);
        }
        if (is_endless) rest();
    }
    return NULL;
}

static uint64_t digest;

static void add(const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) digest = (digest ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
}

int main(int argc, char **argv) {
    int threads = argc > 3 ? atoi(argv[3]) : 0;
    if (argc < 3 || threads > CHAINS) return 2;
    pool = pmemobj_open(argv[2], NULL);
    if (!pool) fail(argv[2]);
    root = POBJ_ROOT(pool, struct root);
    if (argc > 4) {
        int file = open(argv[4], O_RDWR);
        void *memory = mmap(NULL, CHAINS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (memory == MAP_FAILED) fail(argv[4]);
        close(file);
        record = memory;
    }
    if (strcmp(argv[1], "digest") == 0) {
        digest = 14695981039346656037u;
        unsigned count = 0;
        for (int chain = 0; chain < CHAINS; chain++) {
            uint64_t expected = D_RO(root)->lengths[chain];
            TOID(struct link) link = D_RO(root)->chains[chain];
            for (; !TOID_IS_NULL(link); link = D_RO(link)->next) {
                add(&D_RO(link)->number, 8);
                add(D_RO(link)->text, sizeof D_RO(link)->text);
                if (D_RO(link)->number != --expected) fail("numbers of a chain");
                count++;
            }
            if (expected != 0) fail("length of a chain");
            TOID(struct item) item;
            POBJ_LIST_FOREACH(item, &D_RO(root)->lists[chain], list) {
                add(&D_RO(item)->number, 8);
                count++;
            }
        }
        printf("%u objects, digest %016llx\n", count, (unsigned long long)digest);
    } else if (strcmp(argv[1], "sequences") == 0) {
        for (int i = 0; i < CHAINS; i++) printf("%llu ", (unsigned long long)D_RO(root)->sequences[i]);
    } else {
        int ends = strcmp(argv[1], "until") == 0;
        is_endless = ends || strcmp(argv[1], "endless") == 0;
        pthread_t started[CHAINS];
        for (int i = 0; i < threads; i++) {
            if (pthread_create(&started[i], NULL, fill, (void *)(intptr_t)i)) fail("pthread_create");
        }
        if (ends) {
            for (int order; (order = getchar()) == 'p' || order == 'g';) {
                have_rest(order == 'p', threads);
                if (order == 'g') continue;
                printf("resting %016llx\n", (unsigned long long)root.oid.off + offsetof(struct root, lists));
                fflush(stdout);
            }
            is_endless = 0;
            have_rest(0, threads);
        }
        for (int i = 0; i < threads; i++) pthread_join(started[i], NULL);
    }
    pmemobj_close(pool);
    return 0;
}
