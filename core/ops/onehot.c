/* core/ops/onehot.c - OneHot and EyeLike: ones at places that indices name.
 * Spec   OneHot 9 on: a new axis of `depth` with on_value at the index and off_value elsewhere; an index outside [-depth, depth-1]
 *        gives off_value everywhere. EyeLike 9 on: ones where column - row = k. */
#include "core/ops/move.h"

#include "core/base/half.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* -- OneHot --------------------------------------------------------------------------------------------------------------- */

#define NUMERIC (~(1u << QN_STRING | 1u << QN_BOOL))

/* The new axis, one more than the indices have. */
static qn_status new_axis(const qn_node *node, int32_t rank, int32_t *axis, qn_error *err)
{
    return qn_move_axis(qn_node_int(node, "axis", -1), rank + 1, axis, err);
}

static qn_status read_depth(const qn_tensor *t, int64_t *depth, qn_error *err)
{
    double d;

    if (qn_tensor_count(t) != 1) return qn_error_set(err, QN_ERR_SHAPE, "depth has %" PRId64 " elements, expected 1", qn_tensor_count(t));
    d = qn_move_real(t, 0);
    if (!(d >= 0 && d < 0x1p62)) return qn_error_set(err, QN_ERR_SHAPE, "depth is %g, expected 0 or more", d);
    *depth = (int64_t)d;
    return QN_OK;
}

static qn_status onehot_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t axis, n;
    int64_t v;
    qn_dim depth = QN_DIM_UNKNOWN;
    const qn_dim *e;
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, NUMERIC, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, NUMERIC, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 1, 0, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 2, 1, 1, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], c->in[2].dtype, x->rank < 0 ? -1 : (int64_t)x->rank + 1, err)) != QN_OK || x->rank < 0) return st;
    if ((st = new_axis(c->node, x->rank, &axis, err)) != QN_OK) return st;
    e = qn_move_known(c, 1, &n);
    if (e && n == 1) {
        depth = e[0];
        if (qn_move_number(c, depth, &v) && v < 0) return qn_error_set(err, QN_ERR_SHAPE, "depth is %" PRId64 ", expected 0 or more", v);
    } else if (c->in_const[1]) { /* a floating point depth */
        if ((st = read_depth(c->in_const[1], &v, err)) != QN_OK) return st;
        depth = qn_dims_const(c->dims, v);
    }
    for (int32_t a = 0; a <= x->rank; a++) c->out[0].dims[a] = a == axis ? depth : x->dims[a - (a > axis)];
    return QN_OK;
}

static qn_status onehot_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t axis;
    int64_t depth;
    qn_status st;

    (void)o;
    if (x->rank >= QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId32 ", at most %d", x->rank + 1, QN_MAX_RANK);
    if ((st = new_axis(r->node, x->rank, &axis, err)) != QN_OK || (st = read_depth(&r->in[1], &depth, err)) != QN_OK) return st;
    if (r->in[2].rank != 1 || r->in[2].dims[0] != 2)
        return qn_error_set(err, QN_ERR_SHAPE, "values do not have shape [2]: off_value, on_value");
    *rank = x->rank + 1;
    for (int32_t a = 0; a <= x->rank; a++) dims[a] = a == axis ? depth : x->dims[a - (a > axis)];
    return QN_OK;
}

static qn_status onehot_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    const size_t elem = qn_dtype_size(y->dtype);
    const char *values = r->in[2].data;
    int32_t axis;
    int64_t depth, outer, inner;
    qn_status st = new_axis(r->node, x->rank, &axis, err);

    if (st != QN_OK || qn_tensor_count(y) == 0) return st;
    depth = y->dims[axis];
    outer = qn_move_span(y->dims, 0, axis);
    inner = qn_move_span(y->dims, axis + 1, y->rank);
    qn_move_fill(y->data, qn_tensor_count(y), elem, values);
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            double v = trunc(qn_move_real(x, o * inner + i));
            int64_t k;

            if (!(v >= (double)-depth && v < (double)depth)) continue;
            k = (int64_t)v < 0 ? (int64_t)v + depth : (int64_t)v;
            memcpy((char *)y->data + (size_t)((o * depth + k) * inner + i) * elem, values + elem, elem);
        }
    }
    return QN_OK;
}

static qn_status onehot_run(qn_run *r, qn_error *err) { return qn_move_run(r, 2, onehot_dims, onehot_fill, err); }

static void onehot_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || new_axis(c->node, c->in[0].rank, &axis, NULL) != QN_OK) return;
    out_axis[0] = in_axis[0] + (axis <= in_axis[0]);
}

const qn_op qn_op_one_hot = {
    .name = "OneHot",
    .since = 9,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = onehot_infer,
    .rows = onehot_rows,
    .run = onehot_run,
    .kernels = "move",
};

/* -- EyeLike -------------------------------------------------------------------------------------------------------------- */

static qn_status eye_dtype(const qn_node *node, qn_dtype like, qn_dtype *out, qn_error *err)
{
    const qn_attr *a = qn_node_attr(node, "dtype");

    *out = a ? qn_move_onnx_dtype(a->i) : like;
    if (*out == QN_STRING || (a && *out == QN_DTYPE_NONE))
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "dtype %" PRId64 " is unsupported here", a ? a->i : 8);
    return QN_OK;
}

static qn_status eye_infer(qn_infer *c, qn_error *err)
{
    qn_dtype dtype;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 2, 2, err)) != QN_OK) return st;
    if ((st = eye_dtype(c->node, c->in[0].dtype, &dtype, err)) != QN_OK || (st = qn_move_type(&c->out[0], dtype, 2, err)) != QN_OK)
        return st;
    for (int32_t a = 0; a < c->in[0].rank; a++) c->out[0].dims[a] = c->in[0].dims[a];
    return QN_OK;
}

/* 1 in dtype, as bytes. */
static uint64_t one_of(qn_dtype dtype)
{
    const float f = 1.0f;
    const double d = 1.0;
    uint64_t v = 1; /* every integer type, little-endian */

    if (dtype == QN_F16) v = 0x3c00;
    if (dtype == QN_BF16) v = 0x3f80;
    if (dtype == QN_F32) memcpy(&v, &f, sizeof f);
    if (dtype == QN_F64) memcpy(&v, &d, sizeof d);
    return v;
}

static qn_status eye_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int64_t k = qn_node_int(r->node, "k", 0);
    qn_dtype dtype;
    uint64_t one;
    size_t elem;
    qn_status st = eye_dtype(r->node, x->dtype, &dtype, err);

    if (st != QN_OK) return st;
    if (x->rank != 2) return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected 2", x->rank);
    if ((st = qn_move_output(r, 0, dtype, 2, x->dims, err)) != QN_OK) return st;
    if (qn_tensor_count(x) == 0) return QN_OK;
    one = one_of(dtype);
    elem = qn_dtype_size(dtype);
    memset(r->out[0].data, 0, r->out[0].bytes);
    if (k <= -x->dims[0] || k >= x->dims[1]) return QN_OK;
    for (int64_t i = k < 0 ? -k : 0; i < x->dims[0] && i + k < x->dims[1]; i++)
        memcpy((char *)r->out[0].data + (size_t)(i * x->dims[1] + i + k) * elem, &one, elem);
    return QN_OK;
}

const qn_op qn_op_eye_like = {
    .name = "EyeLike",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = eye_infer,
    .run = eye_run,
};
