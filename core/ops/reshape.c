/* core/ops/reshape.c - Reshape, Flatten, Squeeze, Unsqueeze: another shape for the same bytes.
 * Spec   Reshape 1 (attribute shape), 5 on (input shape); 0 keeps the input's dimension at that place unless allowzero (14 on), one -1
 *        takes what is left.  Flatten 1 on.  Squeeze, Unsqueeze: axes an attribute before 13, an input from 13 on.
 * Infer  dims are expressions, so "what is left" is a quotient: equal factors of input and target cancel by id before anything is
 *        multiplied, which gives [N,16,5,5] -> [N,-1] = [N,400] without any rule of division. */
#include "core/graph/grad.h"
#include "core/ops/move.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <string.h>

/* -- Reshape -------------------------------------------------------------------------------------------------------------- */

/* Remove from a and b what both have; the lists keep their other factors. */
static void cancel(qn_dim *a, int32_t *na, qn_dim *b, int32_t *nb)
{
    for (int32_t i = 0; i < *na; i++) {
        for (int32_t j = 0; j < *nb; j++) {
            if (a[i] != b[j] || a[i] == QN_DIM_UNKNOWN) continue;
            a[i--] = a[--*na];
            b[j] = b[--*nb];
            break;
        }
    }
}

static qn_dim product(const qn_infer *c, const qn_dim *d, int32_t n)
{
    qn_dim p = qn_dims_const(c->dims, 1);

    for (int32_t i = 0; i < n; i++) p = qn_dims_mul(c->dims, p, d[i]);
    return p;
}

/* The one dimension of `out` at `hole` from those of the input. An axis that is kept (bit in `kept`) stands on both sides and does
 * not matter, empty or unknown as it may be. A 0 among the others makes any value right; 0 is what comes out. */
static qn_status fill_hole(const qn_infer *c, qn_type *out, int32_t hole, uint32_t kept, qn_error *err)
{
    qn_dim have[QN_MAX_RANK], rest[QN_MAX_RANK];
    int32_t n_have = 0, n_rest = 0;
    qn_dim total, known;
    int64_t t, k;

    for (int32_t i = 0; i < c->in[0].rank; i++)
        if (!(kept >> i & 1)) have[n_have++] = c->in[0].dims[i];
    for (int32_t i = 0; i < out->rank; i++)
        if (i != hole && !(kept >> i & 1)) rest[n_rest++] = out->dims[i];
    cancel(have, &n_have, rest, &n_rest);
    total = product(c, have, n_have);
    known = product(c, rest, n_rest);
    if (total == QN_DIM_UNKNOWN || known == QN_DIM_UNKNOWN) return QN_OK;
    if (qn_dims_value(c->dims, known, &k)) {
        if (k == 0) {
            out->dims[hole] = qn_dims_const(c->dims, 0);
            return QN_OK;
        }
        if (qn_dims_value(c->dims, total, &t) && t % k != 0)
            return qn_error_set(err, QN_ERR_SHAPE, "shape has -1 for %" PRId64 " elements over %" PRId64 ", which does not divide", t, k);
    }
    out->dims[hole] = qn_dims_floordiv(c->dims, total, known);
    return QN_OK;
}

/* Both products known and different. */
static qn_status check_totals(const qn_infer *c, const qn_type *out, qn_error *err)
{
    int64_t a = 1, b = 1, v;
    bool over = false, empty = false;

    for (int32_t i = 0; i < c->in[0].rank; i++)
        if (!qn_move_number(c, c->in[0].dims[i], &v) || !qn_i64_mul(a, v, &a)) return QN_OK;
    for (int32_t i = 0; i < out->rank; i++) {
        if (!qn_move_number(c, out->dims[i], &v)) return QN_OK;
        if (v == 0)
            empty = true;
        else if (!qn_i64_mul(b, v, &b))
            over = true;
    }
    if (empty)
        b = 0;
    else if (over)
        return qn_error_set(err, QN_ERR_SHAPE, "input has %" PRId64 " elements, shape asks for more than there can be", a);
    if (a != b) return qn_error_set(err, QN_ERR_SHAPE, "input has %" PRId64 " elements, shape asks for %" PRId64, a, b);
    return QN_OK;
}

static void pass_known(qn_infer *c)
{
    int32_t n;
    const qn_dim *e;

    if (c->out[0].rank < 0 || c->out[0].rank > 1) return;
    e = qn_move_known(c, 0, &n);
    if (e) qn_move_set_known(c, c->out[0].rank == 0 ? -1 : n, e);
}

