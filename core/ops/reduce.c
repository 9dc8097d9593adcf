/* core/ops/reduce.c - ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceSumSquare, ReduceL1, ReduceL2, ReduceLogSum,
 * ReduceLogSumExp.
 * Spec   ONNX 1 on: axes an attribute, then an input (ReduceSum from 13, the others from 18); no axes: all of them, unless
 *        noop_with_empty_axes says none; then the elements are still squared, or their logarithm taken. keepdims (default 1) leaves reduced axes as 1.
 * Value  reals by 16 lanes and a tree (kernels/reduce), f16 and bf16 in f32, rounded once; integers wrap.
 *        ReduceMean of integers is cut. ReduceLogSumExp subtracts the maximum first. A NaN gives NaN, in Max and Min too.
 *        Over nothing: 0 for sums, 1 for products, NaN for means, the end of the dtype for Max and Min.
 * Grad   Sum: dy.  Mean: dy / k.  Max, Min: dy to the first element that equals y.  Prod: dy y / x.  SumSquare: 2 x dy.  L1: dy sign(x).
 *        L2: dy x / y.  LogSum: dy / exp(y).  LogSumExp: dy exp(x - y).  dy is stretched back along the reduced axes. */
#include "core/graph/grad.h"
#include "core/ops/stats.h"

#include <math.h>

typedef enum post { POST_NONE, POST_MEAN, POST_SQRT, POST_LOG } post;

typedef struct reduction {
    qn_reduce base;
    post post;
    bool exps; /* the elements are exp(x - max), and max is added to the result */
} reduction;

static const reduction sum_kind = { QN_REDUCE_SUM, POST_NONE, false }, mean_kind = { QN_REDUCE_SUM, POST_MEAN, false };
static const reduction max_kind = { QN_REDUCE_MAX, POST_NONE, false }, min_kind = { QN_REDUCE_MIN, POST_NONE, false };
static const reduction prod_kind = { QN_REDUCE_PROD, POST_NONE, false }, sum_square_kind = { QN_REDUCE_SUM_SQ, POST_NONE, false };
static const reduction l1_kind = { QN_REDUCE_SUM_ABS, POST_NONE, false }, l2_kind = { QN_REDUCE_SUM_SQ, POST_SQRT, false };
static const reduction log_sum_kind = { QN_REDUCE_SUM, POST_LOG, false }, log_sum_exp_kind = { QN_REDUCE_SUM, POST_LOG, true };

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* The reduced axes as a mask; false if they are not known yet. */
static bool axes_mask(const qn_node *node, const qn_move_list *axes, int32_t rank, uint32_t *mask)
{
    if (axes->how == QN_MOVE_UNKNOWN) return false;
    *mask = 0;
    for (int32_t i = 0; i < axes->n; i++) *mask |= 1u << axes->v[i];
    if (axes->n == 0 && qn_node_int(node, "noop_with_empty_axes", 0) == 0) *mask = (1u << rank) - 1;
    return true;
}

static bool keeps_dims(const qn_node *node) { return qn_node_int(node, "keepdims", 1) != 0; }

/* What a vector of sizes adds up or multiplies to. */
static void reduce_known(qn_infer *c, const reduction *kind)
{
    int32_t n;
    const qn_dim *e;
    qn_dim acc;
    qn_known *known;

    if (kind->post != POST_NONE || kind->exps || c->in[0].rank != 1 || c->out[0].rank < 0 || c->out[0].rank > 1) return;
    if (c->out[0].dtype != QN_I64 && c->out[0].dtype != QN_I32) return;
    e = qn_move_known(c, 0, &n);
    if (!e || n == 0) return;
    acc = e[0];
    for (int32_t i = 1; i < n; i++) {
        int64_t a, b, v = 0;
        bool fits = true;

        if (acc == QN_DIM_UNKNOWN || e[i] == QN_DIM_UNKNOWN) return;
        if (qn_move_number(c, acc, &a) && qn_move_number(c, e[i], &b)) {
            if (kind->base == QN_REDUCE_SUM) fits = !__builtin_add_overflow(a, b, &v);
            if (kind->base == QN_REDUCE_PROD) fits = !__builtin_mul_overflow(a, b, &v);
            if (!fits || (c->out[0].dtype == QN_I32 && v != (int32_t)v)) return;
        }
        switch (kind->base) {
        case QN_REDUCE_SUM: acc = qn_dims_add(c->dims, acc, e[i]); break;
        case QN_REDUCE_PROD: acc = qn_dims_mul(c->dims, acc, e[i]); break;
        case QN_REDUCE_MAX: acc = qn_dims_max(c->dims, acc, e[i]); break;
        case QN_REDUCE_MIN: acc = qn_dims_min(c->dims, acc, e[i]); break;
        default: return;
        }
    }
    known = qn_infer_known(c, c->out[0].rank == 0 ? -1 : 1);
    if (!known) return;
    known->elems[0] = acc;
    c->out_known[0] = known;
}

