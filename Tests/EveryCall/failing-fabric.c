// The calls to libfabric of failing-calls.c. libfabric's functions but six are inline, and call through tables in its
// objects.
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "failing-calls.h"

#define FAILS(name) CALL_FAILS(name, 0)

// An object calls through tables that all objects of its kind share. Each object gets a copy with the functions below,
// and behind it the table that was there.
#define TABLE(kind) struct kind##_hook { struct kind table; struct kind *original; }
TABLE(fi_ops);
TABLE(fi_ops_fabric);
TABLE(fi_ops_domain);
TABLE(fi_ops_mr);
TABLE(fi_ops_eq);
TABLE(fi_ops_cq);
TABLE(fi_ops_cm);
TABLE(fi_ops_msg);
TABLE(fi_ops_rma);
#define ORIGINAL(kind, pointer) (((struct kind##_hook *)(pointer))->original)

// Memory for a table, which is kept until the program ends. Not of malloc: to a leak detector it would be lost.
static void *table_memory(size_t size) {
    static _Alignas(16) char memory[1 << 20];
    static _Atomic size_t used;
    size_t start = atomic_fetch_add(&used, (size + 15) & ~(size_t)15);
    if (start + size > sizeof memory) abort();
    return memory + start;
}

// Never freed, since the object may be used while it is closed.
#define HOOK(kind, field) \
    struct kind##_hook *hook = table_memory(sizeof *hook); \
    hook->table = *(field); \
    hook->original = (field); \
    (field) = &hook->table
#define REPLACE(name) if (hook->table.name != NULL) hook->table.name = hooked_##name