static bool allowzero(const qn_node *node) { return node->opset >= 14 && qn_node_int(node, "allowzero", 0) != 0; }

/* Elements of the target shape: from the attribute of opset 1, or the input. *n is -1 if not even the count is known. */
static qn_status reshape_target(qn_infer *c, qn_dim *t, int32_t *n, qn_error *err)
{
    const qn_dim *e;
    qn_move_list list;
    qn_status st;

    *n = -1;
    if ((st = qn_move_list_infer(c, "shape", 1, &list, err)) != QN_OK) return st;
    if (list.how == QN_MOVE_ABSENT) return qn_error_set(err, QN_ERR_INVALID, "shape is left out");
    if (list.n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "shape of rank %" PRId32 ", at most %d", list.n, QN_MAX_RANK);
    *n = list.n;
    for (int32_t i = 0; i < QN_MAX_RANK; i++) t[i] = QN_DIM_UNKNOWN;
    if (list.how == QN_MOVE_NUMBERS) {
        for (int32_t i = 0; i < list.n; i++) t[i] = qn_dims_const(c->dims, list.v[i]);
    } else if ((e = qn_move_known(c, 1, &list.n)) != NULL && list.n <= QN_MAX_RANK) {
        *n = list.n;
        for (int32_t i = 0; i < list.n; i++) t[i] = e[i];
    }
    return QN_OK;
}

static qn_status reshape_infer(qn_infer *c, qn_error *err)
{
    qn_type *out = &c->out[0];
    qn_dim t[QN_MAX_RANK];
    int32_t n, hole = -1, n_unknown = 0, last_unknown = -1;
    uint32_t kept = 0;
    int64_t v;
    bool zero = false;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = reshape_target(c, t, &n, err)) != QN_OK) return st;
    qn_move_like(c, 0, out);
    out->rank = n;
    for (int32_t i = 0; i < n; i++) {
        out->dims[i] = t[i];
        if (t[i] == QN_DIM_UNKNOWN) {
            n_unknown++;
            last_unknown = i;
        }
        if (!qn_move_number(c, t[i], &v)) continue;
        if (v < -1) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected -1 or more", i, v);
        if (v == -1) {
            if (hole >= 0) return qn_error_set(err, QN_ERR_SHAPE, "shape has -1 at %" PRId32 " and %" PRId32 ", expected one", hole, i);
            hole = i;
            out->dims[i] = QN_DIM_UNKNOWN;
        } else if (v == 0 && !allowzero(c->node)) {
            if (c->in[0].rank >= 0 && i >= c->in[0].rank)
                return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is 0 (keep), input has rank %" PRId32, i, c->in[0].rank);
            out->dims[i] = c->in[0].rank < 0 ? QN_DIM_UNKNOWN : c->in[0].dims[i];
            kept |= 1u << i;
        } else if (v == 0) {
            zero = true;
        }
    }
    if (hole >= 0 && zero) return qn_error_set(err, QN_ERR_SHAPE, "shape has both -1 and 0, and allowzero is set");
    if (n < 0 || c->in[0].rank < 0) return QN_OK;
    if (hole < 0 && n_unknown == 1)
        hole = last_unknown; /* whatever it says, -1 included, the rest decides it */
    else if (hole >= 0 && n_unknown > 0)
        hole = -1;
    if (hole >= 0 && (st = fill_hole(c, out, hole, kept, err)) != QN_OK) return st;
    if ((st = check_totals(c, out, err)) != QN_OK) return st;
    pass_known(c);
    return QN_OK;
}

/* The shape at run time: the same rules on numbers. */
static qn_status reshape_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list list;
    int64_t left = 1, known = 1, n;
    int32_t hole = -1;
    uint32_t kept = 0;
    qn_status st = qn_move_list_run(r, "shape", 1, &list, err);

    (void)o;
    if (st != QN_OK) return st;
    if (list.n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "shape of rank %" PRId32 ", at most %d", list.n, QN_MAX_RANK);
    *rank = list.n;
    for (int32_t i = 0; i < list.n; i++) {
        dims[i] = list.v[i];
        if (dims[i] < -1) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected -1 or more", i, dims[i]);
        if (dims[i] == -1) {
            if (hole >= 0) return qn_error_set(err, QN_ERR_SHAPE, "shape has -1 at %" PRId32 " and %" PRId32 ", expected one", hole, i);
            hole = i;
        } else if (dims[i] == 0 && !allowzero(r->node)) {
            if (i >= x->rank) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is 0 (keep), input has rank %" PRId32, i, x->rank);
            dims[i] = x->dims[i];
            kept |= 1u << i;
        } else if (!qn_i64_mul(known, dims[i], &known)) {
            return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ": more elements than the input has", i, dims[i]);
        }
    }
    for (int32_t i = 0; i < x->rank; i++)
        if (!(kept >> i & 1)) left = qn_move_span((const int64_t[]){ left, x->dims[i] }, 0, 2);
    if (hole >= 0) {
        if (known != 0 && left % known != 0)
            return qn_error_set(err, QN_ERR_SHAPE, "shape has -1 for %" PRId64 " elements over %" PRId64 ", which does not divide", left,
                                known);
        dims[hole] = known ? left / known : 0;
    }
    if ((st = qn_shape_count(*rank, dims, &n, err)) != QN_OK) return st;
    if (n != qn_tensor_count(x))
        return qn_error_set(err, QN_ERR_SHAPE, "input has %" PRId64 " elements, shape asks for %" PRId64, qn_tensor_count(x), n);
    return QN_OK;
}

