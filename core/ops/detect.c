/* core/ops/detect.c - NonMaxSuppression and RoiAlign: what object detectors end with.
 * Spec   NonMaxSuppression 10 on: for each batch and class the boxes by falling score, without those that overlap a chosen one by more
 *        than iou_threshold. Ties: the lower index first. RoiAlign 10 (no half-pixel offset), 16 on (coordinate_transformation_mode);
 *        f32 and f64. mode max is the largest of the weighted corners, as ONNX Runtime has it. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/buf.h"
#include "core/base/checked.h"
#include "core/kernels/move/key.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* -- NonMaxSuppression ---------------------------------------------------------------------------------------------------- */

static qn_status nms_infer(qn_infer *c, qn_error *err)
{
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK) return st;
    for (int32_t i = 0; i < 2; i++)
        if ((st = qn_move_need_dtype(c, i, 1u << QN_F32, err)) != QN_OK || (st = qn_move_need_rank(c, i, 3, 3, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 2, 1u << QN_I64, err)) != QN_OK) return st;
    for (int32_t i = 3; i < 5; i++)
        if ((st = qn_move_need_dtype(c, i, 1u << QN_F32, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], QN_I64, 2, err)) != QN_OK) return st;
    c->out[0].dims[1] = qn_dims_const(c->dims, 3);
    return QN_OK;
}

typedef struct nms {
    const float *boxes, *scores;
    int64_t n, max_out;
    float iou, score;
    bool limit_score, center;
} nms;

typedef struct box {
    float y1, x1, y2, x2;
} box;

static box box_at(const nms *s, int64_t i)
{
    const float *p = s->boxes + 4 * i;
    box b;

    if (s->center)
        b = (box){ p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2 }; /* x, y, width, height */
    else
        b = (box){ fminf(p[0], p[2]), fminf(p[1], p[3]), fmaxf(p[0], p[2]), fmaxf(p[1], p[3]) }; /* any two opposite corners */
    return b;
}

static bool overlap(const nms *s, int64_t i, int64_t j)
{
    const box a = box_at(s, i), b = box_at(s, j);
    const float h = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1), w = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1);
    const float area_a = (a.y2 - a.y1) * (a.x2 - a.x1), area_b = (b.y2 - b.y1) * (b.x2 - b.x1);

    if (!(h > 0 && w > 0) || area_a <= 0 || area_b <= 0) return false;
    return h * w / (area_a + area_b - h * w) > s->iou;
}

/* The chosen boxes of one class, appended as (batch, class, box). order: room for n entries. */
static bool choose(const nms *s, int64_t batch, int64_t class, qn_move_entry *order, qn_buf *out)
{
    size_t first = out->len;

    qn_move_top(QN_F32, s->scores, s->n, 1, true, s->n, order);
    for (int64_t i = 0; i < s->n && (int64_t)((out->len - first) / 24) < s->max_out; i++) {
        const int64_t at = order[i].place;
        bool keep = !isnan(s->scores[at]) && (!s->limit_score || s->scores[at] > s->score);

        for (size_t k = first; keep && k < out->len; k += 24) {
            int64_t chosen;

            memcpy(&chosen, out->data + k + 16, sizeof chosen);
            keep = !overlap(s, chosen, at);
        }
        if (keep && !qn_buf_append(out, (const int64_t[]){ batch, class, at }, 24)) return false;
    }
    return true;
}

