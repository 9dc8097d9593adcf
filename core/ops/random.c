/* core/ops/random.c - RandomNormal, RandomUniform, their ...Like forms, Bernoulli and Multinomial.
 * Spec   RandomNormal, RandomNormalLike, RandomUniform, RandomUniformLike 1 on, Multinomial 7 on, Bernoulli 15 on. Without `seed` every
 *        run draws anew; with it every run draws the same.
 * Value  element i of a stream (core/base/random.h), so threads change nothing. Uniform: low + (high - low) u, u in [0, 1) with as many
 *        bits as the dtype has significant ones. Bernoulli: u < p; a NaN is never drawn. Multinomial: the first class whose cumulated
 *        exp(x - max) exceeds u times the sum.
 * Grad   none: a draw is a constant. */
#include "core/base/checked.h"
#include "core/ops/draw.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

qn_random qn_draw_stream(const qn_run *r)
{
    const qn_attr *a = qn_node_attr(r->node, "seed");
    uint64_t seed = 0x716e5f7374657073u; /* nobody's float */

    if (a && a->type == QN_ATTR_INT) {
        memcpy(&seed, &a->i, sizeof seed);
    } else if (a && a->type == QN_ATTR_FLOAT) {
        uint32_t bits;

        memcpy(&bits, &a->f, sizeof bits);
        seed = bits;
    } else {
        a = NULL;
    }
    seed ^= (uint64_t)(uint32_t)(r->node->n_out > 0 ? r->node->out[0] : 0) << 32; /* names of nodes may repeat, outputs do not */
    return qn_random_init(seed, r->node->name, a ? 0 : r->serial);
}

/* -- dtypes and shapes ---------------------------------------------------------------------------------------------------- */

/* The dtype attribute, or that of input 0, or F32. */
static qn_status draw_dtype(const qn_node *node, qn_dtype input, uint32_t set, qn_dtype *out, qn_error *err)
{
    const bool given = qn_node_attr(node, "dtype") != NULL;
    const int64_t number = qn_node_int(node, "dtype", 1);

    *out = given ? qn_move_onnx_dtype(number) : input;
    if (!given && input == QN_DTYPE_NONE) return QN_OK; /* not inferred yet */
    if (*out == QN_DTYPE_NONE || !(set >> *out & 1)) {
        if (given) return qn_error_set(err, QN_ERR_DTYPE, "dtype %" PRId64 " cannot be drawn", number);
        return qn_error_set(err, QN_ERR_DTYPE, "input 0 is %s, which cannot be drawn: give a dtype", qn_dtype_name(input));
    }
    return QN_OK;
}

static qn_status shape_attr(const qn_node *node, int32_t *rank, const int64_t **dims, qn_error *err)
{
    int64_t n;

    *dims = qn_node_ints(node, "shape", &n);
    if (!qn_node_attr(node, "shape")) return qn_error_set(err, QN_ERR_INVALID, "no attribute shape");
    if (n > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "shape has %" PRId64 " dimensions, at most %d are supported", n, QN_MAX_RANK);
    for (int64_t i = 0; i < n; i++)
        if ((*dims)[i] < 0) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId64 "] is %" PRId64 ", expected 0 or more", i, (*dims)[i]);
    *rank = (int32_t)n;
    return QN_OK;
}

static qn_status shaped_infer(qn_infer *c, qn_error *err)
{
    const int64_t *dims;
    int32_t rank;
    qn_dtype dtype;
    qn_status st = draw_dtype(c->node, QN_F32, QN_SET_FLOAT, &dtype, err);

    if (st == QN_OK) st = shape_attr(c->node, &rank, &dims, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], dtype, rank, err);
    if (st != QN_OK) return st;
    for (int32_t i = 0; i < rank; i++) c->out[0].dims[i] = qn_dims_const(c->dims, dims[i]);
    return QN_OK;
}

static qn_status like_infer(qn_infer *c, qn_error *err)
{
    qn_dtype dtype;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = draw_dtype(c->node, c->in[0].dtype, QN_SET_FLOAT, &dtype, err);
    if (st == QN_OK) qn_elem_like(c, 0, 0, dtype);
    return st;
}

static qn_status bernoulli_infer(qn_infer *c, qn_error *err)
{
    qn_dtype dtype;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = draw_dtype(c->node, c->in[0].dtype, QN_SET_NUMERIC | QN_SET_BOOL, &dtype, err);
    if (st == QN_OK) qn_elem_like(c, 0, 0, dtype);
    return st;
}

/* -- the walk ------------------------------------------------------------------------------------------------------------- */

typedef struct draw draw;
typedef double draw_fn(const draw *d, int64_t i);