static qn_status reshape_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, reshape_dims, qn_move_same_bytes, err); }

/* The batch axis survives where an output axis has the same dim and the same number of rows before it: then a row's elements are
 * the same stretches of memory on both sides. */
static void reshape_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    const qn_type *x = &c->in[0], *y = &c->out[0];
    int32_t a = in_axis[0];

    if (!qn_move_rows_only(c, in_axis, 0) || x->rank < 0 || y->rank < 0 || x->dims[a] == QN_DIM_UNKNOWN) return;
    for (int32_t b = 0; b < y->rank; b++) {
        qn_dim before_x[QN_MAX_RANK], before_y[QN_MAX_RANK];
        int32_t nx = a, ny = b;

        if (y->dims[b] != x->dims[a]) continue;
        for (int32_t i = 0; i < a; i++) before_x[i] = x->dims[i];
        for (int32_t i = 0; i < b; i++) before_y[i] = y->dims[i];
        cancel(before_x, &nx, before_y, &ny);
        if (product(c, before_x, nx) != product(c, before_y, ny) || product(c, before_x, nx) == QN_DIM_UNKNOWN) continue;
        out_axis[0] = b;
        return;
    }
}

static void same_elements_grad(qn_builder *b) { qn_grad_give(b, 0, qn_grad_reshape(b, qn_grad_of(b, 0), qn_grad_in(b, 0))); }

const qn_op qn_op_reshape = {
    .name = "Reshape",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VIEW,
    .infer = reshape_infer,
    .rows = reshape_rows,
    .run = reshape_run,
    .grad = same_elements_grad,
};

/* -- Flatten -------------------------------------------------------------------------------------------------------------- */

/* Unlike other axes this one may also be the rank. */
static qn_status flatten_axis(const qn_node *node, int32_t rank, int32_t *axis, qn_error *err)
{
    int64_t a = qn_node_int(node, "axis", 1);

    if (a < -rank || a > rank) return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 ", rank %" PRId32, a, rank);
    *axis = (int32_t)(a < 0 ? a + rank : a);
    return QN_OK;
}

static qn_status flatten_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_status st = qn_move_need(c, 1, err);
    int32_t axis;

    if (st != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    c->out[0].rank = 2;
    if (x->rank < 0) return QN_OK;
    if ((st = flatten_axis(c->node, x->rank, &axis, err)) != QN_OK) return st;
    c->out[0].dims[0] = product(c, x->dims, axis);
    c->out[0].dims[1] = product(c, x->dims + axis, x->rank - axis);
    return QN_OK;
}

static qn_status flatten_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t axis;
    qn_status st = flatten_axis(r->node, x->rank, &axis, err);

    (void)o;
    if (st != QN_OK) return st;
    *rank = 2;
    dims[0] = qn_move_span(x->dims, 0, axis);
    dims[1] = qn_move_span(x->dims, axis, x->rank);
    return QN_OK;
}

static qn_status flatten_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, flatten_dims, qn_move_same_bytes, err); }

const qn_op qn_op_flatten = {
    .name = "Flatten",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VIEW,
    .infer = flatten_infer,
    .rows = reshape_rows,
    .run = flatten_run,
    .grad = same_elements_grad,
};

/* -- Squeeze -------------------------------------------------------------------------------------------------------------- */

