/* core/ops/deformconv.c - DeformConv: a convolution each of whose taps looks where an input says.
 * Spec   ONNX DeformConv 19 on, two spatial axes. x [n, c, h, w], w [o, c / group, kh, kw], offset [n, offset_group kh kw 2, oh, ow] (y then
 *        x), bias [o], mask [n, offset_group kh kw, oh, ow].
 * Value  y = bias + sum over channels and taps of w mask x(p), x(p) between four neighbours by bilinear weights, 0 outside the image.
 *        Summed in double, channels then taps, rounded once.
 * Source Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2018, arXiv:1811.11168 (mask).
 * Grad   none yet. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/elem.h"
#include "core/ops/spatial.h"

#include <inttypes.h>
#include <math.h>

static qn_status offset_group(const qn_node *node, int64_t *g, qn_error *err)
{
    *g = qn_node_int(node, "offset_group", 1);
    if (*g >= 1 && *g <= INT32_MAX) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "offset_group is %" PRId64 ", expected 1 or more", *g);
}

static qn_status deform_infer(qn_infer *c, qn_error *err)
{
    int64_t g;
    qn_status st = qn_move_need(c, 3, err);

    for (int32_t i = 0; i < 5 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, QN_SET_FLOAT, err);
    if (st == QN_OK) st = offset_group(c->node, &g, err);
    if (st != QN_OK) return st;
    for (int32_t i = 0; i < 5; i++) {
        if (i == 3 || !qn_infer_has(c, i) || c->in[i].rank < 0 || c->in[i].rank == 4) continue;
        return qn_error_set(err, c->in[i].rank < 3 ? QN_ERR_SHAPE : QN_ERR_UNSUPPORTED,
                            "input %" PRId32 " has rank %" PRId32 ", expected 4", i, c->in[i].rank);
    }
    return qn_conv_infer_shape(c, 0, 1, 3, c->in[0].dtype, err);
}

typedef struct job {
    qn_conv_shape s;
    int64_t groups_of_offsets;
    const qn_tensor *x, *offset, *bias, *mask, *y; /* bias and mask may be NULL */
    double *weight, *taps;                         /* [o][c / group][kh kw]; per member [c][kh kw] */
} job;

/* x of one plane at (v, u), or 0 outside. */
static double sample(const qn_tensor *x, int64_t plane, double v, double u)
{
    const int64_t h = x->dims[2], w = x->dims[3];
    double sum = 0;
    int64_t y0, x0;

    if (!(v > -1 && v < (double)h && u > -1 && u < (double)w)) return 0; /* NaN too */
    y0 = (int64_t)floor(v);
    x0 = (int64_t)floor(u);
    for (int64_t i = y0; i < y0 + 2; i++) {
        for (int64_t k = x0; k < x0 + 2; k++) {
            if (i < 0 || i >= h || k < 0 || k >= w) continue;
            sum += (1 - fabs(v - (double)i)) * (1 - fabs(u - (double)k)) * qn_move_real(x, (plane * h + i) * w + k);
        }
    }
    return sum;
}

/* Every channel at every tap of output place (oy, ox) of row n. */
static void fill_taps(const job *j, int64_t n, int64_t oy, int64_t ox, double *taps)
{
    const qn_conv_shape *s = &j->s;
    const int64_t k = s->kernel[1] * s->kernel[2], per = s->c / j->groups_of_offsets, plane = s->out[1] * s->out[2],
                  here = oy * s->out[2] + ox;

    for (int64_t c = 0; c < s->c; c++) {
        const int64_t group = n * j->groups_of_offsets + c / per;

        for (int64_t t = 0; t < k; t++) {
            const double dy = qn_move_real(j->offset, ((group * k + t) * 2) * plane + here),
                         dx = qn_move_real(j->offset, ((group * k + t) * 2 + 1) * plane + here);
            const double v = (double)(oy * s->stride[1] - s->pad[1] + t / s->kernel[2] * s->dilation[1]) + dy,
                         u = (double)(ox * s->stride[2] - s->pad[2] + t % s->kernel[2] * s->dilation[2]) + dx;

            taps[c * k + t] = sample(j->x, n * s->c + c, v, u);
            if (j->mask) taps[c * k + t] *= qn_move_real(j->mask, (group * k + t) * plane + here);
        }
    }
}

/* Output places [lo, hi) of all rows. */
static void deform_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const qn_conv_shape *s = &j->s;
    const int64_t k = s->kernel[1] * s->kernel[2], plane = s->out[1] * s->out[2], per_in = s->c / s->groups * k, per_out = s->o / s->groups,
                  size = (int64_t)qn_dtype_size(j->y->dtype);
    double *taps = j->taps + member * s->c * k;

    for (int64_t p = lo; p < hi; p++) {
        const int64_t n = p / plane, here = p % plane;

        fill_taps(j, n, here / s->out[2], here % s->out[2], taps);
        for (int64_t o = 0; o < s->o; o++) {
            const double *w = j->weight + o * per_in, *x = taps + o / per_out * per_in;
            double sum = j->bias ? qn_move_real(j->bias, o) : 0;
            float f;

            for (int64_t i = 0; i < per_in; i++) sum += w[i] * x[i];
            f = (float)sum;
            qn_elem_store(j->y->dtype, (char *)j->y->data + ((n * s->o + o) * plane + here) * size, 1,
                          j->y->dtype == QN_F64 ? (const void *)&sum : &f);
        }
    }
}

