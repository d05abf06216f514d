// What an RDMA device can, from libibverbs' headers.
#ifndef RPMEM_CIBVERBS_SHIM_H
#define RPMEM_CIBVERBS_SHIM_H

#if !__has_include(<infiniband/verbs.h>)
#error "libibverbs' headers are missing: apt-get install libibverbs-dev"
#endif

#include <infiniband/verbs.h>

/// Whether the device pages memory in by itself for what a pool is used for: messages, WRITEs and READs of reliable
/// connections. 1 or 0; −1 when it cannot be asked.
static inline int rpmem_ibv_pages_on_demand(struct ibv_context *context) {
    // Not ibv_query_device_ex, which would need the library at link time.
    struct verbs_context *extended = verbs_get_ctx_op(context, query_device_ex);
    if (!extended) return 0;
    struct ibv_query_device_ex_input input = {0};
    struct ibv_device_attr_ex attributes = {0};
    if (extended->query_device_ex(context, &input, &attributes, sizeof attributes) != 0) return -1;
    const uint32_t needed =
        IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
    return (attributes.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
        (attributes.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed;
}

#endif