static qn_status infer(qn_infer *c, const reduction *kind, qn_error *err)
{
    const bool keep = keeps_dims(c->node), ends = kind->base == QN_REDUCE_MAX || kind->base == QN_REDUCE_MIN;
    const qn_type *x = &c->in[0];
    qn_type *y = &c->out[0];
    qn_move_list axes;
    uint32_t mask = 0;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, ends ? QN_SET_NUMERIC | QN_SET_BOOL : QN_SET_NUMERIC, err);
    if (st == QN_OK) st = qn_move_list_infer(c, "axes", 1, &axes, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, 0, 0, x->dtype);
    if (x->rank < 0) return QN_OK;
    if (axes.how == QN_MOVE_UNKNOWN) {
        for (int32_t i = 0; i < x->rank; i++) y->dims[i] = QN_DIM_UNKNOWN;
        if (!keep) y->rank = axes.n > 0 && axes.n <= x->rank ? x->rank - axes.n : -1;
        return QN_OK;
    }
    if ((st = qn_move_axes(&axes, x->rank, err)) != QN_OK) return st;
    axes_mask(c->node, &axes, x->rank, &mask);
    y->rank = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(mask >> i & 1))
            y->dims[y->rank++] = x->dims[i];
        else if (keep)
            y->dims[y->rank++] = qn_dims_const(c->dims, 1);
    }
    if (mask) reduce_known(c, kind);
    return QN_OK;
}

/* The batch must be an axis that is kept. */
static void reduce_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_infer own = *c;
    qn_move_list axes;
    uint32_t mask;
    int32_t before = 0;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (qn_move_list_infer(&own, "axes", 1, &axes, NULL) != QN_OK || axes.how == QN_MOVE_UNKNOWN) return;
    if (qn_move_axes(&axes, c->in[0].rank, NULL) != QN_OK || !axes_mask(c->node, &axes, c->in[0].rank, &mask)) return;
    if (mask >> in_axis[0] & 1) return;
    for (int32_t i = 0; i < in_axis[0]; i++) before += (int32_t)(mask >> i & 1);
    out_axis[0] = in_axis[0] - (keeps_dims(c->node) ? 0 : before);
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    const reduction *kind;
    const qn_reduce_kernel *kernel;
    const qn_vmath_kernel *vmath;
    qn_axes axes;
    qn_dtype dtype;
    const char *x;
    char *y;
    int64_t n_blocks; /* blocks of columns in one inner row */
} job;

static void post_f32(const job *j, float *y, int64_t n)
{
    if (j->kind->post == POST_LOG) j->vmath->run[QN_VMATH_LOG](y, y, n, 0, 0);
    for (int64_t i = 0; i < n; i++) {
        if (j->kind->post == POST_MEAN) y[i] = y[i] / (float)j->axes.k;
        if (j->kind->post == POST_SQRT) y[i] = sqrtf(y[i]);
    }
}

/* f32, the kept elements side by side: QN_REDUCE_COLS columns at a time. */
static void columns(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    float acc[QN_REDUCE_LANES * QN_REDUCE_COLS];

    (void)member;
    for (int64_t b = lo; b < hi; b++) {
        const int64_t first = b / j->n_blocks * j->axes.inner + b % j->n_blocks * QN_REDUCE_COLS;
        const int64_t left = j->axes.inner - b % j->n_blocks * QN_REDUCE_COLS, n = left < QN_REDUCE_COLS ? left : QN_REDUCE_COLS;
        float *y = (float *)(void *)j->y + first;
        int64_t offset, step, m, row = 0;
        qn_axes_reader r;

        for (int64_t i = 0; i < QN_REDUCE_LANES * n; i++) acc[i] = qn_reduce_start(j->kind->base);
        qn_axes_read(&j->axes, first, &r);
        while (qn_axes_next(&r, INT64_MAX, &offset, &step, &m)) {
            const float *x = (const float *)(const void *)j->x + offset;

            for (int64_t i = 0; i < m; i++, row++) j->kernel->cols[j->kind->base](acc, (int)(row % QN_REDUCE_LANES), x + i * step, n);
        }
        qn_reduce_finish_cols(j->kind->base, acc, n, y);
        post_f32(j, y, n);
    }
}