/* t, given, is [n, channels, oh, ow]. */
static qn_status check_field(const qn_tensor *t, const char *what, const job *j, int64_t channels, qn_error *err)
{
    if (t->rank == 4 && t->dims[0] == j->s.n && t->dims[1] == channels && t->dims[2] == j->s.out[1] && t->dims[3] == j->s.out[2])
        return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "%s is not [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", what, j->s.n, channels,
                        j->s.out[1], j->s.out[2]);
}

static qn_status check_shapes(const qn_run *r, job *j, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *w = &r->in[1];
    int64_t k;
    qn_status st;

    if (x->rank != 4 || w->rank != 4) return qn_error_set(err, QN_ERR_SHAPE, "expected x [n,c,h,w] and w [o,c,kh,kw]");
    if ((st = qn_conv_shape_of(r->node, x, w, &j->s, err)) != QN_OK || (st = offset_group(r->node, &j->groups_of_offsets, err)) != QN_OK)
        return st;
    k = j->s.kernel[1] * j->s.kernel[2];
    if (j->s.c % j->groups_of_offsets != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " channels do not divide into %" PRId64 " offset groups", j->s.c,
                            j->groups_of_offsets);
    if (k > INT32_MAX) return qn_error_set(err, QN_ERR_LIMIT, "a kernel of %" PRId64 " taps", k);
    if ((st = check_field(&r->in[2], "offset", j, j->groups_of_offsets * k * 2, err)) != QN_OK) return st;
    if (qn_move_has(r, 4) && (st = check_field(&r->in[4], "mask", j, j->groups_of_offsets * k, err)) != QN_OK) return st;
    if (qn_move_has(r, 3) && qn_tensor_count(&r->in[3]) != j->s.o)
        return qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    return QN_OK;
}

static qn_status deform_run(qn_run *r, qn_error *err)
{
    job j = { .x = &r->in[0], .offset = &r->in[2] };
    size_t weights, taps, bytes;
    qn_move_work work;
    qn_status st = check_shapes(r, &j, err);

    if (st != QN_OK) return st;
    if (qn_move_has(r, 3)) j.bias = &r->in[3];
    if (qn_move_has(r, 4)) j.mask = &r->in[4];
    if ((st = qn_move_output(r, 0, j.x->dtype, 4, (const int64_t[]){ j.s.n, j.s.o, j.s.out[1], j.s.out[2] }, err)) != QN_OK) return st;
    j.y = &r->out[0];
    if (qn_tensor_count(j.y) == 0) return QN_OK;
    weights = (size_t)qn_tensor_count(&r->in[1]);
    if (!qn_size_mul((size_t)j.s.c, (size_t)(j.s.kernel[1] * j.s.kernel[2]), &taps) ||
        !qn_size_mul(taps, (size_t)qn_team_size(r->team), &taps) || !qn_size_add(weights, taps, &bytes) ||
        !qn_size_mul(bytes, sizeof(double), &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    if ((st = qn_move_work_begin(r, bytes, &work, err)) != QN_OK) return st;
    j.weight = work.mem;
    j.taps = j.weight + weights;
    for (size_t i = 0; i < weights; i++) j.weight[i] = qn_move_real(&r->in[1], (int64_t)i);
    qn_elem_ranges(r->team, j.s.n * j.s.out[1] * j.s.out[2], 64, deform_range, &j);
    qn_move_work_end(&work);
    return QN_OK;
}

/* Offsets and mask have the rows of x. */
static void deform_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    for (int32_t i = 0; i < c->node->n_in; i++)
        if (c->node->in[i] != QN_NONE && in_axis[i] != (i == 1 || i == 3 ? QN_ROWS_NONE : 0)) return;
    out_axis[0] = 0;
}

/* The convolution, and four neighbours for each tap of each channel at every output place. */
static uint64_t deform_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t samples = qn_cost_mul(qn_cost_dim(&out[0], 0), qn_cost_dim(&in[0], 1));

    (void)n;
    for (int32_t d = 2; d < 4; d++) samples = qn_cost_mul(samples, qn_cost_mul(qn_cost_dim(&out[0], d), qn_cost_dim(&in[1], d)));
    return qn_cost_add(qn_conv_cost(&in[1], &out[0]), qn_cost_mul(samples, 4));
}

const qn_op qn_op_deform_conv = {
    .name = "DeformConv",
    .domain = "",
    .since = 19,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = deform_infer,
    .rows = deform_rows,
    .run = deform_run,
    .cost = deform_cost,
};
