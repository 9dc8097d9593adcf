/* core/ops/transpose.c - Transpose: the axes in another order.
 * Spec   ONNX Transpose 1 on: out axis i is input axis perm[i]; perm defaults to the reverse. */
#include "core/graph/grad.h"
#include "core/ops/move.h"

#include "core/tensor/shape.h"

#include <inttypes.h>

static qn_status permutation(const qn_node *node, int32_t rank, int32_t *perm, qn_error *err)
{
    int64_t n;
    const int64_t *p = qn_node_ints(node, "perm", &n);
    uint32_t seen = 0;

    if (p && n != rank) return qn_error_set(err, QN_ERR_SHAPE, "perm has %" PRId64 " axes, the input has rank %" PRId32, n, rank);
    for (int32_t i = 0; i < rank; i++) {
        int64_t a = p ? p[i] : rank - 1 - i;

        if (a < 0 || a >= rank) return qn_error_set(err, QN_ERR_SHAPE, "perm[%" PRId32 "] is %" PRId64 ", rank %" PRId32, i, a, rank);
        if (seen >> a & 1) return qn_error_set(err, QN_ERR_SHAPE, "perm has axis %" PRId64 " twice", a);
        seen |= 1u << a;
        perm[i] = (int32_t)a;
    }
    return QN_OK;
}

static qn_status transpose_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    int32_t perm[QN_MAX_RANK], n;
    const qn_dim *e;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (x->rank < 0) return QN_OK;
    if ((st = permutation(c->node, x->rank, perm, err)) != QN_OK) return st;
    for (int32_t i = 0; i < x->rank; i++) c->out[0].dims[i] = x->dims[perm[i]];
    e = qn_move_known(c, 0, &n); /* of rank 0 or 1: nothing moves */
    if (e) qn_move_set_known(c, x->rank == 0 ? -1 : n, e);
    return QN_OK;
}

static qn_status transpose_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    int32_t perm[QN_MAX_RANK];
    qn_status st = permutation(r->node, r->in[0].rank, perm, err);

    (void)o;
    if (st != QN_OK) return st;
    *rank = r->in[0].rank;
    for (int32_t i = 0; i < *rank; i++) dims[i] = r->in[0].dims[perm[i]];
    return QN_OK;
}

static qn_status transpose_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t perm[QN_MAX_RANK];
    int64_t strides[QN_MAX_RANK];
    qn_move m = { .rank = x->rank };
    qn_status st = permutation(r->node, x->rank, perm, err);

    if (st != QN_OK) return st;
    qn_shape_strides(x->rank, x->dims, strides);
    for (int32_t i = 0; i < x->rank; i++) {
        m.dims[i] = x->dims[perm[i]];
        m.src[i] = strides[perm[i]];
    }
    qn_shape_strides(x->rank, m.dims, m.dst);
    qn_move_copy(&m, qn_dtype_size(x->dtype), x->data, r->out[0].data, r->team);
    return QN_OK;
}

static qn_status transpose_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, transpose_dims, transpose_fill, err); }

static void transpose_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t perm[QN_MAX_RANK];

    if (c->in[0].rank < 0 || permutation(c->node, c->in[0].rank, perm, NULL) != QN_OK) return;
    for (int32_t i = 0; i < c->in[0].rank; i++)
        if (perm[i] == in_axis[0]) out_axis[0] = i;
}

static void transpose_grad(qn_builder *b)
{
    const int32_t rank = qn_grad_type(b, qn_grad_in(b, 0))->rank;
    int32_t perm[QN_MAX_RANK];
    int64_t back[QN_MAX_RANK];
    const qn_attr attr = { .name = "perm", .type = QN_ATTR_INTS, .n = rank, .ints = back };
    const qn_value_id dy = qn_grad_of(b, 0);

    if (rank < 0 || permutation(qn_grad_node(b), rank, perm, NULL) != QN_OK) {
        qn_grad_refuse(b, "no gradient, because its rank is not known");
        return;
    }
    for (int32_t i = 0; i < rank; i++) back[perm[i]] = i;
    qn_grad_give(b, 0, qn_grad_emit(b, "Transpose", &dy, 1, &attr, 1));
}

const qn_op qn_op_transpose = {
    .name = "Transpose",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = transpose_infer,
    .rows = transpose_rows,
    .run = transpose_run,
    .grad = transpose_grad,
    .kernels = "move",
};