static float group_f32(const job *j, qn_reduce base, int64_t g, const float *minus)
{
    float acc[QN_REDUCE_LANES];
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    for (int l = 0; l < QN_REDUCE_LANES; l++) acc[l] = qn_reduce_start(base);
    if (j->dtype == QN_F32 && j->axes.contiguous && !minus) {
        j->kernel->feed[base](acc, (const float *)(const void *)j->x + qn_axes_group(&j->axes, g), j->axes.k);
        return qn_reduce_finish(base, acc);
    }
    qn_axes_read(&j->axes, g, &r);
    while ((n = qn_stats_gather(&r, j->dtype, j->x, &chunk)) > 0) {
        if (minus) j->vmath->run[QN_VMATH_EXP_SUB](chunk.f32, chunk.f32, n, *minus, 0);
        j->kernel->feed[base](acc, chunk.f32, n);
    }
    return qn_reduce_finish(base, acc);
}

static void one_f32(const job *j, int64_t g)
{
    float y, m = 0;

    if (j->kind->exps) m = group_f32(j, QN_REDUCE_MAX, g, NULL);
    if (j->kind->exps && isinf(m)) { /* inf - inf says nothing */
        y = m;
    } else {
        y = group_f32(j, j->kind->base, g, j->kind->exps ? &m : NULL);
        post_f32(j, &y, 1);
        if (j->kind->exps) y = y + m;
    }
    qn_elem_store(j->dtype, j->y + g * (int64_t)qn_dtype_size(j->dtype), 1, &y);
}

static double join_f64(qn_reduce base, double a, double v)
{
    switch (base) {
    case QN_REDUCE_PROD: return a * v;
    case QN_REDUCE_MAX: return a != a ? a : v != v || v > a ? v : a;
    case QN_REDUCE_MIN: return a != a ? a : v != v || v < a ? v : a;
    default: return a + v;
    }
}

static double group_f64(const job *j, qn_reduce base, int64_t g, const double *minus)
{
    double acc[QN_REDUCE_LANES];
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    for (int l = 0; l < QN_REDUCE_LANES; l++) acc[l] = (double)qn_reduce_start(base);
    qn_axes_read(&j->axes, g, &r);
    while ((n = qn_stats_gather(&r, j->dtype, j->x, &chunk)) > 0) {
        const double *x = (const double *)(const void *)&chunk;

        for (int64_t i = 0; i < n; i++) {
            double v = minus ? exp(x[i] - *minus) : x[i];

            if (base == QN_REDUCE_SUM_SQ) v = v * v;
            if (base == QN_REDUCE_SUM_ABS) v = fabs(v);
            acc[i % QN_REDUCE_LANES] = join_f64(base, acc[i % QN_REDUCE_LANES], v);
        }
    }
    for (int w = QN_REDUCE_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] = join_f64(base, acc[l], acc[l + w]);
    return acc[0];
}

static void one_f64(const job *j, int64_t g)
{
    double y, m = 0;

    if (j->kind->exps) m = group_f64(j, QN_REDUCE_MAX, g, NULL);
    if (j->kind->exps && isinf(m)) {
        y = m;
    } else {
        y = group_f64(j, j->kind->base, g, j->kind->exps ? &m : NULL);
        if (j->kind->post == POST_MEAN) y = y / (double)j->axes.k;
        if (j->kind->post == POST_SQRT) y = sqrt(y);
        if (j->kind->post == POST_LOG) y = log(y) + m;
    }
    ((double *)(void *)j->y)[g] = y;
}

/* The smallest and the largest element of an integer dtype, in the bits of its class. */
static uint64_t int_end(qn_dtype dtype, bool largest)
{
    const uint64_t all = ~(uint64_t)0 >> (64 - 8 * qn_dtype_size(dtype));

    if (dtype == QN_BOOL) return largest;
    if (qn_elem_class_of(dtype) == QN_ELEM_U64) return largest ? all : 0;
    return largest ? all >> 1 : ~(all >> 1);
}

