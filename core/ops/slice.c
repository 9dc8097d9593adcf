/* core/ops/slice.c - Slice: a range with a step along some axes.
 * Spec   ONNX Slice 1 (attributes starts, ends, axes; step 1), 10 on (inputs, steps). A start or end below 0 counts from the end, and
 *        then both are clamped: for a step above 0 to [0, d], below 0 the start to [0, d-1] and the end to [-1, d-1]. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/tensor/shape.h"

#include <inttypes.h>

/* -- numbers -------------------------------------------------------------------------------------------------------------- */

typedef struct range {
    int64_t start, step, n;
} range;

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

static range make_range(int64_t start, int64_t end, int64_t step, int64_t d)
{
    range r = { 0, step, 0 };

    if (start < 0) start += d; /* d >= 0: INT64_MIN stays far below zero */
    if (end < 0) end += d;
    if (d == 0) return r;
    if (step > 0) {
        start = clamp(start, 0, d);
        end = clamp(end, 0, d);
        if (end > start) r.n = (end - start - 1) / step + 1;
    } else {
        start = clamp(start, 0, d - 1);
        end = clamp(end, -1, d - 1);
        if (step == INT64_MIN) step++; /* so that it can be negated; no axis is that long */
        if (start > end) r.n = (start - end - 1) / -step + 1;
    }
    r.start = start;
    r.step = step;
    return r;
}

/* Missing axes are 0, 1, ...; missing steps are 1. */
static qn_status complete(qn_move_list *axes, qn_move_list *steps, int32_t n, int32_t rank, qn_error *err)
{
    if (axes->how == QN_MOVE_ABSENT) {
        axes->how = QN_MOVE_NUMBERS;
        axes->n = n;
        for (int32_t i = 0; i < n; i++) axes->v[i] = i;
    }
    if (steps->how == QN_MOVE_ABSENT) {
        steps->how = QN_MOVE_NUMBERS;
        steps->n = n;
        for (int32_t i = 0; i < n; i++) steps->v[i] = 1;
    }
    if (axes->how == QN_MOVE_NUMBERS) {
        if (axes->n != n) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " axes for %" PRId32 " starts", axes->n, n);
        if (rank >= 0) return qn_move_axes(axes, rank, err);
    }
    return QN_OK;
}

static qn_status check_steps(const qn_move_list *steps, int32_t n, qn_error *err)
{
    if (steps->n != n) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " steps for %" PRId32 " starts", steps->n, n);
    for (int32_t i = 0; i < n; i++)
        if (steps->v[i] == 0) return qn_error_set(err, QN_ERR_INVALID, "steps[%" PRId32 "] is 0", i);
    return QN_OK;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Starts or ends as dims: numbers, or expressions such as Shape gives. NULL where not known. */
static qn_status bounds(qn_infer *c, const char *attr, int32_t i, qn_dim *buf, const qn_dim **out, int32_t *n, qn_error *err)
{
    qn_move_list list;
    qn_status st = qn_move_list_infer(c, attr, i, &list, err);

    *out = NULL;
    *n = list.n;
    if (st != QN_OK) return st;
    if (list.how == QN_MOVE_ABSENT) return qn_error_set(err, QN_ERR_INVALID, "%s are left out", attr);
    if (list.n > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId32 " elements, at most one for each axis", attr, list.n);
    if (list.how == QN_MOVE_NUMBERS) {
        for (int32_t k = 0; k < list.n; k++) buf[k] = qn_dims_const(c->dims, list.v[k]);
        *out = buf;
    } else {
        int32_t m;

        *out = qn_move_known(c, i, &m);
        if (*out && m <= QN_MAX_RANK)
            *n = m;
        else
            *out = NULL;
    }
    return QN_OK;
}

/* A start or end as a place in [0, d], for a step above 0; UNKNOWN if its sign cannot be told. */
static qn_dim place(const qn_infer *c, qn_dim v, qn_dim d)
{
    qn_dim zero = qn_dims_const(c->dims, 0);
    int64_t k;

    if (v == QN_DIM_UNKNOWN || d == QN_DIM_UNKNOWN) return QN_DIM_UNKNOWN;
    if (qn_dims_nonneg(c->dims, v)) return qn_dims_min(c->dims, v, d);
    if (!qn_dims_value(c->dims, v, &k)) return QN_DIM_UNKNOWN;
    if (k < -(INT64_C(1) << 62)) return zero; /* below every size */
    return qn_dims_max(c->dims, zero, qn_dims_add(c->dims, d, v));
}

