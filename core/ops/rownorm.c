/* core/ops/rownorm.c - LayerNormalization, InstanceNormalization, GroupNormalization: rows in one piece, each with its own statistics.
 * Spec   LayerNormalization 17 on: rows are the axes from `axis` (default -1) on, scale and bias have their shape; outputs 1 and 2 are
 *        the mean and 1 / standard deviation of each row, in the dtype of stash_type.  InstanceNormalization 1 on: a row is one channel
 *        of one sample.  GroupNormalization 18 on: a row is num_groups-th of the channels of one sample; scale and bias belong to
 *        groups before 21, to channels from 21 on.
 * Value  y = (x - mean) i scale + bias,  i = 1 / sqrt(var + epsilon), population variance by two passes. f16 and bf16 are computed in f32
 *        and rounded once; f64 in f64.
 * Grad   h = (x - mean) i, g = dy scale:  dx = i (g - mean(g) - h mean(g h));  dscale = sum(dy h), dbias = sum(dy). */
#include "core/base/checked.h"
#include "core/kernels/norm/norm.h"
#include "core/ops/stats.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

/* x is n_rows rows of n. Row r holds `pieces` pieces of `inner` elements; piece p of row r has the scale and bias number
 * (r % cycle) * pieces + p, all its elements the same; or inner is 1, cycle 1, and every element has its own. */
typedef struct job {
    const qn_norm_kernel *kernel;
    qn_dtype dtype;
    int64_t n_rows, n, pieces, inner, cycle;
    float eps;
    const char *x;
    char *y;
    const void *scale, *bias; /* f32, or f64 when x is; bias may be NULL */
    qn_tensor *mean, *inv;    /* NULL: not wanted */
    float *work;              /* n for each member when x is f16 or bf16 */
} job;

static void put(const qn_tensor *t, int64_t r, double v)
{
    const float f = (float)v;

    if (t)
        qn_elem_store(t->dtype, (char *)t->data + r * (int64_t)qn_dtype_size(t->dtype), 1,
                      t->dtype == QN_F64 ? (const void *)&v : (const void *)&f);
}

static void row_f32(const job *j, int64_t r, const float *x, float *y)
{
    const float *scale = j->scale, *bias = j->bias;
    float mean, var, inv;

    j->kernel->stats(x, j->n, &mean, &var);
    inv = 1.0f / sqrtf(var + j->eps);
    put(j->mean, r, (double)mean);
    put(j->inv, r, (double)inv);
    if (j->inner == 1 && j->cycle == 1) {
        j->kernel->affine(x, y, j->n, mean, inv, scale, bias);
        return;
    }
    for (int64_t p = 0; p < j->pieces; p++) {
        const int64_t c = r % j->cycle * j->pieces + p;

        j->kernel->shift(x + p * j->inner, y + p * j->inner, j->inner, mean, inv * scale[c], bias ? bias[c] : 0.0f);
    }
}

static void row_f64(const job *j, int64_t r, const double *x, double *y)
{
    const double *scale = j->scale, *bias = j->bias;
    double mean, var, inv;

    qn_stats_row_f64(x, j->n, &mean, &var);
    inv = 1.0 / sqrt(var + (double)j->eps);
    put(j->mean, r, mean);
    put(j->inv, r, inv);
    for (int64_t i = 0; i < j->n; i++) {
        const int64_t c = r % j->cycle * j->pieces + i / j->inner;

        y[i] = (x[i] - mean) * inv * scale[c] + (bias ? bias[c] : 0.0);
    }
}

static void rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t bytes = j->n * (int64_t)qn_dtype_size(j->dtype);

    for (int64_t r = lo; r < hi; r++) {
        const void *x = j->x + r * bytes;
        void *y = j->y + r * bytes;
        float *work = j->work ? j->work + member * j->n : NULL;

        if (j->dtype == QN_F32) {
            row_f32(j, r, x, y);
        } else if (j->dtype == QN_F64) {
            row_f64(j, r, x, y);
        } else {
            qn_elem_to_f32(j->dtype, x, work, j->n);
            row_f32(j, r, work, work);
            qn_elem_from_f32(j->dtype, y, work, j->n);
        }
    }
}

/* -- scale and bias ------------------------------------------------------------------------------------------------------- */

/* Elements of t, stretched to shape dims, as f32 or f64: t's own bytes where they are that already. */
static const void *spread(const qn_tensor *t, int32_t rank, const int64_t *dims, int64_t n, qn_dtype as, void *work)
{
    int64_t strides[1][QN_MAX_RANK], k = 0;
    qn_odometer o;

    if (t->dtype == as && qn_tensor_count(t) == n) return t->data;
    qn_broadcast_strides(t->rank, t->dims, rank, dims, strides[0]);
    qn_odometer_init(&o, 1, rank, dims, strides);
    for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o)) {
        for (int64_t i = 0; i < o.n_inner; i++, k++) {
            const double v = qn_move_real(t, o.at[0] + i * o.step[0]);

            if (as == QN_F64)
                ((double *)work)[k] = v;
            else
                ((float *)work)[k] = (float)v;
        }
    }
    return work;
}

