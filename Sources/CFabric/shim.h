// What Swift cannot import from libfabric's headers (function-like macros, constants with casts, the event structure that
// ends in a flexible array), and operations whose arguments are structures that point to each other.
#ifndef RPMEM_CFABRIC_SHIM_H
#define RPMEM_CFABRIC_SHIM_H

#if !__has_include(<rdma/fabric.h>)
#error "libfabric's headers are missing: apt-get install libfabric-dev"
#endif

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdbool.h>

#if FI_MAJOR_VERSION != 1
// libfabric 2 keeps FI_MR_BASIC and FI_LOCAL_MR for requests below API 1.5, but no longer declares them.
#ifndef FI_MR_BASIC
#define FI_MR_BASIC (1 << 0)
#endif
#ifndef FI_LOCAL_MR
#define FI_LOCAL_MR (1ULL << 55)
#endif
#endif

/// The API version every rpmem initiator and target asks libfabric for; the memory registration rules of the wire
/// (virtual addresses, provider keys) are those of this version.
static const uint32_t rpmem_fi_api_version = FI_VERSION(1, 4);

// The requirements of the wire, typed; libfabric declares some as int, some as unsigned long long.
static const uint64_t rpmem_fi_mode = FI_CONTEXT | FI_LOCAL_MR | FI_RX_CQ_DATA;
static const int rpmem_fi_mr_mode = FI_MR_BASIC;

/// The oldest version in which an application chooses keys of memory and has virtual addresses all the same. The wire is
/// that of version 1.4: a key is 64 bits that the target tells.
static const uint32_t rpmem_fi_own_keys_api_version = FI_VERSION(1, 5);
static const uint64_t rpmem_fi_own_keys_mode = FI_CONTEXT | FI_RX_CQ_DATA;
static const int rpmem_fi_own_keys_mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED;

static const uint64_t rpmem_fi_msg_order = FI_ORDER_RAW | FI_ORDER_SAW;
static const uint64_t rpmem_fi_bind_transmit = FI_TRANSMIT | FI_SELECTIVE_COMPLETION;
static const uint64_t rpmem_fi_completion = FI_COMPLETION;
// Both flags: the completion of a WRITE, once the target's provider has made its range durable.
static const uint64_t rpmem_fi_commit = FI_COMMIT_COMPLETE | FI_COMPLETION;
static const uint64_t rpmem_fi_pmem = FI_RMA_PMEM;
static const uint64_t rpmem_fi_source = FI_SOURCE;

/// Symbol version of `fi_getinfo`, `fi_dupinfo` and `fi_freeinfo` that matches the `struct fi_info` of these headers.
#if FI_MAJOR_VERSION >= 2
#define RPMEM_FI_INFO_SYMBOL_VERSION "FABRIC_1.8"
#else
#define RPMEM_FI_INFO_SYMBOL_VERSION "FABRIC_1.3"
#endif

// Operations on one buffer. The structures that libfabric's functions take point to each other, which nests closures in
// Swift. They are on the stack: libfabric copies them. `context` must stay in place until the completion.

static inline ssize_t rpmem_fi_message(
    struct fid_ep *endpoint, bool sends, void *buffer, size_t length, void *descriptor, void *context, uint64_t flags) {
    struct iovec vector = {.iov_base = buffer, .iov_len = length};
    struct fi_msg message = {.msg_iov = &vector, .desc = &descriptor, .iov_count = 1, .context = context};
    return sends ? fi_sendmsg(endpoint, &message, flags) : fi_recvmsg(endpoint, &message, flags);
}

/// A WRITE to the peer's `address`, or a READ from there. `key` is that of the peer's memory region.
static inline ssize_t rpmem_fi_transfer(
    struct fid_ep *endpoint, bool writes, void *buffer, size_t length, void *descriptor, uint64_t address, uint64_t key,
    void *context, uint64_t flags) {
    struct iovec vector = {.iov_base = buffer, .iov_len = length};
    struct fi_rma_iov place = {.addr = address, .len = length, .key = key};
    struct fi_msg_rma message = {
        .msg_iov = &vector, .desc = &descriptor, .iov_count = 1,
        .rma_iov = &place, .rma_iov_count = 1, .context = context};
    return writes ? fi_writemsg(endpoint, &message, flags) : fi_readmsg(endpoint, &message, flags);
}

/// A connection event without the private data that may follow it.
struct rpmem_fi_cm_event {
    fid_t fid;
    struct fi_info *info;
    /// Room for private data: providers refuse to deliver an event to a buffer that is too small for it.
    uint8_t data[256];
};
_Static_assert(offsetof(struct rpmem_fi_cm_event, data) == offsetof(struct fi_eq_cm_entry, data), "layout of fi_eq_cm_entry");

#endif