static qn_dim range_dim(const qn_infer *c, qn_dim start, qn_dim end, int64_t step, qn_dim d)
{
    int64_t s, e, size;
    qn_dim n;

    if (qn_move_number(c, start, &s) && qn_move_number(c, end, &e)) {
        if (qn_move_number(c, d, &size)) return qn_dims_const(c->dims, make_range(s, e, step, size).n);
        if (step < 0 && (s == -1 || s >= INT32_MAX) && e <= INT32_MIN) /* the whole axis backwards */
            return step == -1 ? d : qn_dims_ceildiv(c->dims, d, qn_dims_const(c->dims, step == INT64_MIN ? INT64_MAX : -step));
        if (s >= 0 && e >= 0 && e <= s && step > 0) return qn_dims_const(c->dims, 0);
    }
    if (step < 0) return QN_DIM_UNKNOWN;
    n = qn_dims_sub(c->dims, place(c, end, d), place(c, start, d));
    n = qn_dims_max(c->dims, n, qn_dims_const(c->dims, 0));
    return step == 1 ? n : qn_dims_ceildiv(c->dims, n, qn_dims_const(c->dims, step));
}

/* A slice of a known list by known numbers. */
static void slice_known(qn_infer *c, const qn_dim *start, const qn_dim *end, const qn_move_list *steps, int32_t n)
{
    qn_dim kept[QN_KNOWN_MAX];
    int32_t size;
    const qn_dim *e = qn_move_known(c, 0, &size);
    range r = { 0, 1, size };
    int64_t s, t;

    if (!e || n > 1 || size > QN_KNOWN_MAX) return;
    if (n == 1) {
        if (!qn_move_number(c, start[0], &s) || !qn_move_number(c, end[0], &t)) return;
        r = make_range(s, t, steps->v[0], size);
    }
    for (int64_t i = 0; i < r.n; i++) kept[i] = e[r.start + i * r.step];
    qn_move_set_known(c, (int32_t)r.n, kept);
}

static qn_status slice_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type *out = &c->out[0];
    qn_move_list axes, steps;
    qn_dim starts[QN_MAX_RANK], ends[QN_MAX_RANK];
    const qn_dim *start, *end;
    int32_t n, n_end;
    qn_status st;

    if ((st = qn_move_need(c, c->node->opset >= 10 ? 3 : 1, err)) != QN_OK) return st;
    if ((st = bounds(c, "starts", 1, starts, &start, &n, err)) != QN_OK || (st = bounds(c, "ends", 2, ends, &end, &n_end, err)) != QN_OK)
        return st;
    if ((st = qn_move_list_infer(c, "axes", 3, &axes, err)) != QN_OK || (st = qn_move_list_infer(c, "steps", 4, &steps, err)) != QN_OK)
        return st;
    if (n >= 0 && n_end >= 0 && n != n_end) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " starts, %" PRId32 " ends", n, n_end);
    qn_move_like(c, 0, out);
    if (n < 0) n = n_end;
    if (n < 0) return QN_OK;
    if ((st = complete(&axes, &steps, n, x->rank, err)) != QN_OK) return st;
    if (steps.how == QN_MOVE_NUMBERS && (st = check_steps(&steps, n, err)) != QN_OK) return st;
    if (x->rank < 0 || axes.how != QN_MOVE_NUMBERS) return QN_OK;
    for (int32_t a = 0; a < x->rank; a++) out->dims[a] = x->dims[a];
    for (int32_t i = 0; i < n; i++) {
        qn_dim *d = &out->dims[axes.v[i]];

        if (start && end && steps.how == QN_MOVE_NUMBERS)
            *d = range_dim(c, start[i], end[i], steps.v[i], *d);
        else
            *d = QN_DIM_UNKNOWN;
    }
    if (x->rank == 1 && start && end && steps.how == QN_MOVE_NUMBERS) slice_known(c, start, end, &steps, n);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* The range of every axis. */