static uint64_t join_int(const job *j, uint64_t a, uint64_t v)
{
    const bool is_signed = qn_elem_class_of(j->dtype) == QN_ELEM_I64;
    const bool less = is_signed ? (int64_t)v < (int64_t)a : v < a;

    switch (j->kind->base) {
    case QN_REDUCE_PROD: return a * v;
    case QN_REDUCE_MAX: return less ? a : v;
    case QN_REDUCE_MIN: return less ? v : a;
    case QN_REDUCE_SUM_SQ: return a + v * v;
    case QN_REDUCE_SUM_ABS: return a + (is_signed && (int64_t)v < 0 ? 0 - v : v);
    default: return a + v;
    }
}

static void one_int(const job *j, int64_t g)
{
    const bool is_signed = qn_elem_class_of(j->dtype) == QN_ELEM_I64;
    uint64_t y = j->kind->base == QN_REDUCE_PROD;
    double exps = 0;
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    if (j->kind->base == QN_REDUCE_MAX) y = int_end(j->dtype, false);
    if (j->kind->base == QN_REDUCE_MIN) y = int_end(j->dtype, true);
    qn_axes_read(&j->axes, g, &r);
    while ((n = qn_stats_gather(&r, j->dtype, j->x, &chunk)) > 0) {
        for (int64_t i = 0; i < n; i++) {
            y = join_int(j, y, chunk.u64[i]);
            if (j->kind->exps) exps += exp(is_signed ? (double)(int64_t)chunk.u64[i] : (double)chunk.u64[i]);
        }
    }
    if (j->kind->post == POST_MEAN && j->axes.k > 0) y = is_signed ? (uint64_t)((int64_t)y / j->axes.k) : y / (uint64_t)j->axes.k;
    if (j->kind->post == POST_SQRT) y = (uint64_t)sqrt((double)y);
    if (j->kind->post == POST_LOG) {
        const double l = log(j->kind->exps ? exps : is_signed ? (double)(int64_t)y : (double)y);

        y = l > -0x1p62 && l < 0x1p62 ? (uint64_t)(int64_t)l : int_end(j->dtype, l > 0);
    }
    qn_elem_store(j->dtype, j->y + g * (int64_t)qn_dtype_size(j->dtype), 1, &y);
}

static void groups(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    for (int64_t g = lo; g < hi; g++) {
        if (qn_elem_class_of(j->dtype) == QN_ELEM_F32)
            one_f32(j, g);
        else if (qn_elem_class_of(j->dtype) == QN_ELEM_F64)
            one_f64(j, g);
        else
            one_int(j, g);
    }
}

#define GRAIN 32768 /* elements of x that make a tile */

static void reduce(qn_run *r, const reduction *kind, uint32_t mask)
{
    job j = { .kind = kind,
              .kernel = qn_reduce_pick(r->cpu),
              .vmath = qn_vmath_pick(r->cpu),
              .dtype = r->in[0].dtype,
              .x = r->in[0].data,
              .y = r->out[0].data };

    qn_axes_init(&j.axes, r->in[0].rank, r->in[0].dims, mask);
    if (j.axes.n_kept == 0) return;
    if (j.dtype == QN_F32 && j.axes.inner > 1 && !kind->exps) {
        j.n_blocks = (j.axes.inner + QN_REDUCE_COLS - 1) / QN_REDUCE_COLS;
        qn_elem_ranges(r->team, j.axes.n_kept / j.axes.inner * j.n_blocks, GRAIN / QN_REDUCE_COLS / (j.axes.k + 1), columns, &j);
    } else {
        qn_elem_ranges(r->team, j.axes.n_kept, GRAIN / (j.axes.k + 1), groups, &j);
    }
}

/* One element comes out as it went in. */
static bool is_plain(const reduction *k)
{
    return !k->exps && k->post <= POST_MEAN && k->base != QN_REDUCE_SUM_SQ && k->base != QN_REDUCE_SUM_ABS;
}

static qn_status run(qn_run *r, const reduction *kind, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list axes;
    uint32_t mask = 0;
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank = 0;
    qn_status st = qn_move_list_run(r, "axes", 1, &axes, err);

    if (st == QN_OK) st = qn_move_axes(&axes, x->rank, err);
    if (st != QN_OK) return st;
    axes_mask(r->node, &axes, x->rank, &mask);
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(mask >> i & 1))
            dims[rank++] = x->dims[i];
        else if (keeps_dims(r->node))
            dims[rank++] = 1;
    }
    if ((st = qn_move_output(r, 0, x->dtype, rank, dims, err)) != QN_OK) return st;
    if (mask == 0 && is_plain(kind)) return qn_move_same_bytes(r, err);
    reduce(r, kind, mask);
    return QN_OK;
}

