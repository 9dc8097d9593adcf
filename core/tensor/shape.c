/* core/tensor/shape.c - counting elements and bytes without overflow, and printing shapes. */
#include "core/tensor/shape.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdio.h>

/* 2^62: a count, and the count times any stride below it, stays an int64_t. */
#define MAX_COUNT ((int64_t)1 << 62)

qn_status qn_shape_count(int32_t rank, const int64_t *dims, int64_t *count, qn_error *err)
{
    int64_t n = 1;
    bool empty = false;
    char text[96];

    if (rank < 0 || rank > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "rank %" PRId32 ", expected 0..%d", rank, QN_MAX_RANK);
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] < 0) {
            return qn_error_set(err, QN_ERR_SHAPE, "dimension %" PRId32 " of %s is %" PRId64 ", expected 0 or more", i,
                                qn_shape_print(rank, dims, text, sizeof text), dims[i]);
        }
        /* A zero does not excuse the others: strides are products of them. */
        if (dims[i] == 0) {
            empty = true;
        } else if (!qn_i64_mul(n, dims[i], &n) || n > MAX_COUNT) {
            return qn_error_set(err, QN_ERR_LIMIT, "shape %s has more than 2^62 elements", qn_shape_print(rank, dims, text, sizeof text));
        }
    }
    *count = empty ? 0 : n;
    return QN_OK;
}

qn_status qn_shape_bytes(qn_dtype dtype, int32_t rank, const int64_t *dims, size_t *bytes, qn_error *err)
{
    const size_t size = qn_dtype_size(dtype);
    int64_t count;
    size_t n;
    char text[96];
    qn_status st;

    if (size == 0) return qn_error_set(err, QN_ERR_DTYPE, "dtype %s has no fixed element size", qn_dtype_name(dtype));
    st = qn_shape_count(rank, dims, &count, err);
    if (st) return st;
    if (!qn_i64_to_size(count, &n) || !qn_size_mul(n, size, &n) || n > PTRDIFF_MAX) {
        return qn_error_set(err, QN_ERR_LIMIT, "%s%s is larger than the address space", qn_dtype_name(dtype),
                            qn_shape_print(rank, dims, text, sizeof text));
    }
    *bytes = n;
    return QN_OK;
}

const char *qn_shape_print(int32_t rank, const int64_t *dims, char *buf, size_t cap)
{
    size_t at = 0;
    int n;

    if (cap == 0) return buf;
    for (int32_t i = 0; i <= rank && at < cap; i++) {
        const char *before = i == 0 ? "[" : ",";

        if (i == rank) {
            n = snprintf(buf + at, cap - at, "%s", rank == 0 ? "[]" : "]");
        } else if (dims[i] == -1) {
            n = snprintf(buf + at, cap - at, "%s?", before);
        } else {
            n = snprintf(buf + at, cap - at, "%s%" PRId64, before, dims[i]);
        }
        if (n > 0) at += (size_t)n;
    }
    if (rank < 0) snprintf(buf, cap, "[...]"); /* a rank that is not known */
    return buf;
}

void qn_shape_strides(int32_t rank, const int64_t *dims, int64_t *strides)
{
    int64_t step = 1;

    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = step;
        if (dims[i] > 0) step *= dims[i];
    }
}
