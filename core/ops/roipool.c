/* core/ops/roipool.c - MaxRoiPool: the largest values in the cells of rectangles of an image.
 * Spec   ONNX MaxRoiPool 1 on. rois [r, 5]: batch index, x1, y1, x2, y2, both corners inside; f32, f64, f16.
 * Value  corners times spatial_scale, rounded half away from zero; a region is at least one place wide and high. Cell i of n of a region of
 *        height h covers floor(i h / n) .. ceil((i + 1) h / n) - 1 from its start, cut to the image; an empty cell is 0. NaN is never the
 *        largest unless it comes first.
 * Source Girshick 2015, arXiv:1504.08083, section 2.1.
 * Grad   dx: dy at the place of the largest value. */
#include "core/graph/cost.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>

static qn_status pool_attrs(const qn_node *node, int64_t *h, int64_t *w, qn_error *err)
{
    int64_t n;
    const int64_t *shape = qn_node_ints(node, "pooled_shape", &n);

    if (!shape || n != 2) return qn_error_set(err, QN_ERR_INVALID, "pooled_shape has %" PRId64 " values, expected 2", n);
    *h = shape[0];
    *w = shape[1];
    if (*h < 1 || *w < 1 || *h > INT32_MAX || *w > INT32_MAX)
        return qn_error_set(err, QN_ERR_INVALID, "pooled_shape is %" PRId64 " x %" PRId64 ", expected 1 or more", *h, *w);
    return QN_OK;
}

static qn_status pool_infer(qn_infer *c, qn_error *err)
{
    const uint32_t floats = 1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16;
    int64_t h, w;
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = pool_attrs(c->node, &h, &w, err);
    for (int32_t i = 0; i < 2 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, floats, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 4, 4, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 1, 2, 2, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], c->in[0].dtype, 4, err);
    if (st != QN_OK) return st;
    if (c->in[1].rank == 2) c->out[0].dims[0] = c->in[1].dims[0];
    if (c->in[0].rank == 4) c->out[0].dims[1] = c->in[0].dims[1];
    c->out[0].dims[2] = qn_dims_const(c->dims, h);
    c->out[0].dims[3] = qn_dims_const(c->dims, w);
    return QN_OK;
}

/* Where a region lies along one axis. */
typedef struct span {
    int64_t start, size;
} span;

static qn_status span_of(int64_t roi, double from, double to, double scale, span *s, qn_error *err)
{
    const double a = round(from * scale), b = round(to * scale);

    if (!(fabs(a) < 0x1p31 && fabs(b) < 0x1p31))
        return qn_error_set(err, QN_ERR_RANGE, "rois[%" PRId64 "] reaches from %g to %g", roi, from, to);
    s->start = (int64_t)a;
    s->size = (int64_t)(b - a) + 1;
    if (s->size < 1) s->size = 1;
    return QN_OK;
}

/* Cell i of n: [*lo, *hi) in 0..limit. */
static void cell(const span *s, int64_t i, int64_t n, int64_t limit, int64_t *lo, int64_t *hi)
{
    *lo = s->start + i * s->size / n;
    *hi = s->start + ((i + 1) * s->size + n - 1) / n;
    *lo = *lo < 0 ? 0 : *lo > limit ? limit : *lo;
    *hi = *hi < 0 ? 0 : *hi > limit ? limit : *hi;
}

static double largest(const qn_tensor *x, int64_t plane, int64_t y0, int64_t y1, int64_t x0, int64_t x1)
{
    double best = 0;
    bool any = false;

    for (int64_t i = y0; i < y1; i++) {
        for (int64_t j = x0; j < x1; j++) {
            const double v = qn_move_real(x, plane + i * x->dims[3] + j);

            if (!any || v > best) best = v;
            any = true;
        }
    }
    return best;
}

/* One region to the output. */
static void pool_region(const qn_tensor *x, int64_t batch, const span *sy, const span *sx, const qn_tensor *y, int64_t roi)
{
    const int64_t h = y->dims[2], w = y->dims[3], size = (int64_t)qn_dtype_size(y->dtype);

    for (int64_t i = 0; i < h; i++) {
        int64_t y0, y1;

        cell(sy, i, h, x->dims[2], &y0, &y1);
        for (int64_t j = 0; j < w; j++) {
            int64_t x0, x1;

            cell(sx, j, w, x->dims[3], &x0, &x1);
            for (int64_t c = 0; c < x->dims[1]; c++) {
                const double v = largest(x, (batch * x->dims[1] + c) * x->dims[2] * x->dims[3], y0, y1, x0, x1);
                const float f = (float)v;

                qn_elem_store(y->dtype, (char *)y->data + (((roi * x->dims[1] + c) * h + i) * w + j) * size, 1,
                              y->dtype == QN_F64 ? (const void *)&v : &f);
            }
        }
    }
}

static qn_status pool_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *rois = &r->in[1];
    const double scale = (double)qn_node_float(r->node, "spatial_scale", 1.0f);
    int64_t h, w;
    qn_status st = pool_attrs(r->node, &h, &w, err);

    if (st != QN_OK) return st;
    if (x->rank != 4 || rois->rank != 2 || rois->dims[1] != 5)
        return qn_error_set(err, QN_ERR_SHAPE, "expected x [n,c,h,w] and rois [r,5]");
    if ((st = qn_move_output(r, 0, x->dtype, 4, (const int64_t[]){ rois->dims[0], x->dims[1], h, w }, err)) != QN_OK) return st;
    for (int64_t i = 0; i < rois->dims[0]; i++) {
        const double batch = qn_move_real(rois, 5 * i);
        span sy, sx;

        if (!(batch >= 0 && batch < (double)x->dims[0]))
            return qn_error_set(err, QN_ERR_RANGE, "rois[%" PRId64 "] is of image %g, axis 0 has size %" PRId64, i, batch, x->dims[0]);
        st = span_of(i, qn_move_real(rois, 5 * i + 1), qn_move_real(rois, 5 * i + 3), scale, &sx, err);
        if (st == QN_OK) st = span_of(i, qn_move_real(rois, 5 * i + 2), qn_move_real(rois, 5 * i + 4), scale, &sy, err);
        if (st != QN_OK) return st;
        pool_region(x, (int64_t)batch, &sy, &sx, &r->out[0], i);
    }
    return QN_OK;
}

/* A region is at most the image, and its cells overlap by a place. */
static uint64_t pool_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t image = qn_cost_mul(qn_cost_dim(&in[0], 2), qn_cost_dim(&in[0], 3));

    (void)n;
    image = qn_cost_mul(image, qn_cost_mul(qn_cost_dim(&out[0], 0), qn_cost_dim(&out[0], 1)));
    return qn_cost_add(image, qn_cost_elements(&out[0]));
}

const qn_op qn_op_max_roi_pool = {
    .name = "MaxRoiPool",
    .domain = "",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = pool_infer,
    .run = pool_run,
    .cost = pool_cost,
};
