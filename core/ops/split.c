/* core/ops/split.c - Split: pieces along an axis.
 * Spec   ONNX Split 1 (lengths: attribute or input), 2 (attribute split), 13 (input), 18 (num_outputs: equal chunks, the last one may
 *        be shorter). Without lengths before 18 the pieces are equal and the axis must divide. */
#include "core/ops/move.h"

#include "core/base/checked.h"

#include <inttypes.h>

/* Length of piece i of n when none is given. Fails with QN_ERR_SHAPE. */
static qn_status equal_piece(const qn_node *node, int64_t size, int32_t i, int64_t *len, qn_error *err)
{
    int64_t n = node->n_out, chunk = size / n + (size % n != 0), first, left;

    if (node->opset < 18 && size % n != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "axis of size %" PRId64 " into %" PRId64 " equal outputs, which does not divide", size, n);
    if (!qn_i64_mul(chunk, i, &first)) first = size;
    left = first < size ? size - first : 0;
    *len = left < chunk ? left : chunk;
    return QN_OK;
}

static qn_status check_count(const qn_node *node, int64_t n_given, qn_error *err)
{
    const qn_attr *a = qn_node_attr(node, "num_outputs");

    if (n_given >= 0 && n_given != node->n_out)
        return qn_error_set(err, QN_ERR_SHAPE, "split has %" PRId64 " lengths for %" PRId32 " outputs", n_given, node->n_out);
    if (a && n_given < 0 && a->i != node->n_out)
        return qn_error_set(err, QN_ERR_INVALID, "num_outputs is %" PRId64 ", the node has %" PRId32 " outputs", a->i, node->n_out);
    return QN_OK;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* The lengths as dims into out[i].dims[axis]. */
static qn_status infer_lengths(qn_infer *c, int32_t axis, qn_error *err)
{
    const qn_node *node = c->node;
    const qn_dim size = c->in[0].dims[axis];
    int64_t n_attr, v, total = 0, whole;
    const int64_t *attr = qn_node_ints(node, "split", &n_attr);
    const bool given = qn_infer_has(c, 1);
    int32_t n = -1;
    const qn_dim *e = given && !attr ? qn_move_known(c, 1, &n) : NULL;
    bool numbers = true;
    qn_status st;

    if ((attr || e || !given) && (st = check_count(node, attr ? n_attr : e ? n : -1, err)) != QN_OK) return st;
    for (int32_t i = 0; i < node->n_out; i++) {
        qn_dim *d = &c->out[i].dims[axis];

        if (attr) {
            *d = qn_dims_const(c->dims, attr[i]);
        } else if (given) {
            *d = e ? e[i] : QN_DIM_UNKNOWN;
        } else if (qn_move_number(c, size, &v)) {
            if ((st = equal_piece(node, v, i, &v, err)) != QN_OK) return st;
            *d = qn_dims_const(c->dims, v);
        } else if (node->opset < 18) { /* the axis divides, or the run fails */
            *d = qn_dims_floordiv(c->dims, size, qn_dims_const(c->dims, node->n_out));
        } else {
            qn_dim chunk = qn_dims_ceildiv(c->dims, size, qn_dims_const(c->dims, node->n_out)),
                   first = qn_dims_mul(c->dims, chunk, qn_dims_const(c->dims, i));

            *d = qn_dims_max(c->dims, qn_dims_const(c->dims, 0), qn_dims_min(c->dims, chunk, qn_dims_sub(c->dims, size, first)));
        }
        if (!qn_move_number(c, *d, &v)) {
            numbers = false;
        } else if (v < 0) {
            return qn_error_set(err, QN_ERR_SHAPE, "split[%" PRId32 "] is %" PRId64 ", expected 0 or more", i, v);
        } else if (!qn_i64_add(total, v, &total)) {
            return qn_error_set(err, QN_ERR_SHAPE, "the lengths in split overflow");
        }
    }
    if (numbers && qn_move_number(c, size, &whole) && whole != total)
        return qn_error_set(err, QN_ERR_SHAPE, "the lengths in split add up to %" PRId64 ", axis %" PRId32 " has size %" PRId64, total,
                            axis, whole);
    return QN_OK;
}

static void split_known(qn_infer *c)
{
    int32_t n, at = 0;
    const qn_dim *e = qn_move_known(c, 0, &n);

    if (!e) return;
    for (int32_t i = 0; i < c->node->n_out; i++) {
        int64_t len;
        qn_known *k;

        if (!qn_move_number(c, c->out[i].dims[0], &len) || len > n - at) return;
        k = qn_infer_known(c, (int32_t)len);
        if (!k) return;
        for (int32_t j = 0; j < k->n; j++) k->elems[j] = e[at + j];
        c->out_known[i] = k;
        at += (int32_t)len;
    }
}

static qn_status split_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t axis;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 1, 1, 1, err)) != QN_OK) return st;
    if (c->node->opset >= 2 && (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    for (int32_t i = 0; i < c->node->n_out; i++) qn_move_like(c, 0, &c->out[i]);
    if (x->rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err)) != QN_OK) return st;
    for (int32_t i = 0; i < c->node->n_out; i++)
        for (int32_t a = 0; a < x->rank; a++) c->out[i].dims[a] = x->dims[a];
    if ((st = infer_lengths(c, axis, err)) != QN_OK) return st;
    if (x->rank == 1) split_known(c);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* Length of piece i; where they are given, what check_lengths() found to add up. */
