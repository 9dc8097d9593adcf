/* core/ops/pool.c - MaxPool, AveragePool, LpPool and their global forms.
 * Spec   ONNX MaxPool 1, 8 (indices, storage_order), 10 (ceil_mode, dilations), 11, 12 (i8, u8), 22; AveragePool 1, 7
 *        (count_include_pad), 10, 11, 19 (dilations), 22; LpPool 1 (p may be a float), 2, 11, 18, 22; GlobalMaxPool, GlobalAveragePool 1,
 *        GlobalLpPool 1, 2. 1 to 3 spatial dimensions; the global ones take any number.
 * Value  core/kernels/pool/pool.h */
#include "core/ops/pool.h"

#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/linear.h"

#include <inttypes.h>
#include <math.h>

#define FLOATS (1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16)

/* -- the norm's p --------------------------------------------------------------------------------------------------------- */

static qn_status read_p(const qn_node *n, double *p, qn_error *err)
{
    const qn_attr *a = qn_node_attr(n, "p");

    *p = !a ? 2 : a->type == QN_ATTR_FLOAT ? (double)a->f : (double)qn_node_int(n, "p", 2);
    if (*p >= 1 && isfinite(*p)) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "p is %g, expected at least 1", *p);
}

/* -- windows -------------------------------------------------------------------------------------------------------------- */

qn_status qn_pool_windows(const qn_node *n, int32_t rank, qn_spatial *s, qn_error *err)
{
    qn_status st = qn_spatial_read(n, rank, NULL, s, err);

    for (int32_t d = 0; d < s->n && st == QN_OK; d++) {
        const int64_t extent = (s->kernel[d] - 1) * s->dilation[d] + 1;

        if (s->pad[d] >= extent || s->pad_end[d] >= extent)
            return qn_error_set(err, QN_ERR_INVALID,
                                "pads of dimension %d are %" PRId64 ", %" PRId64 ": a window of %" PRId64 " would hold padding only",
                                (int)d, s->pad[d], s->pad_end[d], extent);
    }
    return st;
}

