/* core/ops/gridsample.c - GridSample: a tensor looked up at places a grid names.
 * Spec   ONNX GridSample 16 (x [n,c,h,w]; bilinear, nearest, bicubic), 20 on (linear, nearest, cubic; also [n,c,d,h,w] for the first
 *        two). grid [n, out.., k]: coordinates in -1..1, the last spatial axis first. f32 and f64.
 * Value  a product of one-dimensional weights: 1 tap for nearest, 2 for linear, 4 for cubic (a = -0.75, Keys 1981). */
#include "core/ops/move.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_SPATIAL = 3, MAX_TAPS = 4 };

typedef enum how { NEAREST, LINEAR, CUBIC } how;
typedef enum edge { EDGE_ZEROS, EDGE_BORDER, EDGE_REFLECTION } edge;

typedef struct sampler {
    how how;
    edge edge;
    bool align;
    int32_t k; /* spatial axes */
    int32_t taps;
} sampler;

static qn_status read_attrs(const qn_node *node, int32_t rank, sampler *s, qn_error *err)
{
    const char *mode = qn_node_str(node, "mode", node->opset >= 20 ? "linear" : "bilinear"),
               *pad = qn_node_str(node, "padding_mode", "zeros");

    if (strcmp(mode, "nearest") == 0)
        s->how = NEAREST;
    else if (strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0)
        s->how = LINEAR;
    else if (strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0)
        s->how = CUBIC;
    else
        return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.32s\", expected linear, nearest or cubic", mode);
    if (strcmp(pad, "zeros") == 0)
        s->edge = EDGE_ZEROS;
    else if (strcmp(pad, "border") == 0)
        s->edge = EDGE_BORDER;
    else if (strcmp(pad, "reflection") == 0)
        s->edge = EDGE_REFLECTION;
    else
        return qn_error_set(err, QN_ERR_INVALID, "padding_mode is \"%.32s\", expected zeros, border or reflection", pad);
    s->align = qn_node_int(node, "align_corners", 0) != 0;
    s->taps = s->how == NEAREST ? 1 : s->how == LINEAR ? 2 : 4;
    s->k = rank - 2;
    if (rank >= 0 && rank != 4 && (rank != 5 || s->how == CUBIC || node->opset < 20))
        return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected 4%s", rank,
                            node->opset >= 20 && s->how != CUBIC ? " or 5" : "");
    return QN_OK;
}

static qn_status sample_infer(qn_infer *c, qn_error *err)
{
    const uint32_t floats = 1u << QN_F32 | 1u << QN_F64;
    const qn_type *x = &c->in[0], *grid = &c->in[1];
    sampler s;
    int64_t k;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = read_attrs(c->node, x->rank, &s, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, floats, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, floats, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], x->dtype, x->rank, err)) != QN_OK || x->rank < 0) return st;
    c->out[0].dims[1] = x->dims[1];
    if (grid->rank < 0) return QN_OK;
    if (grid->rank != x->rank || (qn_move_number(c, grid->dims[grid->rank - 1], &k) && k != s.k))
        return qn_error_set(err, QN_ERR_SHAPE, "the grid has rank %" PRId32 ", expected %" PRId32 " with a last axis of %" PRId32,
                            grid->rank, x->rank, s.k);
    if (!qn_move_join(c, x->dims[0], grid->dims[0], true, &c->out[0].dims[0]))
        return qn_error_set(err, QN_ERR_SHAPE, "input and grid differ on axis 0");
    for (int32_t a = 0; a < s.k; a++) c->out[0].dims[2 + a] = grid->dims[1 + a];
    return QN_OK;
}

/* v mirrored at lo and hi until it lies between them. */
static double reflect(double v, double lo, double hi)
{
    const double span = hi - lo;

    if (span <= 0) return lo;
    v = fmod(fabs(v - lo), 2 * span);
    return lo + (v > span ? 2 * span - v : v);
}

