/* core/graph/weight.c - constants: what the file says about them, and where their bytes are. */
#include "core/graph/weight.h"

#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNCE_BYTES = 64 * 1024 };

/* Bytes are in one of three places, asked in this order: `held`, the dense blob, the source. `held` and `src` never change after
 * creation; `dense` is set once, under mu. */
struct qn_weight {
    atomic_uint refs;
    qn_tensor shape; /* data NULL */
    int64_t count;
    qn_digest digest;
    void *held;     /* owned copy of all bytes, or NULL */
    qn_source *src; /* one reference, or NULL */
    uint64_t offset;

    pthread_mutex_t mu; /* guards the two below; nothing is locked or called inside */
    qn_store *store;    /* of dense, one reference */
    const qn_blob *dense;
};

void qn_weight_digest_begin(qn_hasher *h, qn_dtype dtype, int32_t rank, const int64_t *dims)
{
    const int32_t head[2] = { (int32_t)dtype, rank };

    qn_hasher_init(h);
    qn_hasher_update(h, head, sizeof head);
    qn_hasher_update(h, dims, (size_t)rank * sizeof *dims);
}

/* -- making --------------------------------------------------------------------------------------------------------------- */

/* A weight without bytes; shape is checked. */
static qn_weight *new_weight(qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes)
{
    qn_weight *w = calloc(1, sizeof *w);

    if (!w) return NULL;
    if (pthread_mutex_init(&w->mu, NULL) != 0) {
        free(w);
        return NULL;
    }
    atomic_init(&w->refs, 1);
    w->shape = (qn_tensor){ .dtype = dtype, .rank = rank, .bytes = bytes };
    if (rank) memcpy(w->shape.dims, dims, (size_t)rank * sizeof *dims);
    w->count = qn_tensor_count(&w->shape);
    return w;
}

/* A bool is read as one by C code later, where any other byte would be undefined; a 4-bit integer uses its four bits. base is the index
 * of p[0]. */
static qn_status check_bytes(qn_dtype dtype, const unsigned char *p, size_t n, int64_t base, qn_error *err)
{
    const int lo = dtype == QN_I4 ? -8 : 0, hi = dtype == QN_BOOL ? 1 : lo + 15;

    if (dtype != QN_BOOL && dtype != QN_I4 && dtype != QN_U4) return QN_OK;
    for (size_t i = 0; i < n; i++) {
        const int v = dtype == QN_I4 ? (int8_t)p[i] : p[i];

        if (v < lo || v > hi)
            return qn_error_set(err, QN_ERR_FORMAT, "%s element %" PRId64 " is %d, expected %d..%d", qn_dtype_name(dtype),
                                base + (int64_t)i, v, lo, hi);
    }
    return QN_OK;
}

qn_status qn_weight_from_tensor(const qn_tensor *t, qn_weight **out, qn_error *err)
{
    qn_weight *w;
    qn_hasher h;
    size_t bytes = t->bytes;
    qn_status st;

    *out = NULL;
    st = t->dtype == QN_STRING ? qn_strings_check(t, err) : qn_shape_bytes(t->dtype, t->rank, t->dims, &bytes, err);
    if (st) return st;
    if (bytes != t->bytes || (bytes && !t->data))
        return qn_error_set(err, QN_ERR_INVALID, "constant has %zu bytes, its shape needs %zu", t->data ? t->bytes : 0, bytes);
    st = check_bytes(t->dtype, t->data, bytes, 0, err);
    if (st) return st;
    w = new_weight(t->dtype, t->rank, t->dims, bytes);
    if (w) w->held = aligned_alloc(64, (bytes | 63) + 1);
    if (!w || !w->held) {
        qn_weight_unref(w);
        return qn_error_set(err, QN_ERR_NOMEM, "constant of %zu bytes", bytes);
    }
    if (bytes) memcpy(w->held, t->data, bytes);
    qn_weight_digest_begin(&h, t->dtype, t->rank, t->dims);
    qn_hasher_update(&h, w->held, bytes);
    qn_hasher_finish(&h, &w->digest);
    *out = w;
    return QN_OK;
}

