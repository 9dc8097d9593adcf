/* core/ops/scatter.c - Scatter, ScatterElements, ScatterND: a copy of data with some elements replaced.
 * Spec   Scatter 9-10 and ScatterElements 11 on: out[i..] with place `axis` replaced by indices[i..] becomes updates[i..].
 *        ScatterND 11 on: the last axis of indices holds tuples, each picks a slice that becomes one of updates.
 *        reduction (16 on: add, mul; 18 on: max, min) combines with what is there, duplicates included, in index order.
 * Range  An index below 0 counts from the end; one outside [-d, d-1] is QN_ERR_RANGE, and all are checked before anything is
 *        written, so the output may lie on data. */
#include "core/ops/move.h"

#include "core/kernels/move/reduce.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

static qn_status reduction(const qn_node *node, qn_scatter *op, qn_error *err)
{
    static const char *const names[] = { "none", "add", "mul", "max", "min" };
    const char *s = qn_node_str(node, "reduction", "none");

    for (int i = 0; i < 5; i++) {
        *op = (qn_scatter)i;
        if (strcmp(s, names[i]) == 0) return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "reduction is \"%.32s\", expected none, add, mul, max or min", s);
}

static qn_status scatter_start(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *u = &c->in[2];
    qn_scatter op;
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    if ((st = reduction(c->node, &op, err)) != QN_OK) return st;
    if (x->dtype != QN_DTYPE_NONE && u->dtype != QN_DTYPE_NONE && x->dtype != u->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "data is %s, updates are %s", qn_dtype_name(x->dtype), qn_dtype_name(u->dtype));
    if (op != QN_SCATTER_NONE && (1u << QN_STRING | 1u << QN_I4 | 1u << QN_U4) >> x->dtype & 1)
        return qn_error_set(err, QN_ERR_DTYPE, "%s has no reduction", qn_dtype_name(x->dtype));
    qn_move_like(c, 0, &c->out[0]);
    for (int32_t a = 0; a < x->rank; a++) c->out[0].dims[a] = x->dims[a];
    return QN_OK;
}

static qn_status same_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    (void)o;
    (void)err;
    *rank = r->in[0].rank;
    for (int32_t a = 0; a < *rank; a++) dims[a] = r->in[0].dims[a];
    return QN_OK;
}

static void copy_data(qn_run *r)
{
    const qn_tensor *x = &r->in[0];

    if (r->out[0].data != x->data && x->bytes) memcpy(r->out[0].data, x->data, x->bytes);
}

/* -- ScatterElements ------------------------------------------------------------------------------------------------------ */

static qn_status elements_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t axis;
    qn_status st = scatter_start(c, err);

    if (st != QN_OK || x->rank < 0) return st;
    if ((st = qn_move_need_rank(c, 1, x->rank, x->rank, err)) != QN_OK || (st = qn_move_need_rank(c, 2, x->rank, x->rank, err)) != QN_OK)
        return st;
    return qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err);
}

static qn_status elements_check(const qn_run *r, int32_t *axis, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1], *u = &r->in[2];
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, axis, err);

    if (st != QN_OK) return st;
    if (idx->rank != x->rank || u->rank != x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "data has rank %" PRId32 ", indices %" PRId32 ", updates %" PRId32, x->rank, idx->rank,
                            u->rank);
    for (int32_t a = 0; a < x->rank; a++) {
        if (idx->dims[a] != u->dims[a] || (a != *axis && idx->dims[a] > x->dims[a]))
            return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 ": data has size %" PRId64 ", indices %" PRId64 ", updates %" PRId64, a,
                                x->dims[a], idx->dims[a], u->dims[a]);
    }
    return qn_move_check_indices(idx, *axis, x->dims[*axis], err);
}

static qn_status elements_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1], *u = &r->in[2];
    const int64_t count = qn_tensor_count(idx);
    const size_t elem = qn_dtype_size(x->dtype);
    qn_move_index index = qn_move_indices(idx);
    int64_t strides[QN_MAX_RANK], at[QN_MAX_RANK] = { 0 }, along, base = 0;
    int32_t axis;
    qn_scatter op;
    qn_status st;

    if ((st = elements_check(r, &axis, err)) != QN_OK || (st = reduction(r->node, &op, err)) != QN_OK) return st;
    copy_data(r);
    qn_shape_strides(x->rank, x->dims, strides);
    along = strides[axis];
    strides[axis] = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t k = qn_move_at(index, i), to = base + (k < 0 ? k + x->dims[axis] : k) * along;

        qn_move_reduce(op, x->dtype, (char *)r->out[0].data + (size_t)to * elem, (const char *)u->data + (size_t)i * elem, 1);
        for (int32_t a = x->rank - 1; a >= 0; a--) {
            base += strides[a];
            if (++at[a] < idx->dims[a]) break;
            base -= strides[a] * idx->dims[a];
            at[a] = 0;
        }
    }
    return QN_OK;
}