struct draw {
    qn_random stream;
    draw_fn *fn;
    double a, b; /* mean, scale or low, high - low */
    int bits;
    const qn_tensor *p; /* of Bernoulli */
    qn_dtype dtype;
    char *y;
};

static double normal_at(const draw *d, int64_t i) { return d->a + d->b * qn_random_normal(&d->stream, (uint64_t)i); }
static double uniform_at(const draw *d, int64_t i) { return d->a + d->b * qn_random_uniform(&d->stream, (uint64_t)i, d->bits); }
static double bernoulli_at(const draw *d, int64_t i)
{
    return qn_random_uniform(&d->stream, (uint64_t)i, 53) < qn_move_real(d->p, i) ? 1 : 0;
}

static void draw_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const draw *d = ctx;
    const int64_t size = (int64_t)qn_dtype_size(d->dtype);
    const qn_elem_class class = qn_elem_class_of(d->dtype);

    (void)member;
    for (int64_t i = lo; i < hi; i++) {
        const double v = d->fn(d, i);
        const float f = (float)v;
        const uint64_t u = v == 1; /* only Bernoulli draws integers */

        qn_elem_store(d->dtype, d->y + i * size, 1, class == QN_ELEM_F64 ? (const void *)&v : class == QN_ELEM_F32 ? (const void *)&f : &u);
    }
}

/* Significant bits of a floating point dtype. */
static int bits_of(qn_dtype dtype) { return dtype == QN_F64 ? 53 : dtype == QN_F32 ? 24 : dtype == QN_F16 ? 11 : 8; }

static qn_status draw_all(qn_run *r, draw *d, int32_t rank, const int64_t *dims, qn_error *err)
{
    qn_status st = qn_move_output(r, 0, d->dtype, rank, dims, err);

    if (st != QN_OK) return st;
    d->stream = qn_draw_stream(r);
    d->bits = bits_of(d->dtype);
    d->y = r->out[0].data;
    qn_elem_ranges(r->team, qn_tensor_count(&r->out[0]), 4096, draw_range, d);
    return QN_OK;
}

static qn_status set_run(qn_run *r, draw *d, bool like, qn_error *err)
{
    const qn_tensor *x = like ? &r->in[0] : NULL;
    const int64_t *dims;
    int32_t rank;
    qn_status st = draw_dtype(r->node, x ? x->dtype : QN_F32, QN_SET_FLOAT, &d->dtype, err);

    if (st != QN_OK) return st;
    if (x) return draw_all(r, d, x->rank, x->dims, err);
    st = shape_attr(r->node, &rank, &dims, err);
    return st == QN_OK ? draw_all(r, d, rank, dims, err) : st;
}

static qn_status normal_set(qn_run *r, bool like, qn_error *err)
{
    draw d = { .fn = normal_at, .a = (double)qn_node_float(r->node, "mean", 0.0f), .b = (double)qn_node_float(r->node, "scale", 1.0f) };

    return set_run(r, &d, like, err);
}

static qn_status uniform_set(qn_run *r, bool like, qn_error *err)
{
    const double low = (double)qn_node_float(r->node, "low", 0.0f);
    draw d = { .fn = uniform_at, .a = low, .b = (double)qn_node_float(r->node, "high", 1.0f) - low };

    return set_run(r, &d, like, err);
}

static qn_status normal_run(qn_run *r, qn_error *err) { return normal_set(r, false, err); }
static qn_status normal_like_run(qn_run *r, qn_error *err) { return normal_set(r, true, err); }
static qn_status uniform_run(qn_run *r, qn_error *err) { return uniform_set(r, false, err); }
static qn_status uniform_like_run(qn_run *r, qn_error *err) { return uniform_set(r, true, err); }

static qn_status bernoulli_run(qn_run *r, qn_error *err)
{
    draw d = { .fn = bernoulli_at, .p = &r->in[0] };
    qn_status st = draw_dtype(r->node, d.p->dtype, QN_SET_NUMERIC | QN_SET_BOOL, &d.dtype, err);

    return st == QN_OK ? draw_all(r, &d, d.p->rank, d.p->dims, err) : st;
}

#define RANDOM_OP(symbol, text, first, ins, how, compute)                                                                                  \
    const qn_op qn_op_##symbol = {                                                                                                         \
        .name = text,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = first,                                                                                                                    \
        .min_in = ins,                                                                                                                     \
        .max_in = ins,                                                                                                                     \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_RANDOM,                                                                                                             \
        .infer = how,                                                                                                                      \
        .run = compute,                                                                                                                    \
    }
