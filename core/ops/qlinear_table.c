/* core/ops/qlinear_table.c - com.microsoft QLinearSigmoid, QLinearLeakyRelu, QLinearConcat: each byte stands for another.
 * Spec   ONNX Runtime contrib ops 1. X, X_scale, X_zp?, Y_scale, Y_zp? -> Y (LeakyRelu: alpha, default 0.01).
 *        Concat: Y_scale, Y_zp, then tensor, scale, zero point of each input; attribute axis.
 * Value  Q(f(DQ(x))) by a table of 256: DequantizeLinear, f in f32, QuantizeLinear. An input of Concat that has the output's scale and zero
 *        point is copied. */
#include "core/base/checked.h"
#include "core/kernels/vmath/vmath.h"
#include "core/ops/elem.h"
#include "core/ops/qlinear.h"

#include <inttypes.h>
#include <string.h>

/* -- one input ------------------------------------------------------------------------------------------------------------ */

static qn_status unary_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK && !qn_infer_has(c, 3)) st = qn_error_set(err, QN_ERR_INVALID, "input 3 is left out, expected a tensor");
    if (st == QN_OK) st = qn_qlinear_infer(c, 0, 1, 2, c->in[0].dtype, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, -1, 3, 4, c->in[0].dtype, err);
    if (st == QN_OK) qn_elem_like(c, 0, 0, c->in[0].dtype);
    return st;
}

static void sigmoid(const void *ctx, const float *x, float *y, int64_t n)
{
    qn_vmath_pick(*(const unsigned *)ctx)->run[QN_VMATH_SIGMOID](x, y, n, 0, 0);
}

static void leaky(const void *ctx, const float *x, float *y, int64_t n)
{
    const float alpha = *(const float *)ctx;

    for (int64_t i = 0; i < n; i++) y[i] = x[i] >= 0.0f ? x[i] : alpha * x[i];
}

static void map_span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const uint8_t *table = ctx, *from = x[0];
    uint8_t *to = y;

    for (int64_t i = 0; i < n; i++) to[i] = table[from[i * step[0]]];
}

static qn_status unary_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const float alpha = qn_node_float(r->node, "alpha", 0.01f);
    uint8_t table[256];
    qn_qlinear from, to;
    qn_status st = qn_qlinear_read(r, 1, 2, x->dtype, &from, err);

    if (st == QN_OK) st = qn_qlinear_read(r, 3, 4, x->dtype, &to, err);
    if (st == QN_OK) st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);
    if (st != QN_OK) return st;
    if (strcmp(r->node->op_type, "QLinearSigmoid") == 0)
        qn_qlinear_table(r->cpu, &from, &to, sigmoid, &r->cpu, table);
    else
        qn_qlinear_table(r->cpu, &from, &to, leaky, &alpha, table);
    qn_elem_walk(r->team, 1, &x, &r->out[0], map_span, table);
    return QN_OK;
}

#define UNARY(id, op_name, k)                                                                                                              \
    const qn_op qn_op_ms_##id = {                                                                                                          \
        .domain = "com.microsoft",                                                                                                         \
        .name = op_name,                                                                                                                   \
        .since = 1,                                                                                                                        \
        .min_in = 4,                                                                                                                       \
        .max_in = 5,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = unary_infer,                                                                                                              \
        .rows = qn_rows_elementwise,                                                                                                       \
        .run = unary_run,                                                                                                                  \
        .kernels = k,                                                                                                                      \
    }

UNARY(qlinear_sigmoid, "QLinearSigmoid", "quant, vmath");
UNARY(qlinear_leaky_relu, "QLinearLeakyRelu", "quant");

/* -- Concat --------------------------------------------------------------------------------------------------------------- */

enum { FIRST = 2 }; /* Y_scale, Y_zp */

static qn_status concat_axis(const qn_node *n, int32_t rank, int32_t *axis, qn_error *err)
{
    if (!qn_node_attr(n, "axis")) return qn_error_set(err, QN_ERR_INVALID, "attribute axis is missing");
    return qn_move_axis(qn_node_int(n, "axis", 0), rank, axis, err);
}

