/* core/tensor/strings.c - QN_STRING tensors. */
#include "core/tensor/strings.h"

#include "core/base/checked.h"
#include "core/tensor/storage.h"

#include <inttypes.h>

bool qn_strings_bytes(int64_t n, size_t blob_bytes, size_t *bytes)
{
    size_t r;

    return qn_i64_to_size(n, &r) && qn_size_add(r, 1, &r) && qn_size_mul(r, sizeof(uint64_t), &r) && qn_size_add(r, blob_bytes, bytes);
}

uint64_t *qn_strings_offsets(const qn_tensor *t) { return t->data; }

char *qn_strings_blob(const qn_tensor *t) { return (char *)t->data + ((size_t)qn_tensor_count(t) + 1) * sizeof(uint64_t); }

const char *qn_strings_get(const qn_tensor *t, int64_t i, size_t *len)
{
    const uint64_t *off = qn_strings_offsets(t);

    *len = (size_t)(off[i + 1] - off[i]);
    return qn_strings_blob(t) + off[i];
}

qn_status qn_strings_check(const qn_tensor *t, qn_error *err)
{
    const uint64_t *off = t->data;
    int64_t count;
    size_t head;
    qn_status st;

    if (t->dtype != QN_STRING) return qn_error_set(err, QN_ERR_DTYPE, "dtype %s, expected string", qn_dtype_name(t->dtype));
    st = qn_shape_count(t->rank, t->dims, &count, err);
    if (st) return st;
    if (count == 0 && t->bytes == 0) return QN_OK; /* no elements may also mean no storage */
    if (!qn_strings_bytes(count, 0, &head) || t->bytes < head || !off) {
        return qn_error_set(err, QN_ERR_FORMAT, "string tensor of %" PRId64 " elements in %zu bytes: no room for its offsets", count,
                            t->bytes);
    }
    if (off[0] != 0) return qn_error_set(err, QN_ERR_FORMAT, "string tensor: offset 0 is %" PRIu64 ", expected 0", off[0]);
    for (int64_t i = 0; i < count; i++) {
        if (off[i + 1] < off[i]) {
            return qn_error_set(err, QN_ERR_FORMAT, "string tensor: offset %" PRId64 " is %" PRIu64 ", below the one before, %" PRIu64,
                                i + 1, off[i + 1], off[i]);
        }
    }
    if (off[count] != t->bytes - head) {
        return qn_error_set(err, QN_ERR_FORMAT, "string tensor: last offset is %" PRIu64 ", its text has %zu bytes", off[count],
                            t->bytes - head);
    }
    return QN_OK;
}

qn_status qn_strings_alloc(int32_t rank, const int64_t *dims, size_t blob_bytes, qn_tensor *out, qn_error *err)
{
    int64_t count;
    size_t bytes;
    qn_status st;

    *out = (qn_tensor){ 0 };
    st = qn_shape_count(rank, dims, &count, err);
    if (st) return st;
    if (!qn_strings_bytes(count, blob_bytes, &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " strings of %zu bytes do not fit the address space", count, blob_bytes);
    return qn_tensor_storage(QN_STRING, rank, dims, bytes, out, err);
}