static qn_status piece(const qn_run *r, int64_t size, int32_t i, int64_t *len, qn_error *err)
{
    int64_t n;
    const int64_t *attr = qn_node_ints(r->node, "split", &n);

    if (attr)
        *len = attr[i];
    else if (qn_move_has(r, 1))
        *len = qn_move_int(&r->in[1], i);
    else
        return equal_piece(r->node, size, i, len, err);
    return QN_OK;
}

static qn_status check_lengths(const qn_run *r, int32_t axis, qn_error *err)
{
    int64_t n = -1, total = 0, len = 0, size = r->in[0].dims[axis];
    const int64_t *attr = qn_node_ints(r->node, "split", &n);
    qn_status st;

    if (!attr) n = qn_move_has(r, 1) ? qn_tensor_count(&r->in[1]) : -1;
    if ((st = check_count(r->node, n, err)) != QN_OK) return st;
    for (int32_t i = 0; i < r->node->n_out; i++) {
        if ((st = piece(r, size, i, &len, err)) != QN_OK) return st;
        if (len < 0 || !qn_i64_add(total, len, &total))
            return qn_error_set(err, QN_ERR_SHAPE, "split[%" PRId32 "] is %" PRId64 ", axis %" PRId32 " has size %" PRId64, i, len, axis,
                                size);
    }
    if (total != size)
        return qn_error_set(err, QN_ERR_SHAPE, "the lengths in split add up to %" PRId64 ", axis %" PRId32 " has size %" PRId64, total,
                            axis, size);
    return QN_OK;
}

static qn_status split_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t axis;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK) return st;
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = x->dims[a];
    return piece(r, x->dims[axis], o, &dims[axis], err);
}

static qn_status split_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t elem = qn_dtype_size(x->dtype);
    int32_t axis;
    int64_t inner, at = 0;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK) return st;
    inner = qn_move_span(x->dims, axis + 1, x->rank);
    for (int32_t i = 0; i < r->node->n_out; i++) {
        int64_t len, run;
        qn_move m = { .rank = 2 };

        if ((st = piece(r, x->dims[axis], i, &len, err)) != QN_OK) return st;
        run = len * inner;
        m.dims[0] = qn_move_span(x->dims, 0, axis);
        m.dims[1] = run;
        m.src[0] = x->dims[axis] * inner;
        m.dst[0] = run;
        m.src[1] = m.dst[1] = 1;
        if (qn_move_wants(r, i)) qn_move_copy(&m, elem, (const char *)x->data + (size_t)at * elem, r->out[i].data, r->team);
        at += run;
    }
    return QN_OK;
}

static qn_status split_run(qn_run *r, qn_error *err)
{
    int32_t axis;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), r->in[0].rank, &axis, err);

    if (st != QN_OK || (st = check_lengths(r, axis, err)) != QN_OK) return st;
    return qn_move_run(r, 0, split_dims, split_fill, err);
}

static void split_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) != QN_OK || axis == in_axis[0]) return;
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = in_axis[0];
}

const qn_op qn_op_split = {
    .name = "Split",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = INT32_MAX,
    .infer = split_infer,
    .rows = split_rows,
    .run = split_run,
    .kernels = "move",
};