/* A number in an optional input of one element. */
static qn_status scalar(const qn_run *r, int32_t i, double fallback, double *v, qn_error *err)
{
    *v = fallback;
    if (!qn_move_has(r, i)) return QN_OK;
    if (qn_tensor_count(&r->in[i]) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has %" PRId64 " elements, expected 1", i, qn_tensor_count(&r->in[i]));
    *v = qn_move_real(&r->in[i], 0);
    return QN_OK;
}

static qn_status nms_read(const qn_run *r, nms *s, qn_error *err)
{
    const qn_tensor *b = &r->in[0], *c = &r->in[1];
    double max_out, iou, score;
    qn_status st;

    if (b->rank != 3 || c->rank != 3 || b->dims[2] != 4 || b->dims[0] != c->dims[0] || b->dims[1] != c->dims[2])
        return qn_error_set(err, QN_ERR_SHAPE,
                            "boxes [%" PRId64 ",%" PRId64 ",%" PRId64 "], scores [%" PRId64 ",%" PRId64 ",%" PRId64
                            "], expected [b,n,4] and [b,c,n]",
                            b->dims[0], b->dims[1], b->dims[2], c->dims[0], c->dims[1], c->dims[2]);
    if ((st = scalar(r, 2, 0, &max_out, err)) != QN_OK || (st = scalar(r, 3, 0, &iou, err)) != QN_OK ||
        (st = scalar(r, 4, 0, &score, err)) != QN_OK)
        return st;
    if (!(iou >= 0 && iou <= 1)) return qn_error_set(err, QN_ERR_RANGE, "iou_threshold is %g, expected 0..1", iou);
    *s = (nms){ .n = b->dims[1],
                .iou = (float)iou,
                .score = (float)score,
                .limit_score = qn_move_has(r, 4),
                .center = qn_node_int(r->node, "center_point_box", 0) == 1 };
    s->max_out = max_out < (double)s->n ? (int64_t)max_out : s->n;
    return QN_OK;
}

static qn_status nms_run(qn_run *r, qn_error *err)
{
    const qn_tensor *b = &r->in[0], *c = &r->in[1];
    nms s = { 0 };
    qn_move_work work;
    qn_buf out;
    size_t bytes;
    qn_status st = nms_read(r, &s, err);

    if (st != QN_OK) return st;
    if (!qn_size_mul((size_t)s.n, sizeof(qn_move_entry), &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " boxes", s.n);
    if ((st = qn_move_work_begin(r, bytes, &work, err)) != QN_OK) return st;
    qn_buf_init(&out, 0);
    for (int64_t i = 0; s.max_out > 0 && st == QN_OK && i < c->dims[0] * c->dims[1]; i++) {
        int64_t batch = i / c->dims[1];

        s.boxes = (const float *)b->data + batch * s.n * 4;
        s.scores = (const float *)c->data + i * s.n;
        if (!choose(&s, batch, i % c->dims[1], work.mem, &out)) st = qn_error_set(err, QN_ERR_NOMEM, "%zu chosen boxes", out.len / 24);
    }
    if (st == QN_OK) st = qn_move_output(r, 0, QN_I64, 2, (const int64_t[]){ (int64_t)(out.len / 24), 3 }, err);
    if (st == QN_OK && out.len) memcpy(r->out[0].data, out.data, out.len);
    qn_buf_release(&out);
    qn_move_work_end(&work);
    return st;
}

/* Each box of a class may meet every other one. */
static uint64_t nms_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    (void)out;
    return qn_cost_mul(qn_cost_elements(&in[1]), qn_cost_dim(&in[1], 2));
}

const qn_op qn_op_non_max_suppression = {
    .name = "NonMaxSuppression",
    .since = 10,
    .min_in = 2,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = nms_infer,
    .run = nms_run,
    .cost = nms_cost,
    .kernels = "move",
};

/* -- RoiAlign ------------------------------------------------------------------------------------------------------------- */

#define ROI_GRID   1024               /* sampling points along one side of an output place: one for each pixel of a large image */
#define ROI_POINTS ((int64_t)1 << 36) /* of all regions, which are data and may lie far outside the image: minutes */

typedef struct roi_align {
    bool max, half_pixel;
    int64_t height, width, ratio;
    double scale;
} roi_align;

static qn_status roi_attrs(const qn_node *node, roi_align *a, qn_error *err)
{
    const char *mode = qn_node_str(node, "mode", "avg"), *coord = qn_node_str(node, "coordinate_transformation_mode", "half_pixel");

    a->max = strcmp(mode, "max") == 0;
    a->half_pixel = node->opset >= 16 && strcmp(coord, "output_half_pixel") != 0;
    a->height = qn_node_int(node, "output_height", 1);
    a->width = qn_node_int(node, "output_width", 1);
    a->ratio = qn_node_int(node, "sampling_ratio", 0);
    a->scale = (double)qn_node_float(node, "spatial_scale", 1.0f);
    if (!a->max && strcmp(mode, "avg") != 0) return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.32s\", expected avg or max", mode);
    if (a->half_pixel && strcmp(coord, "half_pixel") != 0)
        return qn_error_set(err, QN_ERR_INVALID, "coordinate_transformation_mode is \"%.32s\", expected half_pixel or output_half_pixel",
                            coord);
    if (a->height < 1 || a->width < 1 || a->ratio < 0 || a->ratio > ROI_GRID)
        return qn_error_set(err, QN_ERR_INVALID, "output %" PRId64 " x %" PRId64 ", sampling_ratio %" PRId64, a->height, a->width,
                            a->ratio);
    return QN_OK;
}