#define FABRIC_CALL(kind, type, name, parameters, arguments, object, code) \
    FABRIC_CALL_AS(fi_##name, kind, type, name, parameters, arguments, object, code)
#define FABRIC_CALL_AS(shown, kind, type, name, parameters, arguments, object, code) \
    static type hooked_##name parameters { \
        if (FAILS(#shown)) return -(code); \
        return ORIGINAL(kind, object)->name arguments; \
    }

// fi_close is a release.
static int hooked_close(struct fid *fid) {
    int hit = FAILS("fi_close");
    struct fi_ops *original = ORIGINAL(fi_ops, fid->ops);
    fid->ops = original;
    int result = original->close(fid);
    return hit ? -FI_EBUSY : result;
}
FABRIC_CALL(fi_ops, int, bind, (struct fid *fid, struct fid *other, uint64_t flags), (fid, other, flags), fid->ops, FI_ENOMEM)
FABRIC_CALL(fi_ops, int, control, (struct fid *fid, int command, void *argument), (fid, command, argument), fid->ops, FI_ENOMEM)
static void hook_fid(struct fid *fid) {
    HOOK(fi_ops, fid->ops);
    REPLACE(close);
    REPLACE(bind);
    REPLACE(control);
}

FABRIC_CALL(fi_ops_mr, int, reg,
    (struct fid *fid, const void *start, size_t size, uint64_t access, uint64_t offset, uint64_t key, uint64_t flags,
     struct fid_mr **region, void *context),
    (fid, start, size, access, offset, key, flags, region, context),
    ((struct fid_domain *)fid)->mr, FI_ENOMEM)

FABRIC_CALL_AS(fi_eq_read, fi_ops_eq, ssize_t, read, (struct fid_eq *eq, uint32_t *event, void *bytes, size_t count, uint64_t flags),
    (eq, event, bytes, count, flags), eq->ops, FI_EIO)
FABRIC_CALL_AS(fi_eq_readerr, fi_ops_eq, ssize_t, readerr, (struct fid_eq *eq, struct fi_eq_err_entry *error, uint64_t flags),
    (eq, error, flags), eq->ops, FI_EIO)
static ssize_t hooked_cq_read(struct fid_cq *cq, void *bytes, size_t count) {
    if (FAILS("fi_cq_read")) return -FI_EIO;
    return ORIGINAL(fi_ops_cq, cq->ops)->read(cq, bytes, count);
}
static ssize_t hooked_cq_readerr(struct fid_cq *cq, struct fi_cq_err_entry *error, uint64_t flags) {
    if (FAILS("fi_cq_readerr")) return -FI_EIO;
    return ORIGINAL(fi_ops_cq, cq->ops)->readerr(cq, error, flags);
}
static ssize_t hooked_cq_sread(struct fid_cq *cq, void *bytes, size_t count, const void *condition, int milliseconds) {
    if (FAILS("fi_cq_sread")) return -FI_EIO;
    return ORIGINAL(fi_ops_cq, cq->ops)->sread(cq, bytes, count, condition, milliseconds);
}
static int hooked_cq_signal(struct fid_cq *cq) {
    if (FAILS("fi_cq_signal")) return -FI_EIO;
    return ORIGINAL(fi_ops_cq, cq->ops)->signal(cq);
}

// An endpoint and a listener have this in the same place.
static struct fi_ops_cm *cm_of(fid_t fid) { return ((struct fid_ep *)fid)->cm; }
FABRIC_CALL(fi_ops_cm, int, getname, (fid_t fid, void *address, size_t *size), (fid, address, size), cm_of(fid), FI_ENOMEM)
FABRIC_CALL(fi_ops_cm, int, connect, (struct fid_ep *ep, const void *address, const void *parameter, size_t size),
    (ep, address, parameter, size), ep->cm, FI_ECONNREFUSED)
FABRIC_CALL(fi_ops_cm, int, listen, (struct fid_pep *pep), (pep), pep->cm, FI_EADDRINUSE)
FABRIC_CALL(fi_ops_cm, int, accept, (struct fid_ep *ep, const void *parameter, size_t size), (ep, parameter, size), ep->cm, FI_ENOMEM)
FABRIC_CALL(fi_ops_cm, int, reject, (struct fid_pep *pep, fid_t handle, const void *parameter, size_t size),
    (pep, handle, parameter, size), pep->cm, FI_EIO)
FABRIC_CALL(fi_ops_cm, int, shutdown, (struct fid_ep *ep, uint64_t flags), (ep, flags), ep->cm, FI_ENOTCONN)

FABRIC_CALL(fi_ops_msg, ssize_t, recv,
    (struct fid_ep *ep, void *bytes, size_t size, void *descriptor, fi_addr_t source, void *context),
    (ep, bytes, size, descriptor, source, context), ep->msg, FI_EIO)
FABRIC_CALL(fi_ops_msg, ssize_t, send,
    (struct fid_ep *ep, const void *bytes, size_t size, void *descriptor, fi_addr_t to, void *context),
    (ep, bytes, size, descriptor, to, context), ep->msg, FI_EIO)
FABRIC_CALL(fi_ops_msg, ssize_t, sendmsg, (struct fid_ep *ep, const struct fi_msg *message, uint64_t flags),
    (ep, message, flags), ep->msg, FI_EIO)
FABRIC_CALL(fi_ops_msg, ssize_t, inject, (struct fid_ep *ep, const void *bytes, size_t size, fi_addr_t to),
    (ep, bytes, size, to), ep->msg, FI_EIO)
FABRIC_CALL(fi_ops_rma, ssize_t, readmsg, (struct fid_ep *ep, const struct fi_msg_rma *message, uint64_t flags),
    (ep, message, flags), ep->rma, FI_EIO)
FABRIC_CALL(fi_ops_rma, ssize_t, writemsg, (struct fid_ep *ep, const struct fi_msg_rma *message, uint64_t flags),
    (ep, message, flags), ep->rma, FI_EIO)

static int hooked_eq_open(struct fid_fabric *fabric, struct fi_eq_attr *attributes, struct fid_eq **eq, void *context) {
    if (FAILS("fi_eq_open")) return -FI_ENOMEM;
    int result = ORIGINAL(fi_ops_fabric, fabric->ops)->eq_open(fabric, attributes, eq, context);
    if (result == 0) {
        hook_fid(&(*eq)->fid);
        HOOK(fi_ops_eq, (*eq)->ops);
        REPLACE(read);
        REPLACE(readerr);
    }
    return result;
}
static int hooked_trywait(struct fid_fabric *fabric, struct fid **fids, int count) {
    if (FAILS("fi_trywait")) return -FI_EIO;
    return ORIGINAL(fi_ops_fabric, fabric->ops)->trywait(fabric, fids, count);
}

static int hooked_cq_open(struct fid_domain *domain, struct fi_cq_attr *attributes, struct fid_cq **cq, void *context) {
    if (FAILS("fi_cq_open")) return -FI_ENOMEM;
    int result = ORIGINAL(fi_ops_domain, domain->ops)->cq_open(domain, attributes, cq, context);
    if (result == 0) {
        hook_fid(&(*cq)->fid);
        HOOK(fi_ops_cq, (*cq)->ops);
        if (hook->table.read != NULL) hook->table.read = hooked_cq_read;
        if (hook->table.readerr != NULL) hook->table.readerr = hooked_cq_readerr;
        if (hook->table.sread != NULL) hook->table.sread = hooked_cq_sread;
        if (hook->table.signal != NULL) hook->table.signal = hooked_cq_signal;
    }
    return result;
}
static void hook_cm(struct fi_ops_cm **cm) {
    HOOK(fi_ops_cm, *cm);
    REPLACE(getname);
    REPLACE(connect);
    REPLACE(listen);
    REPLACE(accept);
    REPLACE(reject);
    REPLACE(shutdown);
}
static void hook_msg(struct fi_ops_msg **msg) {
    HOOK(fi_ops_msg, *msg);
    REPLACE(recv);
    REPLACE(send);
    REPLACE(sendmsg);
    REPLACE(inject);
}
static int hooked_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep, void *context) {
    if (FAILS("fi_endpoint")) return -FI_ENOMEM;
    int result = ORIGINAL(fi_ops_domain, domain->ops)->endpoint(domain, info, ep, context);
    if (result == 0) {
        hook_fid(&(*ep)->fid);
        hook_cm(&(*ep)->cm);
        hook_msg(&(*ep)->msg);
        HOOK(fi_ops_rma, (*ep)->rma);
        REPLACE(readmsg);
        REPLACE(writemsg);
    }
    return result;
}
static int hooked_domain(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain, void *context) {
    if (FAILS("fi_domain")) return -FI_ENOMEM;
    int result = ORIGINAL(fi_ops_fabric, fabric->ops)->domain(fabric, info, domain, context);
    if (result == 0) {
        hook_fid(&(*domain)->fid);
        {
            HOOK(fi_ops_domain, (*domain)->ops);
            REPLACE(cq_open);
            REPLACE(endpoint);
        }
        HOOK(fi_ops_mr, (*domain)->mr);
        REPLACE(reg);
    }
    return result;
}
static int hooked_passive_ep(struct fid_fabric *fabric, struct fi_info *info, struct fid_pep **pep, void *context) {
    if (FAILS("fi_passive_ep")) return -FI_ENOMEM;
    int result = ORIGINAL(fi_ops_fabric, fabric->ops)->passive_ep(fabric, info, pep, context);
    if (result == 0) {
        hook_fid(&(*pep)->fid);
        hook_cm(&(*pep)->cm);
    }
    return result;
}

// The symbols that the project looks up with dlvsym(3).
static __typeof__(&fi_getinfo) real_getinfo;
static __typeof__(&fi_dupinfo) real_dupinfo;
static __typeof__(&fi_fabric) real_fabric;

static int counted_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
    const struct fi_info *hints, struct fi_info **info) {
    if (FAILS("fi_getinfo")) return -FI_ENOMEM;
    return real_getinfo(version, node, service, flags, hints, info);
}
static struct fi_info *counted_dupinfo(const struct fi_info *info) {
    if (FAILS("fi_dupinfo")) return NULL;
    return real_dupinfo(info);
}
static int counted_fabric(struct fi_fabric_attr *attributes, struct fid_fabric **fabric, void *context) {
    if (FAILS("fi_fabric")) return -FI_ENOMEM;
    int result = real_fabric(attributes, fabric, context);
    if (result == 0) {
        hook_fid(&(*fabric)->fid);
        HOOK(fi_ops_fabric, (*fabric)->ops);
        REPLACE(domain);
        REPLACE(passive_ep);
        REPLACE(eq_open);
        REPLACE(trywait);
    }
    return result;
}

void *fabric_symbol(const char *name, void *real) {
    if (real == NULL) return NULL;
    if (strcmp(name, "fi_getinfo") == 0) {
        real_getinfo = (__typeof__(real_getinfo))real;
        return counted_getinfo;
    }
    if (strcmp(name, "fi_dupinfo") == 0) {
        real_dupinfo = (__typeof__(real_dupinfo))real;
        return counted_dupinfo;
    }
    if (strcmp(name, "fi_fabric") == 0) {
        real_fabric = (__typeof__(real_fabric))real;
        return counted_fabric;
    }
    return NULL;
}
