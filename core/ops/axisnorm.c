/* core/ops/axisnorm.c - MeanVarianceNormalization over any axes, LpNormalization along one.
 * Spec   MeanVarianceNormalization 9 on: axes default [0, 2, 3].  LpNormalization 1 on: axis default -1, p 1 or 2 (default).
 * Value  MVN: y = (x - mean) / (sqrt(var) + 1e-9), population variance by two passes.  Lp: y = x / norm, 0 where the norm is 0.
 *        f16 and bf16 in f32. Sums by 16 lanes.
 * Grad   MVN: as LayerNormalization's, without scale and bias.  L2: dx = (dy - y sum(dy y)) / norm.  L1: dx = (dy - sign(x) sum(dy y)) / norm. */
#include "core/ops/stats.h"

#include <inttypes.h>
#include <math.h>

typedef struct job {
    const qn_reduce_kernel *kernel;
    qn_axes axes;
    qn_dtype dtype;
    int p; /* 1, 2; 0: MVN */
    const char *x;
    char *y;
} job;

/* What group g is shifted by and divided by. */
static void measure_f32(const job *j, int64_t g, float *shift, float *over)
{
    const qn_reduce kind = j->p == 1 ? QN_REDUCE_SUM_ABS : QN_REDUCE_SUM_SQ;
    float acc[QN_REDUCE_LANES] = { 0 }, var;
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    if (j->p == 0) {
        qn_stats_f32(j->kernel, &j->axes, g, j->dtype, j->x, shift, &var);
        *over = sqrtf(var) + 1e-9f;
        return;
    }
    qn_axes_read(&j->axes, g, &r);
    while ((n = qn_stats_gather(&r, j->dtype, j->x, &chunk)) > 0) j->kernel->feed[kind](acc, chunk.f32, n);
    *shift = 0;
    *over = qn_reduce_finish(kind, acc);
    if (j->p == 2) *over = sqrtf(*over);
}

static void measure_f64(const job *j, int64_t g, double *shift, double *over)
{
    double var;
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    *shift = *over = 0;
    if (j->p == 0) {
        qn_stats_f64(&j->axes, g, j->x, shift, &var);
        *over = sqrt(var) + 1e-9;
        return;
    }
    qn_axes_read(&j->axes, g, &r);
    while ((n = qn_stats_gather(&r, j->dtype, j->x, &chunk)) > 0) {
        const double *x = (const double *)(const void *)&chunk;

        for (int64_t i = 0; i < n; i++) *over += j->p == 1 ? fabs(x[i]) : x[i] * x[i];
    }
    if (j->p == 2) *over = sqrt(*over);
}

static void groups(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype);

    (void)member;
    for (int64_t g = lo; g < hi; g++) {
        float shift = 0, over = 0;
        double shift64 = 0, over64 = 0;
        qn_axes_reader r;
        int64_t offset, step, n;

        if (j->dtype == QN_F64)
            measure_f64(j, g, &shift64, &over64);
        else
            measure_f32(j, g, &shift, &over);
        qn_axes_read(&j->axes, g, &r);
        while (qn_axes_next(&r, QN_ELEM_CHUNK, &offset, &step, &n)) {
            qn_elem_buf buf;
            const void *p = qn_elem_load(j->dtype, j->x + offset * size, step, n, &buf);

            for (int64_t i = 0; i < n; i++) {
                char *to = j->y + (offset + i * step) * size;

                if (j->dtype == QN_F64) {
                    *(double *)(void *)to = over64 == 0 ? 0 : (((const double *)p)[i] - shift64) / over64;
                } else {
                    const float y = over == 0 ? 0 : (((const float *)p)[i] - shift) / over;

                    qn_elem_store(j->dtype, to, 1, &y);
                }
            }
        }
    }
}

static qn_status run(qn_run *r, uint32_t mask, int p, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .kernel = qn_reduce_pick(r->cpu), .dtype = x->dtype, .p = p, .x = x->data };
    const qn_status st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);

    if (st != QN_OK) return st;
    j.y = r->out[0].data;
    qn_axes_init(&j.axes, x->rank, x->dims, mask);
    if (j.axes.k > 0) qn_elem_ranges(r->team, j.axes.n_kept, 16384 / j.axes.k, groups, &j);
    return QN_OK;
}

/* -- MeanVarianceNormalization -------------------------------------------------------------------------------------------- */

static qn_status mvn_mask(const qn_node *node, int32_t rank, uint32_t *mask, qn_error *err)
{
    static const int64_t usual[] = { 0, 2, 3 };
    int64_t n;
    const int64_t *axes = qn_node_ints(node, "axes", &n);

    *mask = 0;
    if (!axes) {
        axes = usual;
        n = 3;
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t axis;
        const qn_status st = qn_move_axis(axes[i], rank, &axis, err);

        if (st != QN_OK) return st;
        *mask |= 1u << axis;
    }
    return QN_OK;
}

static qn_status mvn_infer(qn_infer *c, qn_error *err)
{
    uint32_t mask;
    const qn_status st = qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err);

    return st == QN_OK && c->in[0].rank >= 0 ? mvn_mask(c->node, c->in[0].rank, &mask, err) : st;
}

static void mvn_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    uint32_t mask;

    if (c->in[0].rank < 0 || mvn_mask(c->node, c->in[0].rank, &mask, NULL) != QN_OK || (mask >> in_axis[0] & 1)) return;
    out_axis[0] = in_axis[0];
}

static qn_status mvn_run(qn_run *r, qn_error *err)
{
    uint32_t mask = 0;
    const qn_status st = mvn_mask(r->node, r->in[0].rank, &mask, err);

    return st == QN_OK ? run(r, mask, 0, err) : st;
}

const qn_op qn_op_mvn = {
    .name = "MeanVarianceNormalization",
    .domain = "",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = mvn_infer,
    .rows = mvn_rows,
    .run = mvn_run,
    .kernels = "reduce",
};

/* -- LpNormalization ------------------------------------------------------------------------------------------------------ */

static qn_status lp_norm_infer(qn_infer *c, qn_error *err)
{
    const int64_t p = qn_node_int(c->node, "p", 2);
    int32_t axis;
    qn_status st = qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err);

    if (st == QN_OK && p != 1 && p != 2) return qn_error_set(err, QN_ERR_INVALID, "p is %" PRId64 ", expected 1 or 2", p);
    return st == QN_OK && c->in[0].rank >= 0 ? qn_move_axis(qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, err) : st;
}

static qn_status lp_norm_run(qn_run *r, qn_error *err)
{
    int32_t axis = 0;
    const qn_status st = qn_move_axis(qn_node_int(r->node, "axis", -1), r->in[0].rank, &axis, err);

    return st == QN_OK ? run(r, 1u << axis, qn_node_int(r->node, "p", 2) == 1 ? 1 : 2, err) : st;
}

static void lp_norm_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis = 0;

    if (c->in[0].rank < 0 || qn_move_axis(qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, NULL) != QN_OK) return;
    if (axis != in_axis[0]) out_axis[0] = in_axis[0];
}

const qn_op qn_op_lp_norm = {
    .name = "LpNormalization",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = lp_norm_infer,
    .rows = lp_norm_rows,
    .run = lp_norm_run,
    .kernels = "reduce",
};
