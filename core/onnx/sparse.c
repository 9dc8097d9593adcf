/* core/onnx/sparse.c - SparseTensorProto -> a weight that is dense when read.
 * Only what the file holds is kept: positions and values. The dense bytes are made as they are asked for, by a source of their own, so
 * that a few bytes with huge dims cost no memory here.
 * Source:  onnx.proto, SparseTensorProto: indices int64 [nnz] (row-major position) or [nnz, rank], ascending, no duplicates. */
#include "core/onnx/read.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct sparse_source {
    qn_source base; /* first: a qn_source * is a sparse_source * */
    atomic_int refs;
    uint64_t *at; /* [n] byte offset of each value in the dense tensor, ascending; owned */
    char *values; /* [n * elem], owned */
    size_t n, elem;
    uint64_t bytes;
} sparse_source;

static qn_status sparse_read(qn_source *src, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    const sparse_source *s = (const sparse_source *)src;
    size_t lo = 0, hi = s->n;

    if (offset > s->bytes || n > s->bytes - offset)
        return qn_error_set(err, QN_ERR_FORMAT, "sparse tensor of %" PRIu64 " bytes ends before byte %" PRIu64 " + %zu", s->bytes, offset,
                            n);
    memset(dst, 0, n);
    while (lo < hi) { /* first value that ends beyond offset */
        size_t mid = lo + (hi - lo) / 2;

        if (s->at[mid] + s->elem > offset)
            hi = mid;
        else
            lo = mid + 1;
    }
    for (; lo < s->n && s->at[lo] < offset + n; lo++) {
        uint64_t begin = s->at[lo] > offset ? s->at[lo] : offset, end = s->at[lo] + s->elem;

        if (end > offset + n) end = offset + n;
        memcpy((char *)dst + (begin - offset), s->values + lo * s->elem + (begin - s->at[lo]), (size_t)(end - begin));
    }
    return QN_OK;
}

static void sparse_ref(qn_source *src) { atomic_fetch_add_explicit(&((sparse_source *)src)->refs, 1, memory_order_relaxed); }

static void sparse_unref(qn_source *src)
{
    sparse_source *s = (sparse_source *)src;

    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    free(s->at);
    free(s->values);
    free(s);
}

static sparse_source *sparse_create(size_t n, size_t elem, uint64_t bytes)
{
    sparse_source *s = calloc(1, sizeof *s);

    if (!s) return NULL;
    s->base = (qn_source){ .read = sparse_read, .ref = sparse_ref, .unref = sparse_unref };
    atomic_init(&s->refs, 1);
    s->n = n;
    s->elem = elem;
    s->bytes = bytes;
    s->at = calloc(n ? n : 1, sizeof *s->at);
    s->values = calloc(n ? n : 1, elem);
    if (s->at && s->values) return s;
    sparse_unref(&s->base);
    return NULL;
}

/* What the message says, before it is judged. */
typedef struct sparse_scan {
    qn_onnx_span values_span, indices_span;
    qn_onnx_tensor values, indices;
    qn_onnx_tensor dense; /* dtype, rank, dims, count, bytes of the result */
} sparse_scan;

static qn_status sparse_dim(qn_onnx_reader *r, qn_onnx_tensor *dense, uint64_t v)
{
    if (dense->rank == QN_MAX_RANK) return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "more than %d dimensions", QN_MAX_RANK);
    if ((int64_t)v < 0)
        return qn_error_set(r->err, QN_ERR_FORMAT, "dimension %" PRId32 " is %" PRId64 ", expected 0 or more", dense->rank, (int64_t)v);
    dense->dims[dense->rank++] = (int64_t)v;
    return QN_OK;
}

static qn_status sparse_dims(qn_onnx_reader *r, qn_onnx_tensor *dense)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    uint64_t v;

    if (p->wire != QN_WIRE_BYTES) return qn_proto_expect(p, QN_WIRE_VARINT) ? sparse_dim(r, dense, p->value) : p->status;
    if (!qn_proto_enter(p)) return p->status;
    while (!st && !qn_proto_at_end(p)) st = qn_proto_varint(p, &v) ? sparse_dim(r, dense, v) : p->status;
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static qn_status scan_message(qn_onnx_reader *r, const qn_onnx_span *span, sparse_scan *s)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == 1)
            st = qn_onnx_span_take(r, &s->values_span, "values");
        else if (p->field == 2)
            st = qn_onnx_span_take(r, &s->indices_span, "indices");
        else if (p->field == 3)
            st = sparse_dims(r, &s->dense);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    if (!s->values_span.given) return qn_error_set(r->err, QN_ERR_FORMAT, "sparse tensor without values");
    if (!s->indices_span.given) return qn_error_set(r->err, QN_ERR_FORMAT, "sparse tensor without indices");
    st = qn_onnx_scan_tensor(r, &s->values_span, &s->values);
    return st ? st : qn_onnx_scan_tensor(r, &s->indices_span, &s->indices);
}