static qn_status roi_infer(qn_infer *c, qn_error *err)
{
    const uint32_t floats = 1u << QN_F32 | 1u << QN_F64;
    roi_align a;
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK || (st = roi_attrs(c->node, &a, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, floats, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, floats, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 2, 1u << QN_I64, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 4, 4, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 1, 2, 2, err)) != QN_OK || (st = qn_move_need_rank(c, 2, 1, 1, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], c->in[0].dtype, 4, err)) != QN_OK) return st;
    if (c->in[1].rank == 2) c->out[0].dims[0] = c->in[1].dims[0];
    if (c->in[0].rank == 4) c->out[0].dims[1] = c->in[0].dims[1];
    c->out[0].dims[2] = qn_dims_const(c->dims, a.height);
    c->out[0].dims[3] = qn_dims_const(c->dims, a.width);
    return QN_OK;
}

/* One region: where it starts, its size, sampling points along the sides of an output place. */
typedef struct region {
    double y, x, h, w;
    int64_t grid_h, grid_w;
} region;

static qn_status region_of(const roi_align *a, const qn_tensor *rois, int64_t i, region *g, qn_error *err)
{
    const double offset = a->half_pixel ? 0.5 : 0;
    double v[4], h, w, bin_h, bin_w;

    for (int k = 0; k < 4; k++) v[k] = qn_move_real(rois, 4 * i + k) * a->scale - offset;
    w = v[2] - v[0];
    h = v[3] - v[1];
    if (!a->half_pixel) { /* opset 10 knows no region smaller than a pixel */
        w = w > 1 ? w : 1;
        h = h > 1 ? h : 1;
    }
    g->x = v[0];
    g->y = v[1];
    g->h = h;
    g->w = w;
    bin_h = h / (double)a->height;
    bin_w = w / (double)a->width;
    if (!(fabs(v[0]) < 0x1p40 && fabs(v[1]) < 0x1p40 && ceil(bin_h) <= ROI_GRID && ceil(bin_w) <= ROI_GRID))
        return qn_error_set(err, QN_ERR_RANGE, "region %" PRId64 " is %g x %g at %g, %g: more than %d sampling points for one output", i, h,
                            w, v[1], v[0], ROI_GRID);
    g->grid_h = a->ratio > 0 ? a->ratio : (int64_t)ceil(bin_h);
    g->grid_w = a->ratio > 0 ? a->ratio : (int64_t)ceil(bin_w);
    return QN_OK;
}

/* All regions make sense, and their sampling points in all channels are not too many. */
static qn_status check_regions(const roi_align *a, const qn_tensor *rois, int64_t channels, qn_error *err)
{
    int64_t left = ROI_POINTS;
    region g = { 0 };

    for (int64_t i = 0; i < rois->dims[0]; i++) {
        qn_status st = region_of(a, rois, i, &g, err);
        int64_t n;

        if (st != QN_OK) return st;
        n = g.grid_h > 0 && g.grid_w > 0 ? g.grid_h * g.grid_w : 1; /* each at most ROI_GRID */
        if (!qn_i64_mul(n, a->height, &n) || !qn_i64_mul(n, a->width, &n) || !qn_i64_mul(n, channels, &n) || n > left)
            return qn_error_set(err, QN_ERR_LIMIT, "regions 0 to %" PRId64 " take more than %" PRId64 " sampling points", i, ROI_POINTS);
        left -= n;
    }
    return QN_OK;
}

/* The corners around (y, x) with their weights; false outside the image. */
static bool corners(double y, double x, int64_t h, int64_t w, int64_t at[4], double weight[4])
{
    int64_t y0, x0, y1, x1;
    double fy, fx;

    if (y < -1 || y > (double)h || x < -1 || x > (double)w) return false;
    y = y > 0 ? y : 0;
    x = x > 0 ? x : 0;
    y0 = (int64_t)y < h - 1 ? (int64_t)y : h - 1;
    x0 = (int64_t)x < w - 1 ? (int64_t)x : w - 1;
    y1 = y0 < h - 1 ? y0 + 1 : y0;
    x1 = x0 < w - 1 ? x0 + 1 : x0;
    fy = y0 < h - 1 ? y - (double)y0 : 0;
    fx = x0 < w - 1 ? x - (double)x0 : 0;
    at[0] = y0 * w + x0, weight[0] = (1 - fy) * (1 - fx);
    at[1] = y0 * w + x1, weight[1] = (1 - fy) * fx;
    at[2] = y1 * w + x0, weight[2] = fy * (1 - fx);
    at[3] = y1 * w + x1, weight[3] = fy * fx;
    return true;
}

