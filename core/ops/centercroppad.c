/* core/ops/centercroppad.c - CenterCropPad: some axes cropped or padded with zeros to a size, the middle staying in the middle.
 * Spec   ONNX CenterCropPad 18 on; an odd difference takes (or adds) the one more at the end. Attribute axes: default all. */
#include "core/ops/move.h"

#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

static qn_status read_axes(const qn_node *node, int32_t rank, qn_move_list *axes, qn_error *err)
{
    int64_t n;
    const int64_t *v = qn_node_ints(node, "axes", &n);

    if (n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " axes, the input has rank %" PRId32, n, rank);
    axes->n = v ? (int32_t)n : rank;
    for (int32_t i = 0; i < axes->n; i++) axes->v[i] = v ? v[i] : i;
    return qn_move_axes(axes, rank, err);
}

static qn_status crop_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_move_list axes;
    int32_t n;
    int64_t v;
    const qn_dim *shape;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 1, 1, 1, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (x->rank < 0) return QN_OK;
    if ((st = read_axes(c->node, x->rank, &axes, err)) != QN_OK) return st;
    shape = qn_move_known(c, 1, &n);
    if (shape && n != axes.n) return qn_error_set(err, QN_ERR_SHAPE, "shape has %" PRId32 " numbers for %" PRId32 " axes", n, axes.n);
    for (int32_t a = 0; a < x->rank; a++) c->out[0].dims[a] = x->dims[a];
    for (int32_t i = 0; i < axes.n; i++) {
        if (shape && qn_move_number(c, shape[i], &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", i, v);
        c->out[0].dims[axes.v[i]] = shape ? shape[i] : QN_DIM_UNKNOWN;
    }
    return QN_OK;
}

static qn_status crop_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list axes, shape;
    qn_status st;

    (void)o;
    if ((st = read_axes(r->node, x->rank, &axes, err)) != QN_OK || (st = qn_move_list_run(r, NULL, 1, &shape, err)) != QN_OK) return st;
    if (shape.n != axes.n) return qn_error_set(err, QN_ERR_SHAPE, "shape has %" PRId32 " numbers for %" PRId32 " axes", shape.n, axes.n);
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = x->dims[a];
    for (int32_t i = 0; i < axes.n; i++) {
        if (shape.v[i] < 0) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", i, shape.v[i]);
        dims[axes.v[i]] = shape.v[i];
    }
    return QN_OK;
}

static qn_status crop_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    const size_t elem = qn_dtype_size(x->dtype);
    int64_t from = 0, to = 0;
    qn_move m = { .rank = x->rank };

    (void)err;
    if (qn_tensor_count(y) == 0) return QN_OK;
    memset(y->data, 0, y->bytes);
    if (qn_tensor_count(x) == 0) return QN_OK;
    qn_shape_strides(x->rank, x->dims, m.src);
    qn_shape_strides(y->rank, y->dims, m.dst);
    for (int32_t a = 0; a < x->rank; a++) {
        m.dims[a] = x->dims[a] < y->dims[a] ? x->dims[a] : y->dims[a];
        from += (x->dims[a] - m.dims[a]) / 2 * m.src[a];
        to += (y->dims[a] - m.dims[a]) / 2 * m.dst[a];
    }
    qn_move_copy(&m, elem, (const char *)x->data + (size_t)from * elem, (char *)y->data + (size_t)to * elem, r->team);
    return QN_OK;
}

static qn_status crop_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, crop_dims, crop_fill, err); }

/* Only an axis that is not named stays whole for certain. */
static void crop_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_move_list axes;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || read_axes(c->node, c->in[0].rank, &axes, NULL) != QN_OK) return;
    for (int32_t i = 0; i < axes.n; i++)
        if (axes.v[i] == in_axis[0]) return;
    out_axis[0] = in_axis[0];
}

const qn_op qn_op_center_crop_pad = {
    .name = "CenterCropPad",
    .since = 18,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = crop_infer,
    .rows = crop_rows,
    .run = crop_run,
    .kernels = "move",
};
