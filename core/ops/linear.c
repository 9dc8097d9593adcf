/* core/ops/linear.c - what matrix products and convolutions share. */
#include "core/ops/linear.h"

#include "core/graph/cost.h"

#include "core/base/checked.h"
#include "core/base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- inference ------------------------------------------------------------------------------------------------------------ */

qn_status qn_linear_need(const qn_infer *c, int32_t required, qn_error *err)
{
    for (int32_t i = 0; i < c->node->n_in; i++) {
        if (!qn_infer_has(c, i)) {
            if (i < required) return qn_error_set(err, QN_ERR_INVALID, "input %d is left out, expected a tensor", (int)i);
            continue;
        }
        if (c->in[i].kind != QN_KIND_TENSOR) return qn_error_set(err, QN_ERR_DTYPE, "input %d is not a tensor", (int)i);
    }
    if (c->node->n_in < required)
        return qn_error_set(err, QN_ERR_INVALID, "%d inputs, expected at least %d", (int)c->node->n_in, (int)required);
    return QN_OK;
}

qn_status qn_linear_dtype(const qn_infer *c, int32_t i, uint32_t set, qn_error *err)
{
    const qn_dtype d = c->in[i].dtype;

    if (set & 1u << d) return QN_OK;
    return qn_error_set(err, QN_ERR_DTYPE, "input %d is %s, which this op does not take here", (int)i, qn_dtype_name(d));
}

bool qn_linear_differ(const qn_infer *c, qn_dim a, qn_dim b)
{
    int64_t x, y;

    return qn_dims_value(c->dims, a, &x) && qn_dims_value(c->dims, b, &y) && x != y;
}

qn_status qn_linear_scale(const qn_infer *c, int32_t i, bool per_axis, qn_dim n, qn_error *err)
{
    const qn_type *t;
    int64_t count = 1, want;

    if (!qn_infer_has(c, i)) return QN_OK;
    t = &c->in[i];
    for (int32_t d = 0; d < t->rank; d++) {
        int64_t v;

        if (!qn_dims_value(c->dims, t->dims[d], &v)) return QN_OK;
        if (!qn_i64_mul(count, v, &count)) return qn_error_set(err, QN_ERR_LIMIT, "input %d is too large", (int)i);
    }
    if (t->rank < 0 || count == 1) return QN_OK;
    if (!per_axis) return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, expected one", (int)i, count);
    if (qn_dims_value(c->dims, n, &want) && count != want)
        return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, expected 1 or %" PRId64, (int)i, count, want);
    return QN_OK;
}

void qn_linear_output(qn_infer *c, qn_dtype dtype, int32_t rank, const qn_dim *dims)
{
    c->out[0].dtype = dtype;
    c->out[0].rank = rank;
    for (int32_t d = 0; d < rank; d++) c->out[0].dims[d] = dims[d];
}

/* -- matrix product shapes ------------------------------------------------------------------------------------------------ */

qn_status qn_matmul_infer(const qn_infer *c, const qn_type *a, const qn_type *b, qn_type *out, qn_error *err)
{
    const qn_dim one = qn_dims_const(c->dims, 1);
    qn_type ab = { .kind = QN_KIND_TENSOR, .dtype = a->dtype }, bb = ab, batch = ab;
    const qn_dim k_a = a->rank ? a->dims[a->rank - 1] : one;
    const qn_dim k_b = b->rank >= 2 ? b->dims[b->rank - 2] : b->rank ? b->dims[0] : one;
    qn_status st;

    if (a->rank < 1 || b->rank < 1)
        return qn_error_set(err, QN_ERR_SHAPE, "ranks %d and %d, expected at least 1", (int)a->rank, (int)b->rank);
    if (qn_linear_differ(c, k_a, k_b)) {
        char x[32], y[32];

        return qn_error_set(err, QN_ERR_SHAPE, "inner dimensions %s and %s differ", qn_dims_print(c->dims, k_a, x, sizeof x),
                            qn_dims_print(c->dims, k_b, y, sizeof y));
    }
    ab.rank = a->rank > 2 ? a->rank - 2 : 0;
    bb.rank = b->rank > 2 ? b->rank - 2 : 0;
    memcpy(ab.dims, a->dims, sizeof ab.dims);
    memcpy(bb.dims, b->dims, sizeof bb.dims);
    st = qn_infer_broadcast(c, &ab, &bb, &batch, err);
    if (st != QN_OK) return st;
    out->rank = batch.rank;
    memcpy(out->dims, batch.dims, sizeof batch.dims);
    if (batch.rank < 0) return QN_OK;
    if (a->rank > 1) out->dims[out->rank++] = a->dims[a->rank - 2];
    if (b->rank > 1) out->dims[out->rank++] = b->dims[b->rank - 1];
    return QN_OK;
}