/* Where the i-th of n points along a side lies: one rounding less than by way of the output place, for points on the image's very edge count. */
static double along(double from, double size, int64_t i, int64_t n) { return from + size * (((double)i + 0.5) / (double)n); }

static double pool_place(const roi_align *a, const region *g, const qn_tensor *x, int64_t plane, int64_t py, int64_t px)
{
    const int64_t h = x->dims[2], w = x->dims[3], n = g->grid_h * g->grid_w;
    double sum = 0, best = 0;
    bool any = false;

    for (int64_t iy = 0; iy < g->grid_h; iy++) {
        double y = along(g->y, g->h, py * g->grid_h + iy, a->height * g->grid_h);

        for (int64_t ix = 0; ix < g->grid_w; ix++) {
            double xx = along(g->x, g->w, px * g->grid_w + ix, a->width * g->grid_w), weight[4];
            int64_t at[4];
            bool in = corners(y, xx, h, w, at, weight);

            for (int k = 0; k < 4; k++) {
                double v = in ? weight[k] * qn_move_real(x, plane * h * w + at[k]) : 0;

                sum += v;
                if (!any || v > best) best = v;
                any = true;
            }
        }
    }
    return a->max ? best : n > 0 ? sum / (double)n : 0;
}

static qn_status roi_check(const qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *rois = &r->in[1], *batch = &r->in[2];

    if (x->rank != 4 || rois->rank != 2 || rois->dims[1] != 4 || batch->rank != 1 || batch->dims[0] != rois->dims[0])
        return qn_error_set(err, QN_ERR_SHAPE, "expected x [n,c,h,w], rois [r,4], batch_indices [r]");
    for (int64_t i = 0; i < batch->dims[0]; i++) {
        int64_t b = qn_move_int(batch, i);

        if (b < 0 || b >= x->dims[0])
            return qn_error_set(err, QN_ERR_RANGE, "batch_indices[%" PRId64 "] is %" PRId64 ", axis 0 has size %" PRId64, i, b, x->dims[0]);
    }
    return QN_OK;
}

static qn_status roi_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *rois = &r->in[1];
    roi_align a;
    region g = { 0 };
    int64_t at = 0;
    qn_status st;

    if ((st = roi_attrs(r->node, &a, err)) != QN_OK || (st = roi_check(r, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 0, x->dtype, 4, (const int64_t[]){ rois->dims[0], x->dims[1], a.height, a.width }, err)) != QN_OK)
        return st;
    if (qn_tensor_count(&r->out[0]) == 0) return QN_OK;
    if (qn_tensor_count(x) == 0) return qn_error_set(err, QN_ERR_SHAPE, "the image is empty");
    if ((st = check_regions(&a, rois, x->dims[1], err)) != QN_OK) return st;
    for (int64_t i = 0; i < rois->dims[0]; i++) {
        if ((st = region_of(&a, rois, i, &g, err)) != QN_OK) return st;
        for (int64_t c = 0; c < x->dims[1]; c++) {
            for (int64_t p = 0; p < a.height * a.width; p++, at++) {
                double v = pool_place(&a, &g, x, qn_move_int(&r->in[2], i) * x->dims[1] + c, p / a.width, p % a.width);

                if (x->dtype == QN_F32)
                    ((float *)r->out[0].data)[at] = (float)v;
                else
                    ((double *)r->out[0].data)[at] = v;
            }
        }
    }
    return QN_OK;
}

/* Four corners of each sampling point; where sampling_ratio leaves it to the regions, as many as cover the image. */
static uint64_t roi_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    const int64_t ratio = qn_node_int(n, "sampling_ratio", 0);
    uint64_t points = qn_cost_mul((uint64_t)(ratio > 0 ? ratio : 1), (uint64_t)(ratio > 0 ? ratio : 1)), image;

    points = qn_cost_mul(qn_cost_elements(&out[0]), points);
    image = qn_cost_mul(qn_cost_mul(qn_cost_dim(&out[0], 0), qn_cost_dim(&out[0], 1)),
                        qn_cost_mul(qn_cost_dim(&in[0], 2), qn_cost_dim(&in[0], 3)));
    return qn_cost_mul(ratio > 0 ? points : qn_cost_add(points, image), 4);
}

const qn_op qn_op_roi_align = {
    .name = "RoiAlign",
    .since = 10,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = roi_infer,
    .run = roi_run,
    .cost = roi_cost,
};