/* Two parameters of n_params elements, and rows of n for each member. */
static bool work_bytes(int64_t n_params, int64_t n, qn_dtype dtype, int team_size, size_t *params, size_t *all)
{
    size_t line;

    if (!qn_i64_to_size(n_params, params) || !qn_size_mul(*params, 8, params) || !qn_size_align(*params, 64, params)) return false;
    if (!qn_i64_to_size(n, &line) || !qn_size_mul(line, sizeof(float), &line) || !qn_size_mul(line, (size_t)team_size, &line)) return false;
    if (dtype == QN_F32 || dtype == QN_F64) line = 0;
    return qn_size_mul(*params, 2, all) && qn_size_add(*all, line, all);
}

static qn_status lower_work(qn_lower *lo, int64_t n_params, int64_t n, qn_error *err)
{
    size_t params, all;

    if (lo->in[0].dtype == QN_F32) lo->kernel = qn_norm_pick(lo->cpu)->name;
    if (!work_bytes(n_params, n, lo->in[0].dtype, lo->team_size, &params, &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    return qn_move_lower_work(lo, all, err);
}

/* Run the rows: params_rank, params_dims is the shape that scale and bias stretch to, n_params elements. */
static qn_status run_rows(qn_run *r, job *j, int32_t params_rank, const int64_t *params_dims, int64_t n_params, qn_error *err)
{
    const qn_dtype as = j->dtype == QN_F64 ? QN_F64 : QN_F32;
    const qn_tensor *bias = qn_move_has(r, 2) ? &r->in[2] : NULL;
    qn_move_work w;
    size_t params, all;
    char *mem, a[64], b[64];
    qn_status st;

    for (int32_t i = 1; i < 3; i++) {
        const qn_tensor *t = &r->in[i];

        if ((i == 1 || bias) && !qn_broadcast_fits(t->rank, t->dims, params_rank, params_dims))
            return qn_error_set(err, QN_ERR_SHAPE, "input %d is %s, expected %s", (int)i, qn_shape_print(t->rank, t->dims, a, sizeof a),
                                qn_shape_print(params_rank, params_dims, b, sizeof b));
    }
    if (j->n_rows == 0 || j->n == 0) return QN_OK;
    if (!work_bytes(n_params, j->n, j->dtype, qn_team_size(r->team), &params, &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    if ((st = qn_move_work_begin(r, all, &w, err)) != QN_OK) return st;
    mem = w.mem;
    j->kernel = qn_norm_pick(r->cpu);
    j->eps = qn_node_float(r->node, "epsilon", 1e-5f);
    j->x = r->in[0].data;
    j->y = r->out[0].data;
    j->scale = spread(&r->in[1], params_rank, params_dims, n_params, as, mem);
    if (bias) j->bias = spread(bias, params_rank, params_dims, n_params, as, mem + params);
    if (j->dtype != QN_F32 && j->dtype != QN_F64) j->work = (float *)(void *)(mem + 2 * params);
    qn_elem_ranges(r->team, j->n_rows, 16384 / j->n, rows, j);
    qn_move_work_end(&w);
    return QN_OK;
}

/* -- LayerNormalization --------------------------------------------------------------------------------------------------- */

static qn_dtype stash(const qn_node *node)
{
    const qn_dtype d = qn_move_onnx_dtype(qn_node_int(node, "stash_type", 1));

    return QN_SET_FLOAT >> d & 1 && d != QN_DTYPE_NONE ? d : QN_F32;
}

static qn_status layer_norm_infer(qn_infer *c, qn_error *err)
{
    int32_t axis = 0;
    qn_status st = qn_move_need(c, 2, err);

    for (int32_t i = 0; i < 3 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, QN_SET_FLOAT, err);
    if (st == QN_OK && c->in[0].rank >= 0) st = qn_move_axis(qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, 0, 0, c->in[0].dtype);
    for (int32_t o = 1; o < c->node->n_out; o++) {
        qn_elem_like(c, 0, o, stash(c->node));
        for (int32_t d = axis; d < c->in[0].rank; d++) c->out[o].dims[d] = qn_dims_const(c->dims, 1);
    }
    return QN_OK;
}

static void layer_norm_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis = 0;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, NULL) != QN_OK || in_axis[0] >= axis) return;
    for (int32_t o = 0; o < c->node->n_out; o++) out_axis[o] = in_axis[0];
}

static qn_status layer_norm_lower(qn_lower *lo, qn_error *err)
{
    const qn_tensor *x = &lo->in[0];
    int32_t axis = 0;
    int64_t n;
    qn_status st;

    if (x->rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(lo->node, "axis", -1), x->rank, &axis, err)) != QN_OK) return st;
    n = qn_move_span(x->dims, axis, x->rank);
    return lower_work(lo, n, n, err);
}

