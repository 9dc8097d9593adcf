/* core/ops/shape.c - Shape, Size, ConstantOfShape, Range: tensors made from sizes and numbers.
 * Spec   Shape 1 on (start, end: 15 on, clamped to [0, r]); Size 1 on; ConstantOfShape 9 on (attribute value: one element, default
 *        f32 0); Range 11 on: max(ceil((limit - start) / delta), 0) numbers start, start + delta, ... */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <math.h>

/* -- Shape ---------------------------------------------------------------------------------------------------------------- */

static void shape_range(const qn_node *node, int32_t rank, int32_t *from, int32_t *to)
{
    int64_t start = qn_node_int(node, "start", 0), end = qn_node_int(node, "end", rank);

    if (start < 0) start += rank;
    if (end < 0) end += rank;
    start = start < 0 ? 0 : start > rank ? rank : start;
    end = end < start ? start : end > rank ? rank : end;
    *from = (int32_t)start;
    *to = (int32_t)end;
}

static qn_status shape_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t from, to;
    qn_status st = qn_move_need(c, 1, err);

    if (st != QN_OK || (st = qn_move_type(&c->out[0], QN_I64, 1, err)) != QN_OK || x->rank < 0) return st;
    shape_range(c->node, x->rank, &from, &to);
    c->out[0].dims[0] = qn_dims_const(c->dims, to - from);
    qn_move_set_known(c, to - from, x->dims + from);
    return QN_OK;
}

static qn_status shape_run(qn_run *r, qn_error *err)
{
    int32_t from, to;
    qn_status st;

    shape_range(r->node, r->in[0].rank, &from, &to);
    if ((st = qn_move_output(r, 0, QN_I64, 1, (const int64_t[]){ to - from }, err)) != QN_OK) return st;
    for (int32_t a = from; a < to; a++) ((int64_t *)r->out[0].data)[a - from] = r->in[0].dims[a];
    return QN_OK;
}

const qn_op qn_op_shape = {
    .name = "Shape",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = shape_infer,
    .run = shape_run,
    .cost = qn_cost_selected,
};

/* -- Size ----------------------------------------------------------------------------------------------------------------- */

static qn_status size_infer(qn_infer *c, qn_error *err)
{
    qn_dim n = qn_dims_const(c->dims, 1);
    qn_status st = qn_move_need(c, 1, err);

    if (st != QN_OK || (st = qn_move_type(&c->out[0], QN_I64, 0, err)) != QN_OK || c->in[0].rank < 0) return st;
    for (int32_t a = 0; a < c->in[0].rank; a++) n = qn_dims_mul(c->dims, n, c->in[0].dims[a]);
    qn_move_set_known(c, -1, &n);
    return QN_OK;
}

static qn_status size_run(qn_run *r, qn_error *err)
{
    qn_status st = qn_move_output(r, 0, QN_I64, 0, NULL, err);

    if (st == QN_OK) *(int64_t *)r->out[0].data = qn_tensor_count(&r->in[0]);
    return st;
}

const qn_op qn_op_size = {
    .name = "Size",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = size_infer,
    .run = size_run,
    .cost = qn_cost_selected,
};

/* -- ConstantOfShape ------------------------------------------------------------------------------------------------------ */

/* The element as 8 bytes of which dtype's size count. */
static qn_status fill_value(const qn_node *node, qn_dtype *dtype, uint64_t *value, qn_error *err)
{
    const qn_attr *a = qn_node_attr(node, "value");
    qn_tensor t;

    *dtype = QN_F32;
    *value = 0;
    if (!a) return QN_OK;
    if (a->type != QN_ATTR_TENSOR) return qn_error_set(err, QN_ERR_INVALID, "attribute value is not a tensor");
    qn_weight_shape(a->t, &t);
    if (qn_tensor_count(&t) != 1) return qn_error_set(err, QN_ERR_SHAPE, "value has %" PRId64 " elements, expected 1", qn_tensor_count(&t));
    if (t.dtype == QN_STRING) return qn_error_set(err, QN_ERR_DTYPE, "value is string, expected numbers or bool");
    *dtype = t.dtype;
    return qn_weight_read(a->t, 0, 1, value, err);
}