static qn_status squeeze_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type *out = &c->out[0];
    qn_move_list axes;
    uint32_t gone = 0;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_list_infer(c, "axes", 1, &axes, err)) != QN_OK) return st;
    qn_move_like(c, 0, out);
    out->rank = -1;
    if (x->rank < 0) return QN_OK;
    if (axes.how == QN_MOVE_UNKNOWN) {
        if (axes.n >= 0 && axes.n <= x->rank) out->rank = x->rank - axes.n;
        return QN_OK;
    }
    if (axes.how == QN_MOVE_NUMBERS) {
        if ((st = qn_move_axes(&axes, x->rank, err)) != QN_OK) return st;
        for (int32_t i = 0; i < axes.n; i++) {
            int64_t v;

            if (qn_move_number(c, x->dims[axes.v[i]], &v) && v != 1)
                return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 " has size %" PRId64 ", expected 1", axes.v[i], v);
            gone |= 1u << axes.v[i];
        }
    } else {
        for (int32_t a = 0; a < x->rank; a++) {
            int64_t v;

            if (!qn_move_number(c, x->dims[a], &v)) return QN_OK; /* a symbol may turn out to be 1: not even the rank is known */
            if (v == 1) gone |= 1u << a;
        }
    }
    out->rank = 0;
    for (int32_t a = 0; a < x->rank; a++)
        if (!(gone >> a & 1)) out->dims[out->rank++] = x->dims[a];
    pass_known(c);
    return QN_OK;
}

static qn_status squeeze_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list axes;
    uint32_t gone = 0;
    qn_status st = qn_move_list_run(r, "axes", 1, &axes, err);

    (void)o;
    if (st != QN_OK || (st = qn_move_axes(&axes, x->rank, err)) != QN_OK) return st;
    for (int32_t i = 0; i < axes.n; i++) {
        int64_t size = x->dims[axes.v[i]];

        if (size != 1) return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 " has size %" PRId64 ", expected 1", axes.v[i], size);
        gone |= 1u << axes.v[i];
    }
    *rank = 0;
    for (int32_t a = 0; a < x->rank; a++)
        if (axes.how == QN_MOVE_ABSENT ? x->dims[a] != 1 : !(gone >> a & 1)) dims[(*rank)++] = x->dims[a];
    return QN_OK;
}

static qn_status squeeze_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, squeeze_dims, qn_move_same_bytes, err); }

const qn_op qn_op_squeeze = {
    .name = "Squeeze",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VIEW,
    .infer = squeeze_infer,
    .rows = reshape_rows,
    .run = squeeze_run,
    .grad = same_elements_grad,
};

/* -- Unsqueeze ------------------------------------------------------------------------------------------------------------ */

static qn_status unsqueeze_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type *out = &c->out[0];
    qn_move_list axes;
    uint32_t made = 0;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_list_infer(c, "axes", 1, &axes, err)) != QN_OK) return st;
    if (axes.how == QN_MOVE_ABSENT) return qn_error_set(err, QN_ERR_INVALID, "axes are left out");
    qn_move_like(c, 0, out);
    out->rank = -1;
    if (x->rank < 0 || axes.n < 0) return QN_OK;
    if (x->rank + axes.n > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId32 ", at most %d", x->rank + axes.n, QN_MAX_RANK);
    out->rank = x->rank + axes.n;
    if (axes.how == QN_MOVE_UNKNOWN) return QN_OK;
    if ((st = qn_move_axes(&axes, out->rank, err)) != QN_OK) return st;
    for (int32_t i = 0; i < axes.n; i++) made |= 1u << axes.v[i];
    for (int32_t a = 0, from = 0; a < out->rank; a++) out->dims[a] = made >> a & 1 ? qn_dims_const(c->dims, 1) : x->dims[from++];
    pass_known(c);
    return QN_OK;
}

static qn_status unsqueeze_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list axes;
    uint32_t made = 0;
    qn_status st = qn_move_list_run(r, "axes", 1, &axes, err);

    (void)o;
    if (st != QN_OK) return st;
    if (x->rank + axes.n > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId32 ", at most %d", x->rank + axes.n, QN_MAX_RANK);
    *rank = x->rank + axes.n;
    if ((st = qn_move_axes(&axes, *rank, err)) != QN_OK) return st;
    for (int32_t i = 0; i < axes.n; i++) made |= 1u << axes.v[i];
    for (int32_t a = 0, from = 0; a < *rank; a++) dims[a] = made >> a & 1 ? 1 : x->dims[from++];
    return QN_OK;
}

static qn_status unsqueeze_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, unsqueeze_dims, qn_move_same_bytes, err); }

const qn_op qn_op_unsqueeze = {
    .name = "Unsqueeze",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VIEW,
    .infer = unsqueeze_infer,
    .rows = reshape_rows,
    .run = unsqueeze_run,
    .grad = same_elements_grad,
};