static qn_status layer_norm_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .dtype = x->dtype, .inner = 1, .cycle = 1 };
    int64_t dims[QN_MAX_RANK];
    int32_t axis = 0;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", -1), x->rank, &axis, err);

    if (st == QN_OK) st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);
    memcpy(dims, x->dims, sizeof dims);
    for (int32_t d = axis; d < x->rank; d++) dims[d] = 1;
    for (int32_t o = 1; o < 3 && st == QN_OK; o++) st = qn_move_output(r, o, stash(r->node), x->rank, dims, err);
    if (st != QN_OK) return st;
    j.n_rows = qn_move_span(x->dims, 0, axis);
    j.n = j.pieces = qn_move_span(x->dims, axis, x->rank);
    j.mean = qn_move_wants(r, 1) ? &r->out[1] : NULL;
    j.inv = qn_move_wants(r, 2) ? &r->out[2] : NULL;
    return run_rows(r, &j, x->rank - axis, x->dims + axis, j.n, err);
}

const qn_op qn_op_layer_norm = {
    .name = "LayerNormalization",
    .domain = "",
    .since = 17,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 3,
    .flags = QN_OP_INPLACE,
    .infer = layer_norm_infer,
    .rows = layer_norm_rows,
    .lower = layer_norm_lower,
    .run = layer_norm_run,
    .kernels = "norm",
};

/* -- InstanceNormalization and GroupNormalization ------------------------------------------------------------------------- */

static qn_status sample_norm_infer(qn_infer *c, qn_error *err)
{
    const int64_t groups = qn_node_int(c->node, "num_groups", 1);
    int64_t channels;
    qn_status st = qn_move_need(c, 3, err);

    for (int32_t i = 0; i < 3 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err);
    if (st != QN_OK) return st;
    if (groups < 1 || (c->in[0].rank >= 2 && qn_move_number(c, c->in[0].dims[1], &channels) && channels % groups != 0))
        return qn_error_set(err, QN_ERR_SHAPE, "num_groups is %" PRId64 ", which does not divide the channels", groups);
    qn_elem_like(c, 0, 0, c->in[0].dtype);
    return QN_OK;
}

static int64_t n_groups(const qn_node *node, bool instance, const qn_tensor *x)
{
    return instance ? x->dims[1] : qn_node_int(node, "num_groups", 1);
}

static qn_status sample_norm_lower(qn_lower *lo, bool instance, qn_error *err)
{
    const qn_tensor *x = &lo->in[0];
    int64_t groups;

    if (x->rank < 2) return QN_OK;
    groups = n_groups(lo->node, instance, x);
    if (groups < 1) groups = 1;
    return lower_work(lo, x->dims[1], x->dims[1] / groups * qn_move_span(x->dims, 2, x->rank), err);
}

static qn_status sample_norm_run(qn_run *r, bool instance, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const bool per_group = !instance && r->node->opset < 21;
    job j = { .dtype = x->dtype };
    int64_t groups, n_params;
    qn_status st;

    if (x->rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "x has rank %d, expected [n, c, ...]", (int)x->rank);
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    groups = n_groups(r->node, instance, x);
    if (groups == 0) return QN_OK;
    if (groups < 1 || x->dims[1] % groups != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "num_groups is %" PRId64 ", x has %" PRId64 " channels", groups, x->dims[1]);
    j.inner = qn_move_span(x->dims, 2, x->rank);
    j.pieces = x->dims[1] / groups;
    j.n = j.pieces * j.inner;
    j.n_rows = x->dims[0] * groups;
    j.cycle = groups;
    if (per_group) { /* one scale for the whole row */
        j.inner = j.n;
        j.pieces = 1;
    }
    n_params = per_group ? groups : x->dims[1];
    if (j.inner == 0) return QN_OK;
    return run_rows(r, &j, 1, &n_params, n_params, err);
}

static qn_status instance_norm_lower(qn_lower *lo, qn_error *err) { return sample_norm_lower(lo, true, err); }
static qn_status instance_norm_run(qn_run *r, qn_error *err) { return sample_norm_run(r, true, err); }
static qn_status group_norm_lower(qn_lower *lo, qn_error *err) { return sample_norm_lower(lo, false, err); }
static qn_status group_norm_run(qn_run *r, qn_error *err) { return sample_norm_run(r, false, err); }

const qn_op qn_op_instance_norm = {
    .name = "InstanceNormalization",
    .domain = "",
    .since = 1,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = sample_norm_infer,
    .rows = qn_rows_leading,
    .lower = instance_norm_lower,
    .run = instance_norm_run,
    .kernels = "norm",
};
const qn_op qn_op_group_norm = {
    .name = "GroupNormalization",
    .domain = "",
    .since = 18,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = sample_norm_infer,
    .rows = qn_rows_leading,
    .lower = group_norm_lower,
    .run = group_norm_run,
    .kernels = "norm",
};