RANDOM_OP(random_normal, "RandomNormal", 1, 0, shaped_infer, normal_run);
RANDOM_OP(random_normal_like, "RandomNormalLike", 1, 1, like_infer, normal_like_run);
RANDOM_OP(random_uniform, "RandomUniform", 1, 0, shaped_infer, uniform_run);
RANDOM_OP(random_uniform_like, "RandomUniformLike", 1, 1, like_infer, uniform_like_run);
RANDOM_OP(bernoulli, "Bernoulli", 15, 1, bernoulli_infer, bernoulli_run);

/* -- Multinomial ---------------------------------------------------------------------------------------------------------- */

static qn_status multinomial_attrs(const qn_node *node, qn_dtype *dtype, int64_t *samples, qn_error *err)
{
    *samples = qn_node_int(node, "sample_size", 1);
    *dtype = qn_move_onnx_dtype(qn_node_int(node, "dtype", 6));
    if (*samples < 1) return qn_error_set(err, QN_ERR_INVALID, "sample_size is %" PRId64 ", expected 1 or more", *samples);
    if (*dtype != QN_I32 && *dtype != QN_I64)
        return qn_error_set(err, QN_ERR_DTYPE, "dtype %" PRId64 ", expected 6 (i32) or 7 (i64)", qn_node_int(node, "dtype", 6));
    return QN_OK;
}

static qn_status multinomial_infer(qn_infer *c, qn_error *err)
{
    qn_dtype dtype;
    int64_t samples;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 2, 2, err);
    if (st == QN_OK) st = multinomial_attrs(c->node, &dtype, &samples, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], dtype, 2, err);
    if (st != QN_OK) return st;
    if (c->in[0].rank == 2) c->out[0].dims[0] = c->in[0].dims[0];
    c->out[0].dims[1] = qn_dims_const(c->dims, samples);
    return QN_OK;
}

/* Cumulated weights of one row; false if no class can be drawn. */
static bool cumulate(const qn_tensor *x, int64_t row, int64_t n, double *sum)
{
    double top = -INFINITY, total = 0;

    for (int64_t i = 0; i < n; i++) {
        const double v = qn_move_real(x, row * n + i);

        if (isnan(v) || v == INFINITY) return false;
        top = v > top ? v : top;
    }
    if (top == -INFINITY) return false;
    for (int64_t i = 0; i < n; i++) sum[i] = total += exp(qn_move_real(x, row * n + i) - top);
    return true;
}

/* First i with sum[i] > at; at < sum[n - 1]. */
static int64_t first_above(const double *sum, int64_t n, double at)
{
    int64_t lo = 0, hi = n - 1;

    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;

        if (sum[mid] > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static qn_status multinomial_lower(qn_lower *lo, qn_error *err)
{
    size_t bytes;

    if (lo->in[0].rank != 2) return QN_OK;
    if (!qn_i64_to_size(lo->in[0].dims[1], &bytes) || !qn_size_mul(bytes, sizeof(double), &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " classes", lo->in[0].dims[1]);
    return qn_move_lower_work(lo, bytes, err);
}

static qn_status multinomial_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const qn_random stream = qn_draw_stream(r);
    int64_t samples, n;
    qn_dtype dtype;
    size_t bytes;
    qn_move_work work;
    qn_status st = multinomial_attrs(r->node, &dtype, &samples, err);

    if (st != QN_OK) return st;
    if (x->rank != 2) return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected [batch, classes]", x->rank);
    if ((st = qn_move_output(r, 0, dtype, 2, (const int64_t[]){ x->dims[0], samples }, err)) != QN_OK) return st;
    n = x->dims[1];
    if (!qn_i64_to_size(n, &bytes) || !qn_size_mul(bytes, sizeof(double), &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " classes", n);
    if ((st = qn_move_work_begin(r, bytes, &work, err)) != QN_OK) return st;
    for (int64_t row = 0; row < x->dims[0] && st == QN_OK; row++) {
        double *sum = work.mem;

        if (!cumulate(x, row, n, sum)) {
            st = qn_error_set(err, QN_ERR_RANGE, "row %" PRId64 ": no class can be drawn (%" PRId64 " classes; NaN, +inf, or all -inf)",
                              row, n);
            break;
        }
        for (int64_t s = 0; s < samples; s++) {
            const int64_t at = row * samples + s, class = first_above(sum, n, qn_random_uniform(&stream, (uint64_t)at, 53) * sum[n - 1]);

            if (dtype == QN_I32)
                ((int32_t *)r->out[0].data)[at] = (int32_t) class;
            else
                ((int64_t *)r->out[0].data)[at] = class;
        }
    }
    qn_move_work_end(&work);
    return st;
}

const qn_op qn_op_multinomial = {
    .name = "Multinomial",
    .domain = "",
    .since = 7,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_RANDOM,
    .infer = multinomial_infer,
    .lower = multinomial_lower,
    .run = multinomial_run,
};