static qn_status constant_infer(qn_infer *c, qn_error *err)
{
    qn_dtype dtype;
    uint64_t value;
    qn_move_list list;
    int32_t n;
    int64_t v;
    const qn_dim *shape;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = fill_value(c->node, &dtype, &value, err)) != QN_OK) return st;
    if ((st = qn_move_list_infer(c, NULL, 0, &list, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], dtype, list.n, err)) != QN_OK) return st;
    shape = qn_move_known(c, 0, &n);
    for (int32_t a = 0; shape && a < n && n == list.n; a++) {
        if (qn_move_number(c, shape[a], &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", a, v);
        c->out[0].dims[a] = shape[a];
    }
    if (list.n == 0 || (list.n == 1 && qn_move_number(c, c->out[0].dims[0], &v) && v <= QN_KNOWN_MAX)) {
        qn_dim all[QN_KNOWN_MAX], e;
        qn_tensor one = { .dtype = dtype, .data = &value };

        if (dtype != QN_I64 && dtype != QN_I32 && dtype != QN_BOOL) return QN_OK;
        e = qn_dims_const(c->dims, qn_move_int(&one, 0));
        for (int32_t i = 0; i < (list.n == 0 ? 1 : v); i++) all[i] = e;
        qn_move_set_known(c, list.n == 0 ? -1 : (int32_t)v, all);
    }
    return QN_OK;
}

static qn_status constant_run(qn_run *r, qn_error *err)
{
    qn_dtype dtype;
    uint64_t value;
    qn_move_list list;
    qn_status st = fill_value(r->node, &dtype, &value, err);

    if (st != QN_OK || (st = qn_move_list_run(r, NULL, 0, &list, err)) != QN_OK) return st;
    if (list.n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "shape of rank %" PRId32 ", at most %d", list.n, QN_MAX_RANK);
    for (int32_t a = 0; a < list.n; a++)
        if (list.v[a] < 0) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", a, list.v[a]);
    if ((st = qn_move_output(r, 0, dtype, list.n, list.v, err)) != QN_OK) return st;
    qn_move_fill(r->out[0].data, qn_tensor_count(&r->out[0]), qn_dtype_size(dtype), &value);
    return QN_OK;
}

const qn_op qn_op_constant_of_shape = {
    .name = "ConstantOfShape",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = constant_infer,
    .run = constant_run,
    .kernels = "move",
};

/* -- Range ---------------------------------------------------------------------------------------------------------------- */

#define RANGE_TYPES (1u << QN_F32 | 1u << QN_F64 | 1u << QN_I16 | 1u << QN_I32 | 1u << QN_I64)

/* ceil((limit - start) / delta), at least 0, without overflow. */
static qn_status int_count(int64_t start, int64_t limit, int64_t delta, int64_t *n, qn_error *err)
{
    uint64_t span, step, count;

    if (delta == 0) return qn_error_set(err, QN_ERR_INVALID, "delta is 0");
    *n = 0;
    if (delta > 0 ? limit <= start : limit >= start) return QN_OK;
    span = delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    count = (span - 1) / step + 1;
    if (count > INT64_MAX)
        return qn_error_set(err, QN_ERR_LIMIT, "range from %" PRId64 " to %" PRId64 " has too many numbers", start, limit);
    *n = (int64_t)count;
    return QN_OK;
}

static qn_status real_count(double span, double delta, int64_t *n, qn_error *err)
{
    double count = ceil(span / delta);

    if (delta == 0 || isnan(count)) return qn_error_set(err, QN_ERR_INVALID, "range over %g by %g", span, delta);
    if (count > 0x1p62) return qn_error_set(err, QN_ERR_LIMIT, "range over %g by %g has too many numbers", span, delta);
    *n = count > 0 ? (int64_t)count : 0;
    return QN_OK;
}

static qn_status range_count(const qn_tensor *start, const qn_tensor *limit, const qn_tensor *delta, int64_t *n, qn_error *err)
{
    if (start->dtype == QN_F32) /* the difference in f32, as the values will be: the rounding of ONNX Runtime */
        return real_count((double)(*(const float *)limit->data - *(const float *)start->data), qn_move_real(delta, 0), n, err);
    if (start->dtype == QN_F64) return real_count(qn_move_real(limit, 0) - qn_move_real(start, 0), qn_move_real(delta, 0), n, err);
    return int_count(qn_move_int(start, 0), qn_move_int(limit, 0), qn_move_int(delta, 0), n, err);
}

/* One element each: a scalar, or [1], which some exporters write. */
static qn_status check_scalar(const qn_tensor *t, int32_t i, qn_error *err)
{
    if (qn_tensor_count(t) == 1) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has %" PRId64 " elements, expected a scalar", i, qn_tensor_count(t));
}

/* The length, and where that is a number the elements, of a range of known integers. */
static qn_status range_known(qn_infer *c, qn_error *err)
{
    qn_dim all[QN_KNOWN_MAX], len;
    int32_t n0, n1, n2;
    const qn_dim *start = qn_move_known(c, 0, &n0), *limit = qn_move_known(c, 1, &n1), *delta = qn_move_known(c, 2, &n2);
    int64_t step, s, l, n;
    qn_status st;

    if (!start || !limit || !delta || n0 != 1 || n1 != 1 || n2 != 1 || !qn_move_number(c, delta[0], &step)) return QN_OK;
    if (qn_move_number(c, start[0], &s) && qn_move_number(c, limit[0], &l)) {
        if ((st = int_count(s, l, step, &n, err)) != QN_OK) return st;
        len = qn_dims_const(c->dims, n);
    } else {
        if (step <= 0) return QN_OK;
        len = qn_dims_ceildiv(c->dims, qn_dims_sub(c->dims, limit[0], start[0]), qn_dims_const(c->dims, step));
        len = qn_dims_max(c->dims, len, qn_dims_const(c->dims, 0));
    }
    c->out[0].dims[0] = len;
    if (!qn_move_number(c, len, &n) || n > QN_KNOWN_MAX) return QN_OK;
    for (int32_t i = 0; i < n; i++) {
        int64_t off;

        if (!qn_i64_mul(i, step, &off)) return QN_OK;
        all[i] = qn_dims_add(c->dims, start[0], qn_dims_const(c->dims, off));
    }
    qn_move_set_known(c, (int32_t)n, all);
    return QN_OK;
}

static qn_status range_infer(qn_infer *c, qn_error *err)
{
    int64_t n;
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK || (st = qn_move_type(&c->out[0], c->in[0].dtype, 1, err)) != QN_OK) return st;
    for (int32_t i = 0; i < 3; i++) {
        if ((st = qn_move_need_dtype(c, i, RANGE_TYPES, err)) != QN_OK || (st = qn_move_need_rank(c, i, 0, 1, err)) != QN_OK) return st;
        if (c->in[i].dtype != QN_DTYPE_NONE && c->in[i].dtype != c->in[0].dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, start is %s", i, qn_dtype_name(c->in[i].dtype),
                                qn_dtype_name(c->in[0].dtype));
    }
    if (c->in_const[0] && c->in_const[1] && c->in_const[2]) {
        for (int32_t i = 0; i < 3; i++)
            if ((st = check_scalar(c->in_const[i], i, err)) != QN_OK) return st;
        if ((st = range_count(c->in_const[0], c->in_const[1], c->in_const[2], &n, err)) != QN_OK) return st;
        c->out[0].dims[0] = qn_dims_const(c->dims, n);
    }
    return range_known(c, err);
}

