/* core/tensor/storage.h - the one place that allocates a tensor's bytes. */
#ifndef QUERN_TENSOR_STORAGE_H
#define QUERN_TENSOR_STORAGE_H

#include "quern/tensor.h"

/* Fill *out with 64-byte aligned zeroed storage of `bytes`, which the caller has computed from dims with checks. Freed with
 * qn_tensor_free(). bytes 0: data is NULL. Fails with QN_ERR_NOMEM; then *out is empty. */
qn_status qn_tensor_storage(qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes, qn_tensor *out, qn_error *err);

#endif