static qn_status windows_infer(qn_infer *c, uint32_t dtypes, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_dim dims[QN_MAX_RANK];
    qn_spatial s;
    qn_status st = qn_linear_need(c, 1, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, dtypes, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = x->dtype;
    if (x->rank < 0) return QN_OK;
    st = qn_pool_windows(c->node, x->rank, &s, err);
    dims[0] = x->dims[0];
    dims[1] = x->rank > 1 ? x->dims[1] : QN_DIM_UNKNOWN;
    for (int32_t d = 0; st == QN_OK && d < s.n; d++) st = qn_spatial_infer(c, &s, d, x->dims[2 + d], &dims[2 + d], err);
    if (st == QN_OK) qn_linear_output(c, x->dtype, x->rank, dims);
    return st;
}

static qn_status max_infer(qn_infer *c, qn_error *err)
{
    const int64_t order = qn_node_int(c->node, "storage_order", 0);
    qn_status st = windows_infer(c, FLOATS | QN_LINEAR_BYTES, err);

    if (st != QN_OK) return st;
    if (order != 0 && order != 1) return qn_error_set(err, QN_ERR_INVALID, "storage_order is %" PRId64 ", expected 0 or 1", order);
    if (c->node->n_out > 1) {
        c->out[1] = c->out[0];
        c->out[1].dtype = QN_I64;
    }
    return QN_OK;
}

static qn_status average_infer(qn_infer *c, qn_error *err) { return windows_infer(c, FLOATS, err); }

static qn_status lp_infer(qn_infer *c, qn_error *err)
{
    double p;
    qn_status st = read_p(c->node, &p, err);

    return st == QN_OK ? windows_infer(c, FLOATS, err) : st;
}

qn_status qn_pool_shape_of(const qn_node *n, const qn_tensor *x, qn_pool_shape *p, qn_error *err)
{
    int64_t out[QN_SPATIAL_MAX];
    qn_conv_shape shape;
    qn_spatial s;
    qn_status st = qn_pool_windows(n, x->rank, &s, err);

    if (st == QN_OK) st = qn_spatial_sizes(&s, x->dims + 2, out, err);
    if (st != QN_OK) return st;
    qn_spatial_shape(&s, x, x->dims[1], 1, out, &shape);
    *p = (qn_pool_shape){ 0 };
    if (!qn_i64_mul(x->dims[0], x->dims[1], &p->planes)) return qn_error_set(err, QN_ERR_LIMIT, "too many channels");
    for (int32_t d = 0; d < 3; d++) {
        p->in[d] = shape.in[d];
        p->out[d] = shape.out[d];
        p->kernel[d] = shape.kernel[d];
        p->stride[d] = shape.stride[d];
        p->dilation[d] = shape.dilation[d];
        p->pad[d] = shape.pad[d];
        p->pad_end[d] = d >= 3 - s.n ? s.pad_end[d - (3 - s.n)] : 0;
    }
    return QN_OK;
}

/* -- by dtype ------------------------------------------------------------------------------------------------------------- */

static void run_max(const qn_run *r, const qn_pool_max_args *a)
{
    switch (r->in[0].dtype) {
    case QN_F32: qn_pool_max_f32(a, r->team); break;
    case QN_F64: qn_pool_max_f64(a, r->team); break;
    case QN_F16: qn_pool_max_f16(a, r->team); break;
    case QN_I8: qn_pool_max_i8(a, r->team); break;
    case QN_U8: qn_pool_max_u8(a, r->team); break;
    default: break; /* infer has refused the others */
    }
}

static void run_sum(const qn_run *r, const qn_pool_sum_args *a)
{
    switch (r->in[0].dtype) {
    case QN_F32: qn_pool_sum_f32(a, r->team); break;
    case QN_F64: qn_pool_sum_f64(a, r->team); break;
    case QN_F16: qn_pool_sum_f16(a, r->team); break;
    default: break; /* infer has refused the others */
    }
}

static qn_status max_run(qn_run *r, qn_error *err)
{
    const bool indices = r->node->n_out > 1 && r->out[1].dtype != QN_DTYPE_NONE;
    qn_pool_max_args a = { .x = r->in[0].data, .y = r->out[0].data, .indices = indices ? r->out[1].data : NULL };
    qn_status st = qn_pool_shape_of(r->node, &r->in[0], &a.s, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    a.column_major = qn_node_int(r->node, "storage_order", 0) == 1;
    run_max(r, &a);
    return QN_OK;
}

static qn_status average_run(qn_run *r, qn_error *err)
{
    qn_pool_sum_args a = { .x = r->in[0].data, .y = r->out[0].data, .include_pad = qn_node_int(r->node, "count_include_pad", 0) != 0 };
    qn_status st = qn_pool_shape_of(r->node, &r->in[0], &a.s, err);

    if (st == QN_OK && qn_tensor_count(&r->out[0]) > 0) run_sum(r, &a);
    return st;
}

static qn_status lp_run(qn_run *r, qn_error *err)
{
    qn_pool_sum_args a = { .x = r->in[0].data, .y = r->out[0].data };
    qn_status st = read_p(r->node, &a.p, err);

    if (st == QN_OK) st = qn_pool_shape_of(r->node, &r->in[0], &a.s, err);
    if (st == QN_OK && qn_tensor_count(&r->out[0]) > 0) run_sum(r, &a);
    return st;
}

/* -- global --------------------------------------------------------------------------------------------------------------- */

static qn_status global_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_dim dims[QN_MAX_RANK];
    double p;
    qn_status st = qn_linear_need(c, 1, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, FLOATS, err);
    if (st == QN_OK) st = read_p(c->node, &p, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = x->dtype;
    if (x->rank < 0) return QN_OK;
    if (x->rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "rank %d, expected [batch, channels, spatial...]", (int)x->rank);
    for (int32_t d = 0; d < x->rank; d++) {
        int64_t v;

        dims[d] = d < 2 ? x->dims[d] : qn_dims_const(c->dims, 1);
        if (d >= 2 && qn_dims_value(c->dims, x->dims[d], &v) && v == 0)
            return qn_error_set(err, QN_ERR_SHAPE, "spatial dimension %d is empty: it has no maximum and no average", (int)(d - 2));
    }
    qn_linear_output(c, x->dtype, x->rank, dims);
    return QN_OK;
}

static qn_status global_shape_of(const qn_run *r, qn_pool_shape *p, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int64_t size = 1;

    for (int32_t d = 2; d < x->rank; d++) size *= x->dims[d];
    if (size == 0) return qn_error_set(err, QN_ERR_SHAPE, "a spatial dimension is empty: it has no maximum and no average");
    *p = (qn_pool_shape){ 0 };
    if (!qn_i64_mul(x->dims[0], x->dims[1], &p->planes)) return qn_error_set(err, QN_ERR_LIMIT, "too many channels");
    for (int32_t d = 0; d < 3; d++) p->in[d] = p->out[d] = p->kernel[d] = p->stride[d] = p->dilation[d] = 1;
    p->in[2] = p->kernel[2] = size;
    return QN_OK;
}

static qn_status global_max_run(qn_run *r, qn_error *err)
{
    qn_pool_max_args a = { .x = r->in[0].data, .y = r->out[0].data };
    qn_status st = global_shape_of(r, &a.s, err);

    if (st == QN_OK) run_max(r, &a);
    return st;
}

static qn_status global_average_run(qn_run *r, qn_error *err)
{
    qn_pool_sum_args a = { .x = r->in[0].data, .y = r->out[0].data };
    qn_status st = global_shape_of(r, &a.s, err);

    if (st == QN_OK) run_sum(r, &a);
    return st;
}

static qn_status global_lp_run(qn_run *r, qn_error *err)
{
    qn_pool_sum_args a = { .x = r->in[0].data, .y = r->out[0].data };
    qn_status st = read_p(r->node, &a.p, err);

    if (st == QN_OK) st = global_shape_of(r, &a.s, err);
    if (st == QN_OK) run_sum(r, &a);
    return st;
}

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

/* An index counts from the first image of the batch: it is not the same for a row alone. */
static void max_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (c->node->n_out == 1 || c->node->out[1] == QN_NONE) qn_rows_leading(c, in_axis, out_axis);
}

/* Every output looks at its window; the global pools read each element once. */
static uint64_t window_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    return qn_cost_mul(qn_cost_elements(&out[0]), qn_spatial_window(n, &in[0]));
}

