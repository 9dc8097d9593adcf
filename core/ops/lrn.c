/* core/ops/lrn.c - LRN: every element divided by a power of the squares around it in neighbouring channels.
 * Spec   ONNX LRN 1 on: size, alpha (1e-4), beta (0.75), bias (1).
 * Value  y = x / (bias + alpha / size * s)^beta, s the sum of squares over channels c - floor((size - 1) / 2) .. c + ceil((size - 1) / 2)
 *        that exist, added in ascending order. beta = 0.75, the usual one, by two square roots; others by exp(-beta log v) in f32.
 * Grad   dx_c = dy_c p_c^-beta - 2 alpha beta / size x_c sum over neighbours c' of dy_c' y_c' / p_c',  p = bias + alpha / size s. */
#include "core/graph/cost.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>

typedef struct job {
    const qn_vmath_kernel *vmath;
    qn_dtype dtype;
    int64_t channels, inner, size;
    float alpha, beta, bias; /* alpha is divided by size already */
    const char *x;
    char *y;
} job;

static void divide_f32(const job *j, const float *x, float *s, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) s[i] = j->bias + j->alpha * s[i];
    if (j->beta == 0.75f) {
        for (int64_t i = 0; i < n; i++) {
            const float root = sqrtf(s[i]);

            y[i] = x[i] / (root * sqrtf(root));
        }
    } else {
        j->vmath->run[QN_VMATH_POW](s, s, n, -j->beta, 0);
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * s[i];
    }
}

#define SQUARES(T)                                                                                                                         \
    do {                                                                                                                                   \
        for (int64_t i = 0; i < n; i++) ((T *)(void *)sum)[i] = 0;                                                                         \
        for (int64_t c = from; c <= to; c++) {                                                                                             \
            const T *p = qn_elem_load(j->dtype, j->x + ((sample + c) * j->inner + at) * size, 1, n, &buf);                                 \
                                                                                                                                           \
            for (int64_t i = 0; i < n; i++) ((T *)(void *)sum)[i] += p[i] * p[i];                                                          \
        }                                                                                                                                  \
        p_x = qn_elem_load(j->dtype, j->x + (r * j->inner + at) * size, 1, n, &buf);                                                       \
    } while (0)

/* n <= QN_ELEM_CHUNK elements of row r (a channel of a sample) from `at` on. */
static void piece(const job *j, int64_t r, int64_t at, int64_t n)
{
    const int64_t c0 = r % j->channels, sample = r - c0, size = (int64_t)qn_dtype_size(j->dtype);
    const int64_t before = (j->size - 1) / 2, after = j->size - 1 - before;
    const int64_t from = c0 < before ? 0 : c0 - before, to = c0 + after < j->channels ? c0 + after : j->channels - 1;
    qn_elem_buf buf, sums, out;
    qn_elem_buf *sum = &sums;
    const void *p_x;

    if (j->dtype == QN_F64) {
        double *s = (double *)(void *)sum, *y = (double *)(void *)(j->y + (r * j->inner + at) * size);
        const double *x;

        SQUARES(double);
        x = p_x;
        for (int64_t i = 0; i < n; i++) y[i] = x[i] / pow((double)j->bias + (double)j->alpha * s[i], (double)j->beta);
        return;
    }
    SQUARES(float);
    divide_f32(j, p_x, sum->f32, out.f32, n);
    qn_elem_store(j->dtype, j->y + (r * j->inner + at) * size, n, &out);
}

static void rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    for (int64_t r = lo; r < hi; r++)
        for (int64_t at = 0; at < j->inner; at += QN_ELEM_CHUNK)
            piece(j, r, at, j->inner - at < QN_ELEM_CHUNK ? j->inner - at : QN_ELEM_CHUNK);
}

static qn_status lrn_infer(qn_infer *c, qn_error *err)
{
    const int64_t size = qn_node_int(c->node, "size", 0);
    qn_status st = qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err);

    if (st == QN_OK && size < 1) return qn_error_set(err, QN_ERR_INVALID, "size is %" PRId64 ", expected 1 or more", size);
    return st == QN_OK ? qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err) : st;
}

static void lrn_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    (void)c;
    if (in_axis[0] != 1) out_axis[0] = in_axis[0];
}

static qn_status lrn_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .vmath = qn_vmath_pick(r->cpu), .dtype = x->dtype, .size = qn_node_int(r->node, "size", 1), .x = x->data };
    qn_status st;

    if (x->rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "x has rank %d, expected [n, c, ...]", (int)x->rank);
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    j.y = r->out[0].data;
    j.alpha = qn_node_float(r->node, "alpha", 1e-4f) / (float)j.size;
    j.beta = qn_node_float(r->node, "beta", 0.75f);
    j.bias = qn_node_float(r->node, "bias", 1.0f);
    j.channels = x->dims[1];
    j.inner = qn_move_span(x->dims, 2, x->rank);
    if (qn_tensor_count(x) == 0) return QN_OK;
    qn_elem_ranges(r->team, x->dims[0] * j.channels, 8192 / j.inner, rows, &j);
    return QN_OK;
}

/* The squares of at most `size` channels for each element. */
static uint64_t lrn_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    const int64_t size = qn_node_int(n, "size", 1);
    const uint64_t channels = qn_cost_dim(&in[0], 1), window = size > 0 ? (uint64_t)size : 1;

    return qn_cost_mul(qn_cost_elements(&out[0]), window < channels ? window : channels);
}

const qn_op qn_op_lrn = {
    .name = "LRN",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = lrn_infer,
    .rows = lrn_rows,
    .lower = qn_elem_lower,
    .run = lrn_run,
    .cost = lrn_cost,
    .kernels = "vmath",
};