static qn_status reduce_lower(qn_lower *lo, qn_error *err)
{
    (void)err;
    if (lo->in[0].dtype == QN_F32) lo->kernel = qn_reduce_pick(lo->cpu)->name;
    return QN_OK;
}

/* v, which has the shape of y, in the shape of x. */
static qn_value_id spread(qn_builder *b, qn_value_id v)
{
    const int32_t rank = qn_grad_type(b, qn_grad_in(b, 0))->rank;
    int64_t axes[QN_MAX_RANK];
    int32_t n;

    if (!qn_node_int(qn_grad_node(b), "keepdims", 1)) {
        if (!qn_grad_axes(b, axes, &n) && !qn_node_int(qn_grad_node(b), "noop_with_empty_axes", 0)) {
            if (rank < 0) qn_grad_refuse(b, "no gradient, because its rank is not known");
            for (n = 0; n < rank; n++) axes[n] = n;
        }
        if (n > 0) v = qn_grad_op2(b, "Unsqueeze", v, qn_grad_ints(b, axes, n));
    }
    return qn_grad_op2(b, "Expand", v, qn_grad_op1(b, "Shape", qn_grad_in(b, 0)));
}

static void sum_grad(qn_builder *b) { qn_grad_give(b, 0, spread(b, qn_grad_of(b, 0))); }

static void mean_grad(qn_builder *b)
{
    const qn_value_id x = qn_grad_in(b, 0), dy = qn_grad_of(b, 0);
    const qn_value_id count = qn_grad_op2(b, "Div", qn_grad_op1(b, "Size", x), qn_grad_op1(b, "Size", qn_grad_out(b, 0)));

    qn_grad_give(b, 0, spread(b, qn_grad_op2(b, "Div", dy, qn_grad_cast(b, count, qn_grad_type(b, dy)->dtype))));
}

static void sum_square_grad(qn_builder *b)
{
    const qn_value_id x = qn_grad_in(b, 0), dx = qn_grad_op2(b, "Mul", x, spread(b, qn_grad_of(b, 0)));

    qn_grad_give(b, 0, qn_grad_op2(b, "Add", dx, dx));
}

static void l1_grad(qn_builder *b)
{
    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", qn_grad_op1(b, "Sign", qn_grad_in(b, 0)), spread(b, qn_grad_of(b, 0))));
}

static void l2_grad(qn_builder *b)
{
    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", qn_grad_in(b, 0), spread(b, qn_grad_op2(b, "Div", qn_grad_of(b, 0), qn_grad_out(b, 0)))));
}

static void log_sum_grad(qn_builder *b)
{
    qn_grad_give(b, 0, spread(b, qn_grad_op2(b, "Div", qn_grad_of(b, 0), qn_grad_op1(b, "Exp", qn_grad_out(b, 0)))));
}

static void log_sum_exp_grad(qn_builder *b)
{
    const qn_value_id part = qn_grad_op1(b, "Exp", qn_grad_op2(b, "Sub", qn_grad_in(b, 0), spread(b, qn_grad_out(b, 0))));

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", part, spread(b, qn_grad_of(b, 0))));
}

#define REDUCE(id, NAME, GRAD)                                                                                                             \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return infer(c, &id##_kind, err); }                                          \
    static qn_status id##_run(qn_run *r, qn_error *err) { return run(r, &id##_kind, err); }                                                \
    const qn_op qn_op_reduce_##id = {                                                                                                      \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = 1,                                                                                                                        \
        .min_in = 1,                                                                                                                       \
        .max_in = 2,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .infer = id##_infer,                                                                                                               \
        .rows = reduce_rows,                                                                                                               \
        .lower = reduce_lower,                                                                                                             \
        .run = id##_run,                                                                                                                   \
        .grad = GRAD,                                                                                                                      \
        .kernels = "reduce",                                                                                                               \
    };

REDUCE(sum, "ReduceSum", sum_grad)
REDUCE(mean, "ReduceMean", mean_grad)
REDUCE(max, "ReduceMax", NULL)
REDUCE(min, "ReduceMin", NULL)
REDUCE(prod, "ReduceProd", NULL)
REDUCE(sum_square, "ReduceSumSquare", sum_square_grad)
REDUCE(l1, "ReduceL1", l1_grad)
REDUCE(l2, "ReduceL2", l2_grad)
REDUCE(log_sum, "ReduceLogSum", log_sum_grad)
REDUCE(log_sum_exp, "ReduceLogSumExp", log_sum_exp_grad)