static qn_status elements_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, same_dims, elements_fill, err); }

static void elements_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (c->in[0].rank < 0 || in_axis[0] < 0 || in_axis[1] != in_axis[0] || in_axis[2] != in_axis[0]) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) == QN_OK && axis != in_axis[0]) out_axis[0] = in_axis[0];
}

const qn_op qn_op_scatter = {
    .name = "Scatter",
    .since = 9,
    .until = 10,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = elements_infer,
    .rows = elements_rows,
    .run = elements_run,
    .kernels = "move",
};

const qn_op qn_op_scatter_elements = {
    .name = "ScatterElements",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = elements_infer,
    .rows = elements_rows,
    .run = elements_run,
    .kernels = "move",
};

/* -- ScatterND ------------------------------------------------------------------------------------------------------------ */

static qn_status nd_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *idx = &c->in[1], *u = &c->in[2];
    int64_t tuple;
    qn_status st = scatter_start(c, err);

    if (st != QN_OK || x->rank < 0 || idx->rank < 0) return st;
    if (x->rank == 0 || idx->rank == 0)
        return qn_error_set(err, QN_ERR_SHAPE, "data has rank %" PRId32 ", indices %" PRId32 ", expected 1 or more", x->rank, idx->rank);
    if (!qn_move_number(c, idx->dims[idx->rank - 1], &tuple)) return QN_OK;
    if (tuple < 1 || tuple > x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "indices hold tuples of %" PRId64 ", data has rank %" PRId32, tuple, x->rank);
    if (u->rank >= 0 && u->rank != idx->rank - 1 + x->rank - tuple)
        return qn_error_set(err, QN_ERR_SHAPE, "updates have rank %" PRId32 ", expected %" PRId64, u->rank,
                            idx->rank - 1 + x->rank - tuple);
    return QN_OK;
}

static qn_status nd_check(const qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1], *u = &r->in[2];
    const int64_t n = qn_tensor_count(idx), tuple = idx->rank ? idx->dims[idx->rank - 1] : 0;
    qn_move_index index = qn_move_indices(idx);

    if (tuple < 1 || tuple > x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "indices hold tuples of %" PRId64 ", data has rank %" PRId32, tuple, x->rank);
    if (u->rank != idx->rank - 1 + x->rank - tuple)
        return qn_error_set(err, QN_ERR_SHAPE, "updates have rank %" PRId32 ", expected %" PRId64, u->rank,
                            idx->rank - 1 + x->rank - tuple);
    for (int32_t a = 0; a < u->rank; a++) {
        int64_t want = a < idx->rank - 1 ? idx->dims[a] : x->dims[a - (idx->rank - 1) + tuple];

        if (u->dims[a] != want)
            return qn_error_set(err, QN_ERR_SHAPE, "updates have size %" PRId64 " on axis %" PRId32 ", expected %" PRId64, u->dims[a], a,
                                want);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t k = qn_move_at(index, i), size = x->dims[i % tuple];

        if (k < -size || k >= size)
            return qn_error_set(err, QN_ERR_RANGE,
                                "index %" PRId64 " (element %" PRId64 " of the indices), axis %" PRId64 " has size %" PRId64, k, i,
                                i % tuple, size);
    }
    return QN_OK;
}

static qn_status nd_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1], *u = &r->in[2];
    const size_t elem = qn_dtype_size(x->dtype);
    qn_move_index index = qn_move_indices(idx);
    int64_t strides[QN_MAX_RANK], tuple, n, slice;
    qn_scatter op;
    qn_status st;

    if ((st = nd_check(r, err)) != QN_OK || (st = reduction(r->node, &op, err)) != QN_OK) return st;
    copy_data(r);
    tuple = idx->dims[idx->rank - 1];
    n = qn_tensor_count(idx) / tuple;
    slice = qn_move_span(x->dims, (int32_t)tuple, x->rank);
    qn_shape_strides(x->rank, x->dims, strides);
    for (int64_t i = 0; slice > 0 && i < n; i++) {
        int64_t to = 0;

        for (int32_t t = 0; t < tuple; t++) {
            int64_t k = qn_move_at(index, i * tuple + t);

            to += (k < 0 ? k + x->dims[t] : k) * strides[t];
        }
        qn_move_reduce(op, x->dtype, (char *)r->out[0].data + (size_t)to * elem, (const char *)u->data + (size_t)(i * slice) * elem, slice);
    }
    return QN_OK;
}

static qn_status nd_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, same_dims, nd_fill, err); }

const qn_op qn_op_scatter_nd = {
    .name = "ScatterND",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = nd_infer,
    .run = nd_run,
    .kernels = "move",
};
