/* core/ops/clip.c - Clip: min(max(x, lo), hi).
 * Spec   ONNX Clip 1 on: before 11 attributes min and max (default: the ends of f32), from 11 scalar inputs, both optional (default:
 *        the ends of the dtype).
 * Value  NaN stays NaN; where lo > hi everything but NaN becomes hi.
 * Grad   dx = dy [lo <= x <= hi]; nothing to lo and hi. */
#include "core/ops/elem.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

typedef struct bounds {
    qn_dtype dtype;
    qn_unary_fn *f32;
    union bound {
        float f32;
        double f64;
        int64_t i64;
        uint64_t u64;
    } lo, hi; /* of the dtype's class */
} bounds;

/* One number as its class. */
static void read_bound(const qn_tensor *t, union bound *out)
{
    qn_elem_buf buf;
    const void *p = qn_elem_load(t->dtype, t->data, 0, 1, &buf);

    switch (qn_elem_class_of(t->dtype)) {
    case QN_ELEM_F32: out->f32 = *(const float *)p; break;
    case QN_ELEM_F64: out->f64 = *(const double *)p; break;
    case QN_ELEM_I64: out->i64 = *(const int64_t *)p; break;
    default: out->u64 = *(const uint64_t *)p; break;
    }
}

#define CLIP(T, m)                                                                                                                         \
    do {                                                                                                                                   \
        const T *p = in;                                                                                                                   \
        T *to = out;                                                                                                                       \
        const T lo = b->lo.m, hi = b->hi.m;                                                                                                \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T v = p[i] < lo ? lo : p[i];                                                                                             \
                                                                                                                                           \
            to[i] = v > hi ? hi : v;                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static void clip_chunk(const bounds *b, const void *in, void *out, int64_t n)
{
    switch (qn_elem_class_of(b->dtype)) {
    case QN_ELEM_F32: b->f32(in, out, n, b->lo.f32, b->hi.f32); break;
    case QN_ELEM_F64: CLIP(double, f64); break;
    case QN_ELEM_I64: CLIP(int64_t, i64); break;
    default: CLIP(uint64_t, u64); break;
    }
}

static void clip_span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const bounds *b = ctx;
    const int64_t size = (int64_t)qn_dtype_size(b->dtype);
    qn_elem_buf bx, by;

    if (b->dtype == QN_F32 && step[0] == 1) {
        clip_chunk(b, x[0], y, n);
        return;
    }
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;

        clip_chunk(b, qn_elem_load(b->dtype, (const char *)x[0] + done * step[0] * size, step[0], k, &bx), &by, k);
        qn_elem_store(b->dtype, (char *)y + done * size, k, &by);
    }
}

static qn_status clip_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_elem_infer(c, 1, QN_SET_NUMERIC, QN_DTYPE_NONE, err);
    int64_t one;

    for (int32_t i = 1; i < 3 && st == QN_OK; i++) {
        if (!qn_infer_has(c, i)) continue;
        if (c->in[i].dtype != QN_DTYPE_NONE && c->in[0].dtype != QN_DTYPE_NONE && c->in[i].dtype != c->in[0].dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "bound %d is %s, x is %s", (int)i, qn_dtype_name(c->in[i].dtype),
                                qn_dtype_name(c->in[0].dtype));
        st = qn_move_need_rank(c, i, 0, 1, err);
        if (st == QN_OK && c->in[i].rank == 1 && qn_move_number(c, c->in[i].dims[0], &one) && one != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "bound %d has %" PRId64 " elements, expected a scalar", (int)i, one);
    }
    return st;
}

static void open_bounds(bounds *b)
{
    switch (qn_elem_class_of(b->dtype)) {
    case QN_ELEM_F32:
        b->lo.f32 = -INFINITY;
        b->hi.f32 = INFINITY;
        break;
    case QN_ELEM_F64:
        b->lo.f64 = -(double)INFINITY;
        b->hi.f64 = (double)INFINITY;
        break;
    case QN_ELEM_I64:
        b->lo.i64 = INT64_MIN;
        b->hi.i64 = INT64_MAX;
        break;
    default:
        b->lo.u64 = 0;
        b->hi.u64 = UINT64_MAX;
        break;
    }
}

static void attribute_bounds(const qn_node *node, bounds *b)
{
    const float lo = qn_node_float(node, "min", -FLT_MAX), hi = qn_node_float(node, "max", FLT_MAX);

    if (b->dtype == QN_F64) {
        b->lo.f64 = (double)lo;
        b->hi.f64 = (double)hi;
    } else {
        b->lo.f32 = lo;
        b->hi.f32 = hi;
    }
}

static qn_status clip_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    bounds b = { .dtype = x->dtype, .f32 = qn_eltwise_pick(r->cpu)->unary[QN_UNARY_CLIP] };
    qn_status st;

    open_bounds(&b);
    if (r->node->opset < 11) attribute_bounds(r->node, &b);
    for (int32_t i = 1; i < 3; i++) {
        if (!qn_move_has(r, i)) continue;
        if (qn_tensor_count(&r->in[i]) != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "bound %d has %" PRId64 " elements, expected a scalar", (int)i,
                                qn_tensor_count(&r->in[i]));
        read_bound(&r->in[i], i == 1 ? &b.lo : &b.hi);
    }
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    qn_elem_walk(r->team, 1, &x, &r->out[0], clip_span, &b);
    return QN_OK;
}

static qn_status clip_infer_6(qn_infer *c, qn_error *err) { return qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err); }

const qn_op qn_op_clip_1 = {
    .name = "Clip",
    .domain = "",
    .since = 1,
    .until = 10,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = clip_infer_6,
    .rows = qn_rows_elementwise,
    .lower = qn_elem_lower,
    .run = clip_run,
    .kernels = "eltwise",
};
const qn_op qn_op_clip = {
    .name = "Clip",
    .domain = "",
    .since = 11,
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = clip_infer,
    .rows = qn_rows_elementwise,
    .lower = qn_elem_lower,
    .run = clip_run,
    .kernels = "eltwise",
};