/* Read all bytes once through a bounce buffer. */
static qn_status digest_source(qn_weight *w, qn_error *err)
{
    void *bounce = malloc(BOUNCE_BYTES);
    qn_hasher h;
    qn_status st = QN_OK;

    if (!bounce) return qn_error_set(err, QN_ERR_NOMEM, "bounce buffer of %d bytes", BOUNCE_BYTES);
    qn_weight_digest_begin(&h, w->shape.dtype, w->shape.rank, w->shape.dims);
    for (size_t at = 0; at < w->shape.bytes && !st;) {
        const size_t n = w->shape.bytes - at < BOUNCE_BYTES ? w->shape.bytes - at : BOUNCE_BYTES;

        st = w->src->read(w->src, w->offset + at, bounce, n, err);
        if (!st) qn_hasher_update(&h, bounce, n);
        at += n;
    }
    if (!st) qn_hasher_finish(&h, &w->digest);
    free(bounce);
    return st;
}

static qn_status small_from_source(qn_source *src, uint64_t offset, qn_dtype dtype, int32_t rank, const int64_t *dims,
                                   const qn_digest *digest, qn_weight **out, qn_error *err)
{
    qn_tensor t;
    qn_status st;

    st = qn_tensor_alloc(dtype, rank, dims, &t, err);
    if (!st && t.bytes) st = src->read(src, offset, t.data, t.bytes, err);
    if (!st) st = qn_weight_from_tensor(&t, out, err);
    if (!st && digest) (*out)->digest = *digest;
    qn_tensor_free(&t);
    return st;
}

qn_status qn_weight_from_source(qn_source *src, uint64_t offset, qn_dtype dtype, int32_t rank, const int64_t *dims, const qn_digest *digest,
                                qn_weight **out, qn_error *err)
{
    qn_weight *w;
    size_t bytes;
    qn_status st;

    *out = NULL;
    st = qn_shape_bytes(dtype, rank, dims, &bytes, err);
    if (st) return st;
    if (offset > UINT64_MAX - bytes)
        return qn_error_set(err, QN_ERR_RANGE, "weight of %zu bytes at offset %" PRIu64 " ends beyond 2^64", bytes, offset);
    if (bytes <= QN_WEIGHT_INLINE) return small_from_source(src, offset, dtype, rank, dims, digest, out, err);
    w = new_weight(dtype, rank, dims, bytes);
    if (!w) return qn_error_set(err, QN_ERR_NOMEM, "weight");
    src->ref(src);
    w->src = src;
    w->offset = offset;
    if (digest) {
        w->digest = *digest;
    } else {
        st = digest_source(w, err);
    }
    if (st) {
        qn_weight_unref(w);
        return st;
    }
    *out = w;
    return QN_OK;
}

qn_weight *qn_weight_ref(qn_weight *w)
{
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void qn_weight_unref(qn_weight *w)
{
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1) return;
    if (w->dense) qn_store_drop(w->store, w->dense);
    qn_store_unref(w->store);
    if (w->src) w->src->unref(w->src);
    free(w->held);
    pthread_mutex_destroy(&w->mu);
    free(w);
}

/* -- reading -------------------------------------------------------------------------------------------------------------- */

/* All bytes if they are in memory, else NULL. */
static void *bytes_in_memory(const qn_weight *w)
{
    pthread_mutex_t *mu = (pthread_mutex_t *)&w->mu; /* const for the caller: locking changes nothing it can see */
    const qn_blob *dense;

    if (w->held) return w->held;
    pthread_mutex_lock(mu);
    dense = w->dense;
    pthread_mutex_unlock(mu);
    return dense ? dense->data : NULL;
}

void qn_weight_shape(const qn_weight *w, qn_tensor *out)
{
    *out = w->shape;
    out->data = bytes_in_memory(w);
}

const qn_digest *qn_weight_digest(const qn_weight *w) { return &w->digest; }

qn_status qn_weight_read(qn_weight *w, int64_t first, int64_t n, void *dst, qn_error *err)
{
    const size_t size = qn_dtype_size(w->shape.dtype);
    const char *src;
    size_t at, bytes;
    qn_status st;

    if (size == 0) return qn_error_set(err, QN_ERR_DTYPE, "elements of a %s weight have no fixed size", qn_dtype_name(w->shape.dtype));
    if (first < 0 || n < 0 || first > w->count || n > w->count - first) {
        return qn_error_set(err, QN_ERR_RANGE, "elements %" PRId64 " and the next %" PRId64 " of a weight with %" PRId64, first, n,
                            w->count);
    }
    at = (size_t)first * size; /* within w->shape.bytes, which was checked */
    bytes = (size_t)n * size;
    if (bytes == 0) return QN_OK;
    src = bytes_in_memory(w);
    if (src) {
        memcpy(dst, src + at, bytes);
        return QN_OK;
    }
    st = w->src->read(w->src, w->offset + at, dst, bytes, err);
    return st ? st : check_bytes(w->shape.dtype, dst, bytes, first, err);
}

