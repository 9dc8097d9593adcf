/* core/ops/expand.c - Expand and Tile: the same elements several times.
 * Spec   Expand 8 on: input and the shape broadcast to each other, so a 1 in the shape keeps the input's dimension.
 *        Tile 6 on: repeats[a] copies along axis a. */
#include "core/graph/grad.h"
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/tensor/broadcast.h"
#include "core/tensor/shape.h"

#include <inttypes.h>

/* -- Expand --------------------------------------------------------------------------------------------------------------- */

static void expand_known(qn_infer *c)
{
    qn_dim all[QN_KNOWN_MAX];
    int32_t n;
    int64_t m;
    const qn_dim *e = qn_move_known(c, 0, &n);

    if (!e || c->out[0].rank > 1) return;
    if (c->out[0].rank == 0) {
        qn_move_set_known(c, -1, e);
    } else if (qn_move_number(c, c->out[0].dims[0], &m) && m <= QN_KNOWN_MAX && n > 0) {
        for (int32_t i = 0; i < m; i++) all[i] = e[n == 1 ? 0 : i];
        qn_move_set_known(c, (int32_t)m, all);
    }
}

static qn_status expand_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type *out = &c->out[0];
    const qn_dim one = qn_dims_const(c->dims, 1);
    qn_move_list list;
    const qn_dim *shape;
    int32_t n, rank;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_list_infer(c, NULL, 1, &list, err)) != QN_OK) return st;
    if (list.n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "shape of rank %" PRId32 ", at most %d", list.n, QN_MAX_RANK);
    qn_move_like(c, 0, out);
    out->rank = -1;
    if (x->rank < 0 || list.n < 0) return QN_OK;
    shape = qn_move_known(c, 1, &n);
    if (n != list.n) shape = NULL;
    rank = x->rank > list.n ? x->rank : list.n;
    out->rank = rank;
    for (int32_t a = 0; a < rank; a++) {
        int32_t ia = a - (rank - x->rank), is = a - (rank - list.n);
        qn_dim have = ia < 0 ? one : x->dims[ia], want = is < 0 ? one : shape ? shape[is] : QN_DIM_UNKNOWN;
        int64_t v;

        if (qn_move_number(c, want, &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", is, v);
        if (!qn_move_join(c, have, want, false, &out->dims[a]))
            return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " of the input does not stretch to what shape asks for", ia);
    }
    expand_known(c);
    return QN_OK;
}

static qn_status expand_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list list;
    qn_status st = qn_move_list_run(r, NULL, 1, &list, err);

    (void)o;
    if (st != QN_OK) return st;
    if (list.n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "shape of rank %" PRId32 ", at most %d", list.n, QN_MAX_RANK);
    for (int32_t i = 0; i < list.n; i++)
        if (list.v[i] < 0) return qn_error_set(err, QN_ERR_SHAPE, "shape[%" PRId32 "] is %" PRId64 ", expected 0 or more", i, list.v[i]);
    return qn_broadcast_shape(x->rank, x->dims, list.n, list.v, rank, dims, err);
}

static qn_status expand_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    qn_move m = { .rank = y->rank };

    (void)err;
    for (int32_t a = 0; a < y->rank; a++) m.dims[a] = y->dims[a];
    qn_shape_strides(y->rank, y->dims, m.dst);
    qn_broadcast_strides(x->rank, x->dims, y->rank, y->dims, m.src);
    qn_move_copy(&m, qn_dtype_size(x->dtype), x->data, y->data, r->team);
    return QN_OK;
}

static qn_status expand_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, expand_dims, expand_fill, err); }

/* The batch axis keeps its dim; being stretched from 1 would make rows out of nothing. */
static void expand_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t a;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || c->out[0].rank < 0) return;
    a = in_axis[0] + c->out[0].rank - c->in[0].rank;
    if (c->in[0].dims[in_axis[0]] != QN_DIM_UNKNOWN && c->out[0].dims[a] == c->in[0].dims[in_axis[0]]) out_axis[0] = a;
}