/* A batch axis `axis` of x as an axis of the output, if the other operand only broadcasts along it; else QN_ROWS_MIXED. */
static int32_t batch_axis(const qn_infer *c, const qn_type *x, int32_t axis, const qn_type *other, bool other_depends, int32_t other_axis)
{
    const int32_t from_end = x->rank - axis, there = other->rank - from_end; /* the same axis of the other operand */
    const int32_t out_rank = x->rank > other->rank ? x->rank : other->rank;
    int64_t v;

    if (x->rank < 2 || other->rank < 2) return QN_ROWS_MIXED;
    if (other_depends) return there == other_axis ? out_rank - from_end : QN_ROWS_MIXED;
    if (there >= 0 && !(qn_dims_value(c->dims, other->dims[there], &v) && v == 1)) return QN_ROWS_MIXED;
    return out_rank - from_end;
}

void qn_matmul_rows(const qn_infer *c, int32_t a, int32_t b, const int32_t *in_axis, int32_t *out_axis)
{
    const qn_type *ta = &c->in[a], *tb = &c->in[b];
    const int32_t xa = in_axis[a], xb = in_axis[b], out_rank = ta->rank > tb->rank ? ta->rank : tb->rank;

    for (int32_t i = 0; i < c->node->n_in; i++) {
        if (i != a && i != b && qn_infer_has(c, i) && in_axis[i] != QN_ROWS_NONE) return;
    }
    if (ta->rank < 2 || tb->rank < 1) return;
    if (xa >= 0 && xb == QN_ROWS_NONE && xa == ta->rank - 2) {
        if (tb->rank >= 2)
            out_axis[0] = out_rank - 2;
        else
            out_axis[0] = ta->rank - 2;
    } else if (xa >= 0 && xa < ta->rank - 2) {
        if (tb->rank == 1 && xb == QN_ROWS_NONE)
            out_axis[0] = xa;
        else if (xb == QN_ROWS_NONE || xb < tb->rank - 2)
            out_axis[0] = batch_axis(c, ta, xa, tb, xb != QN_ROWS_NONE, xb);
    } else if (xa == QN_ROWS_NONE && xb >= 0 && xb < tb->rank - 2) {
        out_axis[0] = batch_axis(c, tb, xb, ta, false, 0);
    }
}

/* Broadcast dimension of the batch, d counted over the output's batch dims. */
static int64_t batch_dim(const qn_tensor *t, int32_t rank, int32_t d)
{
    const int32_t own = t->rank - 2, i = d - (rank - own);

    return i < 0 || own <= 0 ? 1 : t->dims[i];
}

