/* core/tensor/strings.h - reading and building QN_STRING tensors: n + 1 uint64_t offsets, then the bytes.
 * Offsets start at 0, never fall, and end at the size of the blob; elements may hold any byte, NUL included.
 * Threads: plain data. */
#ifndef QUERN_TENSOR_STRINGS_H
#define QUERN_TENSOR_STRINGS_H

#include "quern/tensor.h"

/* Check dims, bytes and every offset of a QN_STRING tensor from outside.
 * Fails with QN_ERR_DTYPE (not QN_STRING), QN_ERR_FORMAT, or like qn_shape_count(). */
qn_status qn_strings_check(const qn_tensor *t, qn_error *err);

/* Element i of a checked tensor, *len bytes, not terminated; lives as long as the tensor's data. */
const char *qn_strings_get(const qn_tensor *t, int64_t i, size_t *len);

/* A tensor with room for blob_bytes of text, which the caller fills: offsets (zeroed) through qn_strings_offsets(), text through
 * qn_strings_blob(). Freed with qn_tensor_free(). Fails like qn_shape_count(), or with QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_strings_alloc(int32_t rank, const int64_t *dims, size_t blob_bytes, qn_tensor *out, qn_error *err);

/* [count + 1] and the bytes behind them. */
uint64_t *qn_strings_offsets(const qn_tensor *t);
char *qn_strings_blob(const qn_tensor *t);

/* Bytes of a tensor of n elements and blob_bytes of text; false if that does not fit. n >= 0. */
bool qn_strings_bytes(int64_t n, size_t blob_bytes, size_t *bytes);

#endif