static void expand_grad(qn_builder *b) { qn_grad_give(b, 0, qn_grad_of(b, 0)); } /* giving sums it */

const qn_op qn_op_expand = {
    .name = "Expand",
    .since = 8,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = expand_infer,
    .rows = expand_rows,
    .run = expand_run,
    .grad = expand_grad,
    .kernels = "move",
};

/* -- Tile ----------------------------------------------------------------------------------------------------------------- */

static void tile_known(qn_infer *c)
{
    qn_dim all[QN_KNOWN_MAX];
    int32_t n;
    int64_t m;
    const qn_dim *e = qn_move_known(c, 0, &n);

    if (!e || c->out[0].rank != 1 || !qn_move_number(c, c->out[0].dims[0], &m) || m > QN_KNOWN_MAX) return;
    for (int32_t i = 0; i < m; i++) all[i] = e[i % n];
    qn_move_set_known(c, (int32_t)m, all);
}

static qn_status tile_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t n;
    const qn_dim *repeats;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, 1u << QN_I64, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 1, 1, 1, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (x->rank < 0) return QN_OK;
    repeats = qn_move_known(c, 1, &n);
    if (repeats && n != x->rank) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " repeats for rank %" PRId32, n, x->rank);
    for (int32_t a = 0; a < x->rank; a++) {
        int64_t v;

        if (!repeats) continue;
        if (qn_move_number(c, repeats[a], &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "repeats[%" PRId32 "] is %" PRId64 ", expected 0 or more", a, v);
        c->out[0].dims[a] = qn_dims_mul(c->dims, x->dims[a], repeats[a]);
    }
    tile_known(c);
    return QN_OK;
}

static qn_status tile_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_move_list list;
    qn_status st = qn_move_list_run(r, NULL, 1, &list, err);

    (void)o;
    if (st != QN_OK) return st;
    if (list.n != x->rank) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " repeats for rank %" PRId32, list.n, x->rank);
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) {
        if (list.v[a] < 0 || !qn_i64_mul(x->dims[a], list.v[a], &dims[a]))
            return qn_error_set(err, QN_ERR_SHAPE, "repeats[%" PRId32 "] is %" PRId64 " for size %" PRId64, a, list.v[a], x->dims[a]);
    }
    return QN_OK;
}

/* Every axis as two: the copy, which src does not move for, and the place inside. */
static qn_status tile_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    int64_t from[QN_MAX_RANK], to[QN_MAX_RANK];
    qn_move m = { .rank = 2 * x->rank };

    (void)err;
    if (qn_tensor_count(y) == 0) return QN_OK;
    qn_shape_strides(x->rank, x->dims, from);
    qn_shape_strides(y->rank, y->dims, to);
    for (int32_t a = 0; a < x->rank; a++) {
        m.dims[2 * a] = y->dims[a] / x->dims[a];
        m.src[2 * a] = 0;
        m.dst[2 * a] = to[a] * x->dims[a];
        m.dims[2 * a + 1] = x->dims[a];
        m.src[2 * a + 1] = from[a];
        m.dst[2 * a + 1] = to[a];
    }
    qn_move_copy(&m, qn_dtype_size(x->dtype), x->data, y->data, r->team);
    return QN_OK;
}

static qn_status tile_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, tile_dims, tile_fill, err); }

static void tile_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t a = in_axis[0];

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || c->in[0].dims[a] == QN_DIM_UNKNOWN) return;
    if (c->out[0].rank == c->in[0].rank && c->out[0].dims[a] == c->in[0].dims[a]) out_axis[0] = a; /* repeated once */
}

const qn_op qn_op_tile = {
    .name = "Tile",
    .since = 6,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = tile_infer,
    .rows = tile_rows,
    .run = tile_run,
    .kernels = "move",
};
