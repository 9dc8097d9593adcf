/* core/ops/pool.h - the windows of pools, for the quantized ones. */
#ifndef QUERN_OPS_POOL_H
#define QUERN_OPS_POOL_H

#include "core/kernels/pool/pool.h"
#include "core/ops/spatial.h"

/* qn_spatial_read() of a pool: no window may hold padding only. Fails with QN_ERR_INVALID too. */
qn_status qn_pool_windows(const qn_node *n, int32_t rank, qn_spatial *s, qn_error *err);
/* What the kernels want for x [n, c, spatial...]. */
qn_status qn_pool_shape_of(const qn_node *n, const qn_tensor *x, qn_pool_shape *p, qn_error *err);

#endif
