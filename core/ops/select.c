/* core/ops/select.c - NonZero and Compress: outputs whose size depends on the data.
 * Spec   NonZero 9 on: [rank, count] coordinates in row-major order, a scalar counts as [1]. Compress 9 on: the slices of `axis`
 *        (without it: the elements) whose condition is true; a short condition stands for false beyond its end. */
#include "core/ops/move.h"

#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

/* -- NonZero -------------------------------------------------------------------------------------------------------------- */

static qn_status nonzero_infer(qn_infer *c, qn_error *err)
{
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_dtype(c, 0, ~(1u << QN_STRING), err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], QN_I64, 2, err)) != QN_OK) return st;
    if (c->in[0].rank >= 0) c->out[0].dims[0] = qn_dims_const(c->dims, c->in[0].rank ? c->in[0].rank : 1);
    return QN_OK;
}

static bool is_nonzero(const qn_tensor *x, int64_t i)
{
    switch (x->dtype) {
    case QN_F32: return ((const float *)x->data)[i] != 0.0f;
    case QN_F64: return ((const double *)x->data)[i] != 0.0;
    case QN_F16:
    case QN_BF16: return (((const uint16_t *)x->data)[i] & 0x7fff) != 0; /* either zero */
    default: return qn_move_int(x, i) != 0;
    }
}

static qn_status nonzero_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t total = qn_tensor_count(x), rank = x->rank ? x->rank : 1;
    int64_t strides[QN_MAX_RANK] = { 1 }, n = 0, at = 0, *y;
    qn_status st;

    for (int64_t i = 0; i < total; i++) n += is_nonzero(x, i);
    if ((st = qn_move_output(r, 0, QN_I64, 2, (const int64_t[]){ rank, n }, err)) != QN_OK) return st;
    y = r->out[0].data;
    qn_shape_strides(x->rank, x->dims, strides);
    for (int64_t i = 0; i < total; i++) {
        int64_t rest = i;

        if (!is_nonzero(x, i)) continue;
        for (int64_t a = 0; a < rank; a++) {
            y[a * n + at] = rest / strides[a];
            rest %= strides[a];
        }
        at++;
    }
    return QN_OK;
}

const qn_op qn_op_non_zero = {
    .name = "NonZero",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = nonzero_infer,
    .run = nonzero_run,
};

/* -- Compress ------------------------------------------------------------------------------------------------------------- */

static int64_t count_true(const qn_tensor *cond)
{
    int64_t n = 0, len = qn_tensor_count(cond);

    for (int64_t i = 0; i < len; i++) n += qn_move_int(cond, i) != 0;
    return n;
}

static qn_status compress_infer(qn_infer *c, qn_error *err)
{
    const bool flat = !qn_node_attr(c->node, "axis");
    qn_type *out = &c->out[0];
    int32_t axis = 0;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, 1u << QN_BOOL, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 1, 1, 1, err)) != QN_OK) return st;
    qn_move_like(c, 0, out);
    if (flat) {
        out->rank = 1;
    } else if (c->in[0].rank >= 0) {
        if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, err)) != QN_OK) return st;
        for (int32_t a = 0; a < c->in[0].rank; a++) out->dims[a] = c->in[0].dims[a];
    }
    if (out->rank > 0) out->dims[axis] = c->in_const[1] ? qn_dims_const(c->dims, count_true(c->in_const[1])) : QN_DIM_UNKNOWN;
    return QN_OK;
}

/* The input seen as [outer, n, inner], n the axis that is compressed. */
static qn_status compress_view(const qn_run *r, int32_t *axis, int64_t *outer, int64_t *n, int64_t *inner, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_status st;

    *axis = 0;
    *outer = *inner = 1;
    *n = qn_tensor_count(x);
    if (!qn_node_attr(r->node, "axis")) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, axis, err)) != QN_OK) return st;
    *outer = qn_move_span(x->dims, 0, *axis);
    *inner = qn_move_span(x->dims, *axis + 1, x->rank);
    *n = x->dims[*axis];
    return QN_OK;
}

static qn_status compress_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *cond = &r->in[1];
    int32_t axis;
    int64_t outer, n, inner;
    qn_status st = compress_view(r, &axis, &outer, &n, &inner, err);

    (void)o;
    if (st != QN_OK) return st;
    for (int64_t i = n; i < qn_tensor_count(cond); i++)
        if (qn_move_int(cond, i) != 0)
            return qn_error_set(err, QN_ERR_RANGE, "condition is true at %" PRId64 ", axis %" PRId32 " has size %" PRId64, i, axis, n);
    *rank = qn_node_attr(r->node, "axis") ? x->rank : 1;
    for (int32_t a = 0; a < *rank; a++) dims[a] = x->rank ? x->dims[a] : 1;
    dims[axis] = count_true(cond);
    return QN_OK;
}

static qn_status compress_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *cond = &r->in[1];
    int32_t axis;
    int64_t outer, n, inner;
    char *y = r->out[0].data;
    size_t block;
    qn_status st = compress_view(r, &axis, &outer, &n, &inner, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    if (qn_tensor_count(cond) < n) n = qn_tensor_count(cond);
    block = (size_t)inner * qn_dtype_size(x->dtype);
    for (int64_t o = 0; o < outer; o++) {
        const char *row = (const char *)x->data + (size_t)o * block * (size_t)(qn_tensor_count(x) / outer / inner);

        for (int64_t i = 0; i < n; i++) {
            if (qn_move_int(cond, i) == 0) continue;
            memcpy(y, row + (size_t)i * block, block);
            y += block;
        }
    }
    return QN_OK;
}

static qn_status compress_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, compress_dims, compress_fill, err); }

static void compress_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || !qn_node_attr(c->node, "axis")) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) == QN_OK && axis != in_axis[0]) out_axis[0] = in_axis[0];
}

const qn_op qn_op_compress = {
    .name = "Compress",
    .since = 9,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = compress_infer,
    .rows = compress_rows,
    .run = compress_run,
};
