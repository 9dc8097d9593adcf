/* core/ops/concat.c - Concat: inputs one after another along an axis.
 * Spec   ONNX Concat 1 on; axis is required from 4 on, before it defaults to 1. Negative axes from 11 on. */
#include "core/ops/move.h"

#include "core/base/checked.h"

#include <inttypes.h>

static qn_status concat_axis(const qn_node *node, int32_t rank, int32_t *axis, qn_error *err)
{
    if (node->opset >= 4 && !qn_node_attr(node, "axis")) return qn_error_set(err, QN_ERR_INVALID, "attribute axis is missing");
    return qn_move_axis(qn_node_int(node, "axis", 1), rank, axis, err);
}

/* All inputs known: the output is their elements in a row. */
static void concat_known(qn_infer *c)
{
    qn_dim all[QN_KNOWN_MAX];
    int32_t total = 0;

    for (int32_t i = 0; i < c->node->n_in; i++) {
        int32_t n;
        const qn_dim *e = qn_move_known(c, i, &n);

        if (!e && c->in[i].rank == 1) { /* one that is not known still takes its place, if it is known how wide that is */
            int64_t v;

            if (!qn_move_number(c, c->in[i].dims[0], &v) || v > QN_KNOWN_MAX) return;
            n = (int32_t)v;
        }
        if (n < 0 || n > QN_KNOWN_MAX - total) return;
        for (int32_t k = 0; k < n; k++) all[total++] = e ? e[k] : QN_DIM_UNKNOWN;
    }
    qn_move_set_known(c, total, all);
}

static qn_status concat_infer(qn_infer *c, qn_error *err)
{
    qn_type *out = &c->out[0];
    qn_dim sum = qn_dims_const(c->dims, 0);
    int32_t axis, rank = -1;
    qn_status st;

    if ((st = qn_move_need(c, c->node->n_in, err)) != QN_OK) return st;
    qn_move_like(c, 0, out);
    out->rank = -1;
    for (int32_t i = 0; i < c->node->n_in; i++) {
        if (out->dtype == QN_DTYPE_NONE) out->dtype = c->in[i].dtype;
        if (c->in[i].dtype != QN_DTYPE_NONE && c->in[i].dtype != out->dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, input 0 is %s", i, qn_dtype_name(c->in[i].dtype),
                                qn_dtype_name(out->dtype));
        if (c->in[i].rank < 0) continue;
        if (rank < 0) rank = c->in[i].rank;
        if (c->in[i].rank != rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32 ", others have %" PRId32, i, c->in[i].rank, rank);
    }
    if (rank < 0) return QN_OK;
    if ((st = concat_axis(c->node, rank, &axis, err)) != QN_OK) return st;
    out->rank = rank;
    for (int32_t i = 0; i < c->node->n_in; i++) {
        const qn_type *x = &c->in[i];

        sum = qn_dims_add(c->dims, sum, x->rank < 0 ? QN_DIM_UNKNOWN : x->dims[axis]);
        if (x->rank < 0) continue;
        for (int32_t a = 0; a < rank; a++) {
            if (a == axis) continue;
            if (!qn_move_join(c, out->dims[a], x->dims[a], true, &out->dims[a]))
                return qn_error_set(err, QN_ERR_SHAPE,
                                    "input %" PRId32 " differs from the others on axis %" PRId32 ", expected only on %" PRId32, i, a, axis);
        }
    }
    out->dims[axis] = sum;
    if (rank == 1) concat_known(c);
    return QN_OK;
}

static qn_status concat_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = r->in;
    int32_t axis;
    qn_status st = concat_axis(r->node, x->rank, &axis, err);

    (void)o;
    if (st != QN_OK) return st;
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = x->dims[a];
    for (int32_t i = 1; i < r->node->n_in; i++) {
        if (x[i].rank != *rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32 ", input 0 has %" PRId32, i, x[i].rank, *rank);
        for (int32_t a = 0; a < *rank; a++) {
            if (a != axis && x[i].dims[a] != dims[a])
                return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has size %" PRId64 " on axis %" PRId32 ", input 0 has %" PRId64,
                                    i, x[i].dims[a], a, dims[a]);
        }
        if (!qn_i64_add(dims[axis], x[i].dims[axis], &dims[axis]))
            return qn_error_set(err, QN_ERR_LIMIT, "axis %" PRId32 " overflows", axis);
    }
    return QN_OK;
}

static qn_status concat_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *y = &r->out[0];
    const size_t elem = qn_dtype_size(y->dtype);
    int32_t axis;
    int64_t inner, at = 0;
    qn_status st = concat_axis(r->node, y->rank, &axis, err);

    if (st != QN_OK) return st;
    inner = qn_move_span(y->dims, axis + 1, y->rank);
    for (int32_t i = 0; i < r->node->n_in; i++) {
        const int64_t run = r->in[i].dims[axis] * inner;
        qn_move m = { .rank = 2, .dims = { qn_move_span(y->dims, 0, axis), run }, .src = { run, 1 }, .dst = { y->dims[axis] * inner, 1 } };

        qn_move_copy(&m, elem, r->in[i].data, (char *)y->data + (size_t)at * elem, r->team);
        at += run;
    }
    return QN_OK;
}

static qn_status concat_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, concat_dims, concat_fill, err); }

/* Every input carries the rows on the same axis: one that did not would have to be repeated to have them. */
static void concat_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (c->out[0].rank < 0 || concat_axis(c->node, c->out[0].rank, &axis, NULL) != QN_OK) return;
    for (int32_t i = 0; i < c->node->n_in; i++)
        if (in_axis[i] != in_axis[0] || in_axis[i] < 0 || in_axis[i] == axis) return;
    out_axis[0] = in_axis[0];
}

const qn_op qn_op_concat = {
    .name = "Concat",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VARIADIC,
    .infer = concat_infer,
    .rows = concat_rows,
    .run = concat_run,
    .kernels = "move",
};