#define POOL(id, op_name, outs, infer_fn, rows_fn, run_fn, cost_fn)                                                                        \
    const qn_op qn_op_##id = {                                                                                                             \
        .domain = "",                                                                                                                      \
        .name = op_name,                                                                                                                   \
        .since = 1,                                                                                                                        \
        .min_in = 1,                                                                                                                       \
        .max_in = 1,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = outs,                                                                                                                   \
        .infer = infer_fn,                                                                                                                 \
        .rows = rows_fn,                                                                                                                   \
        .run = run_fn,                                                                                                                     \
        .cost = cost_fn,                                                                                                                   \
        .kernels = "pool",                                                                                                                 \
    }

POOL(max_pool, "MaxPool", 2, max_infer, max_rows, max_run, window_cost);
POOL(average_pool, "AveragePool", 1, average_infer, qn_rows_leading, average_run, window_cost);
POOL(lp_pool, "LpPool", 1, lp_infer, qn_rows_leading, lp_run, window_cost);
POOL(global_max_pool, "GlobalMaxPool", 1, global_infer, qn_rows_leading, global_max_run, NULL);
POOL(global_average_pool, "GlobalAveragePool", 1, global_infer, qn_rows_leading, global_average_run, NULL);
POOL(global_lp_pool, "GlobalLpPool", 1, global_infer, qn_rows_leading, global_lp_run, NULL);