static double cubic(double x)
{
    const double a = -0.75;

    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Taps of one axis of size n for coordinate g: places (-1: contributes nothing) and weights. */
static void axis_taps(const sampler *s, double g, int64_t n, int64_t *at, double *weight)
{
    const double lo = s->align ? 0 : -0.5, hi = s->align ? (double)n - 1 : (double)n - 0.5, last = (double)n - 1;
    double v = s->align ? (g + 1) / 2 * last : ((g + 1) * (double)n - 1) / 2, base;

    v = v > -0x1p40 ? (v < 0x1p40 ? v : 0x1p40) : -0x1p40; /* NaN and infinities lie far outside */
    if (s->how == NEAREST) v = nearbyint(v);
    if (v < lo || v > hi) {
        if (s->edge == EDGE_BORDER && s->how != CUBIC) v = v < 0 ? 0 : v > last ? last : v;
        if (s->edge == EDGE_REFLECTION) v = reflect(v, lo, hi);
    }
    if (s->how == NEAREST) v = nearbyint(v);
    base = s->how == CUBIC ? floor(v) - 1 : floor(v);
    for (int32_t t = 0; t < s->taps; t++) {
        double p = base + t;

        weight[t] = s->how == NEAREST ? 1 : s->how == LINEAR ? 1 - fabs(v - p) : cubic(v - p);
        if (p < 0 || p > last) {
            if (s->edge == EDGE_ZEROS) p = -1;
            if (s->edge == EDGE_BORDER) p = p < 0 ? 0 : last;
            if (s->edge == EDGE_REFLECTION) p = nearbyint(reflect(p, lo, hi));
            if (s->edge == EDGE_REFLECTION) p = p < 0 ? 0 : p > last ? last : p;
        }
        at[t] = (int64_t)p;
    }
}

/* All taps of one place: at most 4 * 4 or 2 * 2 * 2. Returns how many. */
static int32_t place_taps(const sampler *s, const qn_tensor *x, const qn_tensor *grid, int64_t place, int64_t *at, double *weight)
{
    int64_t axis_at[MAX_SPATIAL][MAX_TAPS];
    double axis_weight[MAX_SPATIAL][MAX_TAPS];
    int32_t n = 0, all = 1;

    for (int32_t a = 0; a < s->k; a++) {
        axis_taps(s, qn_move_real(grid, place * s->k + s->k - 1 - a), x->dims[2 + a], axis_at[a], axis_weight[a]);
        all *= s->taps;
    }
    for (int32_t i = 0; i < all; i++) {
        int64_t to = 0;
        double w = 1;
        bool in = true;

        for (int32_t a = 0, rest = i, part = all; a < s->k; a++) {
            int32_t t;

            part /= s->taps;
            t = rest / part;
            rest %= part;
            in = in && axis_at[a][t] >= 0;
            to = to * x->dims[2 + a] + axis_at[a][t];
            w *= axis_weight[a][t];
        }
        if (!in) continue;
        at[n] = to;
        weight[n++] = w;
    }
    return n;
}

static qn_status sample_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *grid = &r->in[1];
    int64_t dims[QN_MAX_RANK] = { 0 }, in_plane, out_plane, at[16];
    double weight[16];
    sampler s;
    qn_status st = read_attrs(r->node, x->rank, &s, err);

    if (st != QN_OK) return st;
    if (grid->rank != x->rank || grid->dims[grid->rank - 1] != s.k || grid->dims[0] != x->dims[0])
        return qn_error_set(err, QN_ERR_SHAPE, "the grid does not fit an input of rank %" PRId32 " with %" PRId64 " rows", x->rank,
                            x->dims[0]);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    for (int32_t a = 0; a < s.k; a++) dims[2 + a] = grid->dims[1 + a];
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, dims, err)) != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    in_plane = qn_move_span(x->dims, 2, x->rank);
    out_plane = qn_move_span(dims, 2, x->rank);
    if (in_plane == 0) return qn_error_set(err, QN_ERR_SHAPE, "the input is empty: there is nothing to sample");
    for (int64_t p = 0; p < dims[0] * out_plane; p++) {
        const int64_t row = p / out_plane;
        int32_t n = place_taps(&s, x, grid, p, at, weight);

        for (int64_t c = 0; c < dims[1]; c++) {
            const int64_t plane = row * dims[1] + c;
            double sum = 0;

            for (int32_t t = 0; t < n; t++) sum += weight[t] * qn_move_real(x, plane * in_plane + at[t]);
            if (x->dtype == QN_F32)
                ((float *)r->out[0].data)[plane * out_plane + p % out_plane] = (float)sum;
            else
                ((double *)r->out[0].data)[plane * out_plane + p % out_plane] = sum;
        }
    }
    return QN_OK;
}

static void sample_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    (void)c;
    if (in_axis[0] == 0 && in_axis[1] == 0) out_axis[0] = 0;
}

const qn_op qn_op_grid_sample = {
    .name = "GridSample",
    .since = 16,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = sample_infer,
    .rows = sample_rows,
    .run = sample_run,
};