static qn_status concat_shape_infer(qn_infer *c, qn_error *err)
{
    qn_type *out = &c->out[0];
    qn_dim sum = qn_dims_const(c->dims, 0);
    int32_t axis;
    qn_status st;

    qn_move_like(c, FIRST, out);
    if (out->rank < 0) return QN_OK;
    if ((st = concat_axis(c->node, out->rank, &axis, err)) != QN_OK) return st;
    for (int32_t i = FIRST; i < c->node->n_in; i += 3) {
        const qn_type *x = &c->in[i];

        sum = qn_dims_add(c->dims, sum, x->rank < 0 ? QN_DIM_UNKNOWN : x->dims[axis]);
        if (x->rank < 0) continue;
        if (x->rank != out->rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, others have %d", (int)i, (int)x->rank, (int)out->rank);
        for (int32_t a = 0; a < out->rank; a++) {
            if (a != axis && !qn_move_join(c, out->dims[a], x->dims[a], true, &out->dims[a]))
                return qn_error_set(err, QN_ERR_SHAPE, "input %d differs from the others on axis %d, expected only on %d", (int)i, (int)a,
                                    (int)axis);
        }
    }
    out->dims[axis] = sum;
    return QN_OK;
}

static qn_status concat_infer(qn_infer *c, qn_error *err)
{
    const int32_t n = c->node->n_in;
    qn_status st = qn_linear_need(c, n, err);

    if (st == QN_OK && (n - FIRST) % 3 != 0)
        st = qn_error_set(err, QN_ERR_INVALID, "%d inputs, expected scale and zero point, then three for each tensor", (int)n);
    if (st == QN_OK) st = qn_linear_dtype(c, 1, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, -1, 0, 1, c->in[1].dtype, err);
    for (int32_t i = FIRST; i < n && st == QN_OK; i += 3) st = qn_qlinear_infer(c, i, i + 1, i + 2, c->in[1].dtype, err);
    return st == QN_OK ? concat_shape_infer(c, err) : st;
}

static void concat_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (c->out[0].rank < 0 || concat_axis(c->node, c->out[0].rank, &axis, NULL) != QN_OK) return;
    for (int32_t i = 0; i < c->node->n_in; i++) {
        if (i >= FIRST && (i - FIRST) % 3 == 0 ? in_axis[i] != in_axis[FIRST] || in_axis[i] < 0 || in_axis[i] == axis
                                               : in_axis[i] != QN_ROWS_NONE)
            return;
    }
    out_axis[0] = in_axis[FIRST];
}

static qn_status concat_dims(const qn_run *r, int32_t *axis, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[FIRST];
    qn_status st = concat_axis(r->node, x->rank, axis, err);

    if (st != QN_OK) return st;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = a == *axis ? 0 : x->dims[a];
    for (int32_t i = FIRST; i < r->node->n_in; i += 3) {
        bool fits = r->in[i].rank == x->rank;

        for (int32_t a = 0; fits && a < x->rank; a++) fits = a == *axis || r->in[i].dims[a] == dims[a];
        if (!fits) return qn_error_set(err, QN_ERR_SHAPE, "input %d does not fit the others but for axis %d", (int)i, (int)*axis);
        if (!qn_i64_add(dims[*axis], r->in[i].dims[*axis], &dims[*axis]))
            return qn_error_set(err, QN_ERR_LIMIT, "axis %d overflows", (int)*axis);
    }
    return QN_OK;
}

static qn_status concat_run(qn_run *r, qn_error *err)
{
    const qn_dtype dtype = r->in[1].dtype;
    int64_t dims[QN_MAX_RANK] = { 0 }, at = 0, outer, inner;
    int32_t axis;
    qn_qlinear from, to;
    qn_status st = concat_dims(r, &axis, dims, err);

    if (st == QN_OK) st = qn_qlinear_read(r, 0, 1, dtype, &to, err);
    if (st == QN_OK) st = qn_move_output(r, 0, dtype, r->in[FIRST].rank, dims, err);
    if (st != QN_OK) return st;
    outer = qn_move_span(dims, 0, axis);
    inner = qn_move_span(dims, axis + 1, r->in[FIRST].rank);
    for (int32_t i = FIRST; i < r->node->n_in; i += 3) {
        const int64_t run = r->in[i].dims[axis] * inner;
        uint8_t table[256], *y = r->out[0].data;
        const uint8_t *x = r->in[i].data;

        if ((st = qn_qlinear_read(r, i + 1, i + 2, dtype, &from, err)) != QN_OK) return st;
        qn_qlinear_table(r->cpu, &from, &to, NULL, NULL, table);
        for (int b = 0; b < 256 && from.scale == to.scale && from.zero == to.zero; b++) table[b] = (uint8_t)b;
        for (int64_t o = 0; o < outer; o++) {
            for (int64_t k = 0; k < run; k++) y[o * dims[axis] * inner + at + k] = table[x[o * run + k]];
        }
        at += run;
    }
    return QN_OK;
}

const qn_op qn_op_ms_qlinear_concat = {
    .domain = "com.microsoft",
    .name = "QLinearConcat",
    .since = 1,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VARIADIC,
    .infer = concat_infer,
    .rows = concat_rows,
    .run = concat_run,
    .kernels = "quant",
};