qn_status qn_matmul_shape_of(const qn_tensor *a, const qn_tensor *b, qn_matmul_shape *s, qn_error *err)
{
    const int32_t ra = a->rank > 2 ? a->rank - 2 : 0, rb = b->rank > 2 ? b->rank - 2 : 0;
    int64_t k_b, a_step = 1, b_step = 1;

    *s = (qn_matmul_shape){ .rank = ra > rb ? ra : rb, .batch = 1, .b_batch = 1 };
    s->k = a->dims[a->rank - 1];
    s->m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    k_b = b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0];
    s->n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    if (k_b != s->k) return qn_error_set(err, QN_ERR_SHAPE, "inner dimensions %" PRId64 " and %" PRId64 " differ", s->k, k_b);
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        const int64_t x = batch_dim(a, s->rank, d), y = batch_dim(b, s->rank, d);

        if (x != y && x != 1 && y != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "batch dimensions %" PRId64 " and %" PRId64 " do not broadcast", x, y);
        s->dims[d] = x == 1 ? y : x;
        s->a_step[d] = x == 1 ? 0 : a_step;
        s->b_step[d] = y == 1 ? 0 : b_step;
        a_step *= x;
        b_step *= y;
        if (!qn_i64_mul(s->batch, s->dims[d], &s->batch)) return qn_error_set(err, QN_ERR_LIMIT, "too many products");
    }
    s->b_batch = b_step;
    if (b_step == 1 && s->batch == a_step) { /* one B for all: the rows of all matrices of A are one matrix */
        if (!qn_i64_mul(s->m, s->batch, &s->m)) return qn_error_set(err, QN_ERR_LIMIT, "too many rows");
        s->batch = 1;
    }
    return QN_OK;
}

void qn_matmul_at(const qn_matmul_shape *s, int64_t i, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    if (s->batch == 1) return;
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        *a += i % s->dims[d] * s->a_step[d];
        *b += i % s->dims[d] * s->b_step[d];
        i /= s->dims[d];
    }
}

/* -- packing -------------------------------------------------------------------------------------------------------------- */

typedef struct matrices {
    int64_t batch, k, n;
    bool trans, is_signed;
} matrices;

enum { BOUNCE = 64 * 1024 }; /* elements read at a time */

/* Read w by whole lines (rows, or columns when transposed) through a bounce buffer into the form. */
static qn_status pack_f32(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    const matrices *x = ctx;
    const int64_t line = x->trans ? x->k : x->n, lines = x->trans ? x->n : x->k;
    const int64_t at_once = line >= BOUNCE ? 1 : line == 0 ? lines : BOUNCE / line;
    float *bounce = malloc((size_t)(at_once * line + 1) * sizeof *bounce);
    size_t one = 0;
    qn_status st = QN_OK;

    if (!bounce || !qn_gemm_packed_bytes(x->k, x->n, &one)) {
        st = qn_error_set(err, QN_ERR_NOMEM, "buffer of %" PRId64 " numbers to pack a weight", line);
        goto done;
    }
    for (int64_t b = 0; b < x->batch; b++) {
        float *out = (float *)(void *)((char *)blob->data + (size_t)b * one);

        for (int64_t i = 0; i < lines && st == QN_OK; i += at_once) {
            const int64_t n = lines - i < at_once ? lines - i : at_once;

            st = qn_weight_read(w, (b * lines + i) * line, n * line, bounce, err);
            if (st != QN_OK) goto done;
            if (x->trans)
                qn_gemm_pack_cols(out, x->k, x->n, i, n, bounce, 1, line);
            else
                qn_gemm_pack(out, x->k, x->n, i, n, bounce, line, 1);
        }
    }
done:
    free(bounce);
    return st;
}