static qn_status pack_dense(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    (void)ctx;
    return qn_weight_read(w, 0, w->count, blob->data, err);
}

/* Keep the blob, unless another thread was faster: then the weight keeps that one. It is the same one if the stores are. */
static void keep_dense(qn_weight *w, qn_store *store, const qn_blob *blob)
{
    bool kept = false;

    pthread_mutex_lock(&w->mu);
    if (!w->dense) {
        w->store = qn_store_ref(store);
        w->dense = blob;
        kept = true;
    }
    pthread_mutex_unlock(&w->mu);
    if (!kept) qn_store_drop(store, blob);
}

qn_status qn_weight_dense(qn_weight *w, qn_store *store, qn_tensor *out, qn_error *err)
{
    qn_store *own = NULL;
    const qn_blob *blob;
    qn_status st = QN_OK;

    qn_weight_shape(w, out);
    if (out->data) return QN_OK;
    if (!store) {
        st = qn_store_create(&own, err);
        store = own;
    }
    if (!st) st = qn_store_get(store, w, "dense", w->shape.bytes, pack_dense, NULL, &blob, err);
    if (!st) {
        keep_dense(w, store, blob);
        qn_weight_shape(w, out);
    }
    qn_store_unref(own);
    return st;
}

/* -- small constants ------------------------------------------------------------------------------------------------------ */

/* An integer or bool at p; false for other dtypes and for a u64 beyond int64. */
static bool int_at(qn_dtype dtype, const void *p, int64_t *out)
{
    union {
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } v;

    memcpy(&v, p, qn_dtype_size(dtype));
    switch (dtype) {
    case QN_I4:
    case QN_I8: *out = v.i8; return true;
    case QN_I16: *out = v.i16; return true;
    case QN_I32: *out = v.i32; return true;
    case QN_I64: *out = v.i64; return true;
    case QN_BOOL:
    case QN_U4:
    case QN_U8: *out = v.u8; return true;
    case QN_U16: *out = v.u16; return true;
    case QN_U32: *out = v.u32; return true;
    case QN_U64: *out = (int64_t)v.u64; return v.u64 <= INT64_MAX;
    default: return false;
    }
}

bool qn_weight_scalar_f32(qn_weight *w, float *out)
{
    const void *p;
    uint64_t u64;
    uint16_t h;
    int64_t i;
    double d;

    if (!w || w->count != 1 || w->shape.dtype == QN_STRING || !w->held) return false;
    p = w->held;
    switch (w->shape.dtype) {
    case QN_F32: memcpy(out, p, sizeof *out); return true;
    case QN_F64:
        memcpy(&d, p, sizeof d);
        *out = (float)d;
        return true;
    case QN_F16:
        memcpy(&h, p, sizeof h);
        *out = qn_f16_to_f32(h);
        return true;
    case QN_BF16:
        memcpy(&h, p, sizeof h);
        *out = qn_bf16_to_f32(h);
        return true;
    case QN_U64:
        memcpy(&u64, p, sizeof u64);
        *out = (float)u64;
        return true;
    default:
        if (!int_at(w->shape.dtype, p, &i)) return false;
        *out = (float)i;
        return true;
    }
}

bool qn_weight_ints(qn_weight *w, int64_t *vals, int32_t cap, int32_t *n)
{
    const char *p;
    size_t size;

    if (!w || w->shape.rank > 1 || w->count > cap) return false;
    size = qn_dtype_size(w->shape.dtype);
    p = bytes_in_memory(w); /* in memory whenever cap is small: QN_WEIGHT_INLINE */
    if (size == 0 || !p) return false;
    for (int64_t i = 0; i < w->count; i++) {
        if (!int_at(w->shape.dtype, p + (size_t)i * size, &vals[i])) return false;
    }
    *n = (int32_t)w->count;
    return true;
}