static qn_status ranges(const qn_run *r, range *of, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list starts, ends, axes, steps;
    qn_status st;

    if ((st = qn_move_list_run(r, "starts", 1, &starts, err)) != QN_OK || (st = qn_move_list_run(r, "ends", 2, &ends, err)) != QN_OK)
        return st;
    if ((st = qn_move_list_run(r, "axes", 3, &axes, err)) != QN_OK || (st = qn_move_list_run(r, "steps", 4, &steps, err)) != QN_OK)
        return st;
    if (starts.n != ends.n) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " starts, %" PRId32 " ends", starts.n, ends.n);
    if ((st = complete(&axes, &steps, starts.n, x->rank, err)) != QN_OK || (st = check_steps(&steps, starts.n, err)) != QN_OK) return st;
    for (int32_t a = 0; a < x->rank; a++) of[a] = (range){ 0, 1, x->dims[a] };
    for (int32_t i = 0; i < starts.n; i++) of[axes.v[i]] = make_range(starts.v[i], ends.v[i], steps.v[i], x->dims[axes.v[i]]);
    return QN_OK;
}

static qn_status slice_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    range of[QN_MAX_RANK];
    qn_status st = ranges(r, of, err);

    (void)o;
    if (st != QN_OK) return st;
    *rank = r->in[0].rank;
    for (int32_t a = 0; a < *rank; a++) dims[a] = of[a].n;
    return QN_OK;
}

static qn_status slice_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t elem = qn_dtype_size(x->dtype);
    range of[QN_MAX_RANK];
    int64_t strides[QN_MAX_RANK], at = 0;
    qn_move m = { .rank = x->rank };
    qn_status st = ranges(r, of, err);

    if (st != QN_OK) return st;
    qn_shape_strides(x->rank, x->dims, strides);
    for (int32_t a = 0; a < x->rank; a++) {
        if (of[a].n == 0) return QN_OK;
        m.dims[a] = of[a].n;
        m.src[a] = of[a].n == 1 ? 0 : strides[a] * of[a].step; /* a step beyond the axis is never taken, and could overflow */
        at += strides[a] * of[a].start;
    }
    qn_shape_strides(x->rank, m.dims, m.dst);
    qn_move_copy(&m, elem, (const char *)x->data + (size_t)at * elem, r->out[0].data, r->team);
    return QN_OK;
}

static qn_status slice_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, slice_dims, slice_fill, err); }

/* Where axis a stands in the list of sliced axes; -1: nowhere, -2: it cannot be told. */
static int32_t find_axis(const qn_infer *c, int32_t a)
{
    int64_t n = 0, v;
    const int64_t *attr = qn_node_ints(c->node, "axes", &n);

    if (attr || qn_infer_has(c, 3)) {
        if (!attr && (c->in[3].rank != 1 || !qn_move_number(c, c->in[3].dims[0], &n))) return -2;
        for (int32_t i = 0; i < n; i++) {
            if (attr)
                v = attr[i];
            else if (!qn_move_known_at(c, 3, i, &v))
                return -2;
            if ((v < 0 ? v + c->in[0].rank : v) == a) return i;
        }
        return -1;
    }
    if (!qn_node_ints(c->node, "starts", &n)) { /* left out: the first ones */
        if (!qn_infer_has(c, 1) || c->in[1].rank != 1 || !qn_move_number(c, c->in[1].dims[0], &n)) return -2;
    }
    return a < n ? a : -1;
}

/* The batch axis must stay whole: not sliced, or with step 1 to a dim that is provably the same. */
static void slice_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t a = in_axis[0], i;
    int64_t step = 1;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || c->out[0].rank < 0) return;
    i = find_axis(c, a);
    if (i == -2) return;
    if (i >= 0) {
        if (c->in[0].dims[a] == QN_DIM_UNKNOWN || c->in[0].dims[a] != c->out[0].dims[a]) return;
        if (qn_infer_has(c, 4) && (!qn_move_known_at(c, 4, i, &step) || step != 1)) return;
    }
    out_axis[0] = a;
}

const qn_op qn_op_slice = {
    .name = "Slice",
    .since = 1,
    .min_in = 1,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = slice_infer,
    .rows = slice_rows,
    .run = slice_run,
    .cost = qn_cost_selected,
    .kernels = "move",
};