static qn_status judge_message(qn_onnx_reader *r, sparse_scan *s)
{
    const qn_onnx_tensor *v = &s->values, *x = &s->indices;
    int64_t count;
    qn_status st;

    if (v->dtype == QN_STRING) return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "sparse tensor of strings");
    if (v->rank != 1) return qn_error_set(r->err, QN_ERR_FORMAT, "values of a sparse tensor have rank %" PRId32 ", expected 1", v->rank);
    if (s->dense.rank == 0) return qn_error_set(r->err, QN_ERR_FORMAT, "sparse tensor without dims");
    if (x->dtype != QN_I64)
        return qn_error_set(r->err, QN_ERR_FORMAT, "indices of a sparse tensor are %s, expected i64", qn_dtype_name(x->dtype));
    if (!(x->rank == 1 && x->dims[0] == v->dims[0]) && !(x->rank == 2 && x->dims[0] == v->dims[0] && x->dims[1] == s->dense.rank)) {
        char shown[64];

        return qn_error_set(r->err, QN_ERR_FORMAT,
                            "indices of a sparse tensor have shape %s, expected [%" PRId64 "] or [%" PRId64 ",%" PRId32 "]",
                            qn_shape_print(x->rank, x->dims, shown, sizeof shown), v->dims[0], v->dims[0], s->dense.rank);
    }
    st = qn_shape_count(s->dense.rank, s->dense.dims, &count, r->err);
    if (st) return st;
    s->dense.name = v->name;
    s->dense.dtype = v->dtype;
    if (!qn_i64_to_size(count, &s->dense.count) || !qn_size_mul(s->dense.count, qn_dtype_size(v->dtype), &s->dense.bytes))
        return qn_error_set(r->err, QN_ERR_LIMIT, "sparse tensor of %" PRId64 " elements", count);
    return QN_OK;
}

/* Row-major position of index i, checked against dims. */
static bool position(const sparse_scan *s, const int64_t *index, size_t i, int64_t *out)
{
    const qn_onnx_tensor *d = &s->dense;
    int64_t at = 0;

    if (s->indices.rank == 1) {
        *out = index[i];
        return index[i] >= 0 && (uint64_t)index[i] < d->count;
    }
    for (int32_t k = 0; k < d->rank; k++) {
        int64_t v = index[i * (size_t)d->rank + (size_t)k];

        if (v < 0 || v >= d->dims[k]) return false;
        at = at * d->dims[k] + v; /* below d->count, which qn_shape_count() bounded */
    }
    *out = at;
    return true;
}

static qn_status place(qn_onnx_reader *r, const sparse_scan *s, const int64_t *index, sparse_source *src)
{
    int64_t last = -1, at;

    for (size_t i = 0; i < src->n; i++) {
        if (!position(s, index, i, &at)) return qn_error_set(r->err, QN_ERR_FORMAT, "index %zu of a sparse tensor is outside its dims", i);
        if (at <= last) return qn_error_set(r->err, QN_ERR_FORMAT, "indices of a sparse tensor are not ascending at %zu", i);
        src->at[i] = (uint64_t)at * src->elem;
        last = at;
    }
    return QN_OK;
}

qn_status qn_onnx_sparse_weight(qn_onnx_reader *r, const qn_onnx_span *span, const char **name, qn_weight **out)
{
    sparse_scan s = { 0 };
    sparse_source *src = NULL;
    int64_t *index = NULL;
    char shown[QN_ONNX_SHORT];
    qn_status st;

    *out = NULL;
    *name = "";
    st = scan_message(r, span, &s);
    if (!st) st = judge_message(r, &s);
    if (!st) st = qn_onnx_spend_weight(r, s.dense.bytes, s.values.name);
    if (st) goto done;
    src = sparse_create(s.values.count, qn_dtype_size(s.values.dtype), s.dense.bytes);
    index = malloc(s.indices.bytes ? s.indices.bytes : 1);
    if (!src || !index) {
        st = qn_error_set(r->err, QN_ERR_NOMEM, "sparse tensor with %zu values", s.values.count);
        goto done;
    }
    st = qn_onnx_tensor_fill(r, &s.values, src->values);
    if (!st) st = qn_onnx_tensor_fill(r, &s.indices, index);
    if (!st) st = place(r, &s, index, src);
    if (!st) st = qn_onnx_weight_at(r, &src->base, 0, &s.dense, out);
    *name = s.values.name;
done:
    if (st && s.values.name && *s.values.name) qn_error_prefix(r->err, "sparse tensor '%s'", qn_onnx_short(s.values.name, shown));
    free(index);
    if (src) sparse_unref(&src->base);
    return st;
}