qn_status qn_linear_pack_f32(qn_lower *lo, qn_weight *w, int64_t batch, int64_t k, int64_t n, bool trans, const float **data, qn_error *err)
{
    matrices x = { .batch = batch, .k = k, .n = n, .trans = trans };
    char form[96];
    size_t bytes;
    const void *packed;
    qn_status st;

    if (!qn_gemm_packed_bytes(k, n, &bytes) || !qn_size_mul(bytes, (size_t)batch, &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a weight of [%" PRId64 ",%" PRId64 ",%" PRId64 "] does not fit in memory", batch, k, n);
    snprintf(form, sizeof form, "gemm_f32_p16_b%" PRId64 "_k%" PRId64 "_n%" PRId64 "%s", batch, k, n, trans ? "_t" : "");
    st = qn_lower_blob(lo, w, form, bytes, pack_f32, &x, &packed, err);
    *data = packed;
    return st;
}

static qn_status pack_q8(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    const matrices *x = ctx;
    const int64_t count = x->k * x->n;
    uint8_t *dense = malloc((size_t)count + 1); /* packed by columns: one matrix at a time is held twice for a moment */
    size_t one = 0;
    qn_status st = QN_OK;

    if (!dense || !qn_qgemm_packed_bytes(x->k, x->n, &one)) {
        st = qn_error_set(err, QN_ERR_NOMEM, "buffer of %" PRId64 " bytes to pack a weight", count);
        goto done;
    }
    for (int64_t b = 0; b < x->batch; b++) {
        st = qn_weight_read(w, b * count, count, dense, err);
        if (st != QN_OK) goto done;
        qn_qgemm_pack((char *)blob->data + (size_t)b * one, x->k, x->n, dense, x->is_signed, x->trans ? 1 : x->n, x->trans ? x->k : 1);
    }
done:
    free(dense);
    return st;
}

qn_status qn_linear_pack_q8(qn_lower *lo, qn_weight *w, int64_t batch, int64_t k, int64_t n, bool trans, bool is_signed, const void **data,
                            qn_error *err)
{
    matrices x = { .batch = batch, .k = k, .n = n, .trans = trans, .is_signed = is_signed };
    char form[96];
    size_t bytes;

    if (!qn_qgemm_packed_bytes(k, n, &bytes) || !qn_size_mul(bytes, (size_t)batch, &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a weight of [%" PRId64 ",%" PRId64 ",%" PRId64 "] does not fit in memory", batch, k, n);
    snprintf(form, sizeof form, "qgemm_%s_q16_b%" PRId64 "_k%" PRId64 "_n%" PRId64 "%s", is_signed ? "s8" : "u8", batch, k, n,
             trans ? "_t" : "");
    return qn_lower_blob(lo, w, form, bytes, pack_q8, &x, data, err);
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

qn_status qn_linear_known(const qn_lower *lo, qn_error *err)
{
    for (int32_t i = 0; i < lo->node->n_in; i++) {
        const qn_tensor *t = &lo->in[i];
        bool known = t->rank >= 0;

        if (lo->node->in[i] == QN_NONE) continue;
        for (int32_t d = 0; d < t->rank; d++) known = known && t->dims[d] >= 0;
        if (!known) return qn_error_set(err, QN_ERR_INTERNAL, "input %d has no shape when its kernel is chosen", (int)i);
    }
    return QN_OK;
}

const char *qn_linear_blas_name(qn_lower *lo, const qn_openblas *blas)
{
    const char *core = qn_openblas_core(blas);
    const size_t n = strlen(core) + sizeof "openblas/";
    char *name = qn_arena_alloc(lo->arena, n);

    if (!name) return "openblas";
    snprintf(name, n, "openblas/%s", core);
    return name;
}

const char *qn_linear_why_f32(unsigned cpu)
{
    if (cpu & QN_CPU_AVX512) return "";
    return (cpu & QN_CPU_AVX2) && (cpu & QN_CPU_FMA) ? "needs avx512" : "needs avx2 and fma";
}

const char *qn_linear_why_q8(unsigned cpu)
{
    if ((cpu & QN_CPU_AVX512_VNNI) && (cpu & QN_CPU_AVX512)) return "";
    return cpu & QN_CPU_AVX2 ? "needs avx512_vnni" : "needs avx2";
}

/* -- other element types ---------------------------------------------------------------------------------------------------- */

/* c[i][j] = sum_p a[i][p] * b[p][j], p ascending: one fma chain for floats, modulo 2^bits for integers. Plain loops: no model that
 * has to be fast multiplies these. */
#define NAIVE(name, T, ACC, LOAD, MADD)                                                                                                    \
    static void name(const qn_naive *g, int64_t i)                                                                                         \
    {                                                                                                                                      \
        const T *a = (const T *)g->a + i * g->a_row, *b = g->b;                                                                            \
        ACC *c = (ACC *)g->c + i * g->n;                                                                                                   \
                                                                                                                                           \
        for (int64_t j = 0; j < g->n; j++) c[j] = 0;                                                                                       \
        for (int64_t p = 0; p < g->k; p++) {                                                                                               \
            const ACC v = LOAD(a[p * g->a_col]);                                                                                           \
                                                                                                                                           \
            for (int64_t j = 0; j < g->n; j++) c[j] = MADD(v, LOAD(b[p * g->b_row + j * g->b_col]), c[j]);                                 \
        }                                                                                                                                  \
    }
#define SAME(v)       (v)
#define WRAP(a, b, c) ((a) * (b) + (c))

NAIVE(naive_f64, double, double, SAME, fma)
NAIVE(naive_f16, uint16_t, float, qn_f16_to_f32, fmaf)
NAIVE(naive_bf16, uint16_t, float, qn_bf16_to_f32, fmaf)
NAIVE(naive_32, uint32_t, uint32_t, SAME, WRAP)
NAIVE(naive_64, uint64_t, uint64_t, SAME, WRAP)

static void naive_tile(void *ctx, int64_t i, int member)
{
    const qn_naive *g = ctx;

    (void)member;
    switch (g->dtype) {
    case QN_F64: naive_f64(g, i); break;
    case QN_F16: naive_f16(g, i); break;
    case QN_BF16: naive_bf16(g, i); break;
    case QN_I32:
    case QN_U32: naive_32(g, i); break;
    case QN_I64:
    case QN_U64: naive_64(g, i); break;
    default: break; /* infer has refused the others */
    }
}

void qn_naive_run(const qn_naive *g, qn_team *team)
{
    qn_naive copy = *g;

    qn_team_run(team, g->m, naive_tile, &copy);
}

/* -- quantization at run time --------------------------------------------------------------------------------------------- */

static int32_t zero_at(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_U8: return ((const uint8_t *)t->data)[i];
    case QN_I8: return ((const int8_t *)t->data)[i];
    case QN_I32: return ((const int32_t *)t->data)[i];
    default: return 0; /* left out; other dtypes were refused */
    }
}

qn_status qn_linear_check(const qn_run *r, int32_t i, bool per_axis, int64_t n, qn_error *err)
{
    int64_t count;

    if (i >= r->node->n_in || r->in[i].dtype == QN_DTYPE_NONE) return QN_OK;
    count = qn_tensor_count(&r->in[i]);
    if (count == 1 || (per_axis && count == n)) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, expected 1 or %" PRId64, (int)i, count, per_axis ? n : 1);
}

int32_t qn_linear_zero(const qn_tensor *t) { return t ? zero_at(t, 0) : 0; }

void qn_linear_zeros(const qn_tensor *t, int64_t n, int32_t *out)
{
    const bool one = !t || t->dtype == QN_DTYPE_NONE || qn_tensor_count(t) == 1;

    for (int64_t j = 0; j < n; j++) out[j] = t ? zero_at(t, one ? 0 : j) : 0;
}

void qn_linear_multipliers(float alpha, const qn_tensor *a, const qn_tensor *b, const qn_tensor *y, int64_t n, float *out)
{
    const float sa = alpha * *(const float *)a->data, *sb = b->data;
    const bool one = qn_tensor_count(b) == 1;

    for (int64_t j = 0; j < n; j++) {
        out[j] = sa * sb[one ? 0 : j];
        if (y && y->dtype != QN_DTYPE_NONE) out[j] /= *(const float *)y->data;
    }
}

qn_status qn_linear_act(const qn_node *n, qn_act *act, float *lo, float *hi, qn_error *err)
{
    const char *name = qn_node_str(n, "act", "none");

    *lo = qn_node_float(n, "lo", 0);
    *hi = qn_node_float(n, "hi", 0);
    if (strcmp(name, "none") == 0)
        *act = QN_ACT_NONE;
    else if (strcmp(name, "relu") == 0)
        *act = QN_ACT_RELU;
    else if (strcmp(name, "clip") == 0)
        *act = QN_ACT_CLIP;
    else
        return qn_error_set(err, QN_ERR_INVALID, "act is \"%.32s\", expected none, relu or clip", name);
    return QN_OK;
}

uint64_t qn_gemm_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    return qn_cost_mul(qn_cost_elements(&out[0]), qn_cost_dim(&in[0], qn_node_int(n, "transA", 0) != 0 ? 0 : 1));
}
