/* core/ops/variadic.c - Max, Min, Sum, Mean of any number of inputs, broadcast.
 * Spec   ONNX 1 on; broadcasting from 8 (older files have equal shapes, for which it changes nothing).
 * Value  a left fold in the order of the inputs: ((x0 + x1) + x2) ...; Mean divides the sum by their number at the end. A NaN anywhere
 *        gives NaN in Max and Min. f16 and bf16 are rounded after every step.
 * Grad   Sum: dy to each input.  Mean: dy / n.  Max, Min: dy to the first input that equals the result. Each summed over the axes along
 *        which it was stretched. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"
#include "core/tensor/broadcast.h"

#include <string.h>

static inline double max_nan(double u, double v) { return u != u ? u : v != v ? v : u > v ? u : v; }
static inline double min_nan(double u, double v) { return u != u ? u : v != v ? v : u < v ? u : v; }

QN_ELEM_FN2(max_f64, double, double, max_nan(u, v))
QN_ELEM_FN2(max_i64, int64_t, int64_t, u > v ? u : v)
QN_ELEM_FN2(max_u64, uint64_t, uint64_t, u > v ? u : v)
QN_ELEM_FN2(min_f64, double, double, min_nan(u, v))
QN_ELEM_FN2(min_i64, int64_t, int64_t, u < v ? u : v)
QN_ELEM_FN2(min_u64, uint64_t, uint64_t, u < v ? u : v)
QN_ELEM_FN2(sum_f64, double, double, u + v)

static void over_f32(qn_elem_env *env, const void *const *x, void *y, int64_t n)
{
    const float *p = x[0];
    float *out = y;

    for (int64_t i = 0; i < n; i++) out[i] = p[i] / env->a;
}

static void over_f64(qn_elem_env *env, const void *const *x, void *y, int64_t n)
{
    const double *p = x[0];
    double *out = y;

    for (int64_t i = 0; i < n; i++) out[i] = p[i] / (double)env->a;
}

static const qn_elem_op max_op = { .n_in = 2, .fast = QN_ELEM_BINARY, .kernel = QN_BINARY_MAX, .fn = { NULL, max_f64, max_i64, max_u64 } };
static const qn_elem_op min_op = { .n_in = 2, .fast = QN_ELEM_BINARY, .kernel = QN_BINARY_MIN, .fn = { NULL, min_f64, min_i64, min_u64 } };
static const qn_elem_op sum_op = { .n_in = 2, .fast = QN_ELEM_BINARY, .kernel = QN_BINARY_ADD, .fn = { NULL, sum_f64, NULL, NULL } };
static const qn_elem_op over_op = { .n_in = 1, .fn = { over_f32, over_f64, NULL, NULL } };

static bool max_number(int64_t a, int64_t b, int64_t *out)
{
    *out = a > b ? a : b;
    return true;
}

static bool min_number(int64_t a, int64_t b, int64_t *out)
{
    *out = a < b ? a : b;
    return true;
}

static const qn_elem_known max_known = { max_number, qn_dims_max }, min_known = { min_number, qn_dims_min };

static qn_status infer(qn_infer *c, uint32_t set, const qn_elem_known *known, qn_error *err)
{
    const qn_status st = qn_elem_infer(c, c->node->n_in, set, QN_DTYPE_NONE, err);

    if (st == QN_OK && known && c->node->n_in == 2) qn_elem_set_known(c, 2, known);
    return st;
}

/* Input 0 may lie under the output: it is read first. */
static qn_status fold(qn_run *r, const qn_elem_op *op, bool mean, qn_error *err)
{
    const int32_t n = r->node->n_in;
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank = 0;
    const qn_tensor *y = &r->out[0];
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n && st == QN_OK; i++) st = qn_broadcast_shape(rank, dims, r->in[i].rank, r->in[i].dims, &rank, dims, err);
    if (st == QN_OK) st = qn_move_output(r, 0, r->in[0].dtype, rank, dims, err);
    if (st != QN_OK) return st;
    if (n == 1) {
        if (r->in[0].bytes && y->data != r->in[0].data) memcpy(y->data, r->in[0].data, r->in[0].bytes);
        return QN_OK;
    }
    st = qn_elem_apply(r, op, &r->in[0], &r->in[1], y, 0, 0, err);
    for (int32_t i = 2; i < n && st == QN_OK; i++) st = qn_elem_apply(r, op, y, &r->in[i], y, 0, 0, err);
    if (mean && st == QN_OK) st = qn_elem_apply(r, &over_op, y, y, y, (float)n, 0, err);
    return st;
}

static void sum_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);

    for (int32_t i = 0; i < qn_grad_node(b)->n_in; i++) qn_grad_give(b, i, dy);
}

static void mean_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0), part = qn_grad_op2(b, "Div", dy, qn_grad_number(b, qn_grad_node(b)->n_in, dy));

    for (int32_t i = 0; i < qn_grad_node(b)->n_in; i++) qn_grad_give(b, i, part);
}

#define VARIADIC(id, NAME, SET, OP, KNOWN, MEAN, GRAD)                                                                                     \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return infer(c, SET, KNOWN, err); }                                          \
    static qn_status id##_run(qn_run *r, qn_error *err) { return fold(r, &OP, MEAN, err); }                                                \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = 1,                                                                                                                        \
        .min_in = 1,                                                                                                                       \
        .max_in = 1,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE | QN_OP_VARIADIC,                                                                                           \
        .infer = id##_infer,                                                                                                               \
        .rows = qn_rows_elementwise,                                                                                                       \
        .lower = qn_elem_lower,                                                                                                            \
        .run = id##_run,                                                                                                                   \
        .grad = GRAD,                                                                                                                      \
        .kernels = "eltwise",                                                                                                              \
    };

VARIADIC(max, "Max", QN_SET_NUMERIC, max_op, &max_known, false, NULL)
VARIADIC(min, "Min", QN_SET_NUMERIC, min_op, &min_known, false, NULL)
VARIADIC(sum, "Sum", QN_SET_FLOAT, sum_op, NULL, false, sum_grad)
VARIADIC(mean, "Mean", QN_SET_FLOAT, sum_op, NULL, true, mean_grad)
