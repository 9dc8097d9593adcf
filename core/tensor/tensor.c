/* core/tensor/tensor.c - tensors that own their bytes. */
#include "quern/tensor.h"

#include "core/base/checked.h"
#include "core/tensor/storage.h"
#include "core/tensor/strings.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 }; /* one cache line, one zmm register */

int64_t qn_tensor_count(const qn_tensor *t)
{
    int64_t n = 1;

    /* Once a zero is met the product stays 0; the factors before it are bounded by qn_shape_count(). */
    for (int32_t i = 0; i < t->rank; i++) n *= t->dims[i];
    return n;
}

qn_status qn_tensor_storage(qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes, qn_tensor *out, qn_error *err)
{
    void *data = NULL;
    size_t room;

    *out = (qn_tensor){ 0 };
    if (bytes) {
        if (qn_size_align(bytes, ALIGN, &room)) data = aligned_alloc(ALIGN, room);
        if (!data) return qn_error_set(err, QN_ERR_NOMEM, "tensor of %zu bytes", bytes);
        memset(data, 0, room);
    }
    *out = (qn_tensor){ .dtype = dtype, .rank = rank, .data = data, .bytes = bytes };
    if (rank) memcpy(out->dims, dims, (size_t)rank * sizeof *dims);
    return QN_OK;
}

qn_status qn_tensor_alloc(qn_dtype dtype, int32_t rank, const int64_t *dims, qn_tensor *out, qn_error *err)
{
    size_t bytes;
    qn_status st;

    *out = (qn_tensor){ 0 };
    st = qn_shape_bytes(dtype, rank, dims, &bytes, err);
    return st ? st : qn_tensor_storage(dtype, rank, dims, bytes, out, err);
}

qn_status qn_tensor_copy(const qn_tensor *src, qn_tensor *out, qn_error *err)
{
    size_t bytes = src->bytes;
    qn_status st;

    *out = (qn_tensor){ 0 };
    st = src->dtype == QN_STRING ? qn_strings_check(src, err) : qn_shape_bytes(src->dtype, src->rank, src->dims, &bytes, err);
    if (!st && bytes != src->bytes) st = qn_error_set(err, QN_ERR_INVALID, "tensor has %zu bytes, its shape needs %zu", src->bytes, bytes);
    if (!st) st = qn_tensor_storage(src->dtype, src->rank, src->dims, bytes, out, err);
    if (!st && bytes) memcpy(out->data, src->data, bytes);
    return st;
}

void qn_tensor_free(qn_tensor *t)
{
    if (!t) return;
    free(t->data);
    *t = (qn_tensor){ 0 };
}