/* start + i * delta: one product and one sum each, so that element i does not depend on how many came before. */
static qn_status range_run(qn_run *r, qn_error *err)
{
    const qn_tensor *start = &r->in[0], *delta = &r->in[2];
    int64_t n, s, d;
    void *y;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < 3 && st == QN_OK; i++) st = check_scalar(&r->in[i], i, err);
    if (st != QN_OK || (st = range_count(start, &r->in[1], delta, &n, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 0, start->dtype, 1, &n, err)) != QN_OK) return st;
    y = r->out[0].data;
    s = qn_move_int(start, 0);
    d = qn_move_int(delta, 0);
    for (int64_t i = 0; i < n; i++) {
        switch (start->dtype) {
        case QN_F32: ((float *)y)[i] = *(const float *)start->data + (float)i * *(const float *)delta->data; break;
        case QN_F64: ((double *)y)[i] = *(const double *)start->data + (double)i * *(const double *)delta->data; break;
        case QN_I16: ((int16_t *)y)[i] = (int16_t)(s + i * d); break;
        case QN_I32: ((int32_t *)y)[i] = (int32_t)(s + i * d); break;
        default: ((int64_t *)y)[i] = (int64_t)((uint64_t)s + (uint64_t)i * (uint64_t)d); break;
        }
    }
    return QN_OK;
}

const qn_op qn_op_range = {
    .name = "Range",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = range_infer,
    .run = range_run,
};
