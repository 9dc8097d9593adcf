/* core/ops/prelu.c - PRelu: x where x >= 0, slope * x elsewhere.
 * Spec   ONNX PRelu 1 on: slope broadcasts to x. Before 7 a slope [c] belongs to axis 1 of x (one number: to all of it).
 * Grad   dx = dy (x < 0 ? slope : 1);  dslope = sum of dy x [x < 0] over the axes along which slope was stretched. */
#include "core/ops/elem.h"
#include "core/tensor/broadcast.h"

QN_ELEM_FN2(prelu_f64, double, double, u < 0.0 ? u * v : u)
QN_ELEM_FN2(prelu_i64, int64_t, uint64_t, u < 0 ? (uint64_t)u * (uint64_t)v : (uint64_t)u)
QN_ELEM_FN2(prelu_u64, uint64_t, uint64_t, u + 0 * v)

static const qn_elem_op prelu_op = {
    .n_in = 2,
    .fast = QN_ELEM_BINARY,
    .kernel = QN_BINARY_PRELU,
    .fn = { NULL, prelu_f64, prelu_i64, prelu_u64 },
};

/* Slope of the older versions: [c] seen as [1, c, 1, ..., 1]. */
static bool per_channel(const qn_node *node, int32_t x_rank, int32_t slope_rank, bool single)
{
    return node->opset < 7 && slope_rank == 1 && x_rank > 2 && !single;
}

static qn_status prelu_infer(qn_infer *c, qn_error *err)
{
    qn_type x, slope, out;
    int64_t n = 0;
    qn_status st = qn_move_need(c, 2, err);

    for (int32_t i = 0; i < 2 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, QN_SET_NUMERIC, err);
    if (st != QN_OK) return st;
    x = c->in[0];
    slope = c->in[1];
    if (x.dtype != QN_DTYPE_NONE && slope.dtype != QN_DTYPE_NONE && x.dtype != slope.dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "slope is %s, x is %s", qn_dtype_name(slope.dtype), qn_dtype_name(x.dtype));
    if (slope.rank == 1 && per_channel(c->node, x.rank, 1, qn_move_number(c, slope.dims[0], &n) && n == 1)) {
        const qn_dim channels = slope.dims[0];

        slope.rank = x.rank;
        for (int32_t d = 0; d < x.rank; d++) slope.dims[d] = d == 1 ? channels : qn_dims_const(c->dims, 1);
    }
    out = x;
    if ((st = qn_infer_broadcast(c, &x, &slope, &out, err)) != QN_OK) return st;
    if (x.rank >= 0 && out.rank >= 0 && out.rank != x.rank)
        return qn_error_set(err, QN_ERR_SHAPE, "slope has rank %d, x has rank %d: it does not broadcast to x", (int)slope.rank,
                            (int)x.rank);
    qn_elem_like(c, 0, 0, x.dtype); /* the shape is x's: slope stretches, x does not */
    return QN_OK;
}

static qn_status prelu_run(qn_run *r, qn_error *err)
{
    const qn_tensor x = r->in[0];
    qn_tensor slope = r->in[1];
    char a[64], b[64];
    qn_status st;

    if (per_channel(r->node, x.rank, slope.rank, qn_tensor_count(&slope) == 1)) {
        const int64_t channels = slope.dims[0];

        slope.rank = x.rank;
        for (int32_t d = 0; d < x.rank; d++) slope.dims[d] = d == 1 ? channels : 1;
    }
    if (!qn_broadcast_fits(slope.rank, slope.dims, x.rank, x.dims))
        return qn_error_set(err, QN_ERR_SHAPE, "slope %s does not broadcast to x %s", qn_shape_print(slope.rank, slope.dims, a, sizeof a),
                            qn_shape_print(x.rank, x.dims, b, sizeof b));
    if ((st = qn_move_output(r, 0, x.dtype, x.rank, x.dims, err)) != QN_OK) return st;
    return qn_elem_apply(r, &prelu_op, &x, &slope, &r->out[0], 0, 0, err);
}

const qn_op qn_op_prelu = {
    .name = "PRelu",
    .domain = "",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = prelu_infer,
    .rows = qn_rows_elementwise,
    .lower = qn_elem_lower,
    .run = prelu_run,
    .kernels = "eltwise",
};
