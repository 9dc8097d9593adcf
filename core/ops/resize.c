/* core/ops/resize.c - Resize and Upsample: images (any tensor) enlarged and shrunk, axis by axis.
 * Spec   Upsample 7 (attribute scales), 9 (input scales); Resize 10 (input scales), 11 (roi, scales, sizes), 18 (axes, antialias,
 *        keep_aspect_ratio_policy), 19 (half_pixel_symmetric). Before 11: asymmetric coordinates, nearest rounds down (up where an axis
 *        shrinks, as ONNX Runtime does). A roi does not change the size that scales ask for, as in ONNX's own shape inference.
 * How    nearest moves elements by tables, in any dtype. linear and cubic are separable: one weighted sum along each axis that changes,
 *        shrinking axes first, so that nothing in between is larger than the input or the output.
 * Value  f16 and bf16 compute in f32, f64 in f64, integers in f32 and are cut towards zero, as ONNX Runtime does. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/ops/resample.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- what is asked for ---------------------------------------------------------------------------------------------------- */

static qn_status pick(const qn_node *node, const char *attr, const char *fallback, const char *const *names, int n, int *out, qn_error *err)
{
    const char *s = qn_node_str(node, attr, fallback);

    for (int i = 0; i < n; i++) {
        *out = i;
        if (strcmp(s, names[i]) == 0) return QN_OK;
    }
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s is \"%.40s\", which is unsupported at opset %" PRId64, attr, s, node->opset);
}

static qn_status read_attrs(const qn_node *node, qn_resample *r, qn_error *err)
{
    static const char *const how[] = { "nearest", "linear", "cubic" };
    static const char *const coord[] = { "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                         "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize" };
    static const char *const rounds[] = { "round_prefer_floor", "round_prefer_ceil", "floor", "ceil" };
    const char *mode = qn_node_str(node, "mode", "nearest");
    int h = QN_RESAMPLE_LINEAR, c = QN_COORD_ASYMMETRIC, n = QN_ROUND_SIMPLE;
    qn_status st = QN_OK;

    if (node->opset >= 11 || strcmp(mode, "bilinear") != 0) st = pick(node, "mode", "nearest", how, node->opset >= 11 ? 3 : 2, &h, err);
    if (st == QN_OK && node->opset >= 11) st = pick(node, "coordinate_transformation_mode", "half_pixel", coord, 7, &c, err);
    if (st == QN_OK && node->opset >= 11) st = pick(node, "nearest_mode", "round_prefer_floor", rounds, 4, &n, err);
    *r = (qn_resample){
        .how = (qn_resample_how)h,
        .coord = (qn_resample_coord)c,
        .round = (qn_resample_round)n,
        .cubic_a = (double)qn_node_float(node, "cubic_coeff_a", -0.75f),
        .extrapolation = (double)qn_node_float(node, "extrapolation_value", 0.0f),
        .exclude_outside = qn_node_int(node, "exclude_outside", 0) != 0,
        .antialias = qn_node_int(node, "antialias", 0) != 0,
    };
    return st;
}

/* The optional inputs; one without elements counts as left out. */
typedef struct wants {
    const qn_tensor *roi, *scales, *sizes;
} wants;

static const qn_tensor *given(const qn_tensor *t) { return t && t->dtype != QN_DTYPE_NONE && qn_tensor_count(t) > 0 ? t : NULL; }

/* Index of the inputs; -1: this opset has none. */
static int32_t scales_input(const qn_node *node) { return node->opset >= 11 ? 2 : node->opset >= 9 ? 1 : -1; }
static int32_t sizes_input(const qn_node *node) { return node->opset >= 11 ? 3 : -1; }

/* The axes that scales, sizes and roi speak of. */
static qn_status read_axes(const qn_node *node, int32_t rank, qn_move_list *axes, qn_error *err)
{
    int64_t n;
    const int64_t *v = qn_node_ints(node, "axes", &n);

    if (n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " axes, the input has rank %" PRId32, n, rank);
    axes->n = v ? (int32_t)n : rank;
    for (int32_t i = 0; i < axes->n; i++) axes->v[i] = v ? v[i] : i;
    return qn_move_axes(axes, rank, err);
}

static qn_status check_length(const char *what, int64_t n, int64_t want, qn_error *err)
{
    return n == want ? QN_OK : qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId64 " numbers, expected %" PRId64, what, n, want);
}

/* The k-th scale: an attribute in opset 7. */
static double scale_at(const qn_node *node, const qn_tensor *scales, int32_t k)
{
    int64_t n;
    const float *attr = scales ? NULL : qn_node_floats(node, "scales", &n);

    return attr ? (double)attr[k] : qn_move_real(scales, k);
}

static qn_status by_scales(const qn_node *node, const wants *w, const qn_move_list *axes, qn_resample_axis *a, qn_error *err)
{
    for (int32_t k = 0; k < axes->n; k++) {
        qn_resample_axis *x = &a[axes->v[k]];
        float out;

        x->scale = scale_at(node, w->scales, k);
        if (!(x->scale > 0) || isinf(x->scale))
            return qn_error_set(err, QN_ERR_INVALID, "scales[%" PRId32 "] is %g, expected above 0", k, x->scale);
        out = (float)x->n_in * (float)x->scale; /* in f32, where 10 * 0.7 is 7 */
        if (!(out >= 0 && out < 0x1p62f))
            return qn_error_set(err, QN_ERR_LIMIT, "axis %" PRId64 " would have size %g", axes->v[k], (double)out);
        x->n_out = (int64_t)floorf(out);
    }
    return QN_OK;
}

static qn_status by_sizes(const qn_node *node, const wants *w, const qn_move_list *axes, qn_resample_axis *a, qn_error *err)
{
    static const char *const policies[] = { "stretch", "not_larger", "not_smaller" };
    int policy = 0;
    double common = 0;
    qn_status st = pick(node, "keep_aspect_ratio_policy", "stretch", policies, 3, &policy, err);

    for (int32_t k = 0; st == QN_OK && k < axes->n; k++) {
        qn_resample_axis *x = &a[axes->v[k]];

        x->n_out = qn_move_int(w->sizes, k);
        if (x->n_out < 0 || x->n_out > INT64_C(1) << 62)
            return qn_error_set(err, QN_ERR_SHAPE, "sizes[%" PRId32 "] is %" PRId64 ", expected 0 or more", k, x->n_out);
        x->scale = x->n_in > 0 ? (double)x->n_out / (double)x->n_in : 1;
        if (k == 0 || (policy == 1 ? x->scale < common : x->scale > common)) common = x->scale;
    }
    for (int32_t k = 0; st == QN_OK && policy != 0 && k < axes->n; k++) {
        qn_resample_axis *x = &a[axes->v[k]];

        double out = floor(common * (double)x->n_in + 0.5);

        if (out >= 0x1p62) return qn_error_set(err, QN_ERR_LIMIT, "axis %" PRId64 " would have size %g", axes->v[k], out);
        x->scale = common;
        x->n_out = (int64_t)out;
    }
    return st;
}

/* Everything as numbers: a[rank]. */
static qn_status resolve(const qn_node *node, const qn_tensor *x, const wants *w, qn_resample *r, qn_resample_axis *a, qn_error *err)
{
    int64_t n_attr = 0;
    const float *attr = qn_node_floats(node, "scales", &n_attr);
    qn_move_list axes;
    qn_status st;

    if ((st = read_attrs(node, r, err)) != QN_OK || (st = read_axes(node, x->rank, &axes, err)) != QN_OK) return st;
    if (!!w->scales + !!w->sizes + (node->opset < 9 && attr) != 1)
        return qn_error_set(err, QN_ERR_INVALID, "%s of scales and sizes, expected one", w->scales && w->sizes ? "both" : "none");
    if (w->sizes)
        st = check_length("sizes", qn_tensor_count(w->sizes), axes.n, err);
    else
        st = check_length("scales", w->scales ? qn_tensor_count(w->scales) : n_attr, axes.n, err);
    if (st != QN_OK) return st;
    for (int32_t k = 0; k < x->rank; k++) a[k] = (qn_resample_axis){ x->dims[k], x->dims[k], 1, 0, 1 };
    if (r->coord == QN_COORD_TF_CROP_AND_RESIZE) {
        if (!w->roi) return qn_error_set(err, QN_ERR_INVALID, "roi is left out, tf_crop_and_resize needs it");
        if ((st = check_length("roi", qn_tensor_count(w->roi), 2 * (int64_t)axes.n, err)) != QN_OK) return st;
        for (int32_t k = 0; k < axes.n; k++) {
            a[axes.v[k]].roi_from = qn_move_real(w->roi, k);
            a[axes.v[k]].roi_to = qn_move_real(w->roi, axes.n + k);
        }
    }
    st = w->sizes ? by_sizes(node, w, &axes, a, err) : by_scales(node, w, &axes, a, err);
    for (int32_t k = 0; k < x->rank && st == QN_OK; k++)
        if (a[k].n_in == 0 && a[k].n_out != 0)
            st = qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " is empty: there is nothing to enlarge", k);
    return st;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* d * scale rounded down, where that is an expression: whole numbers and halves, quarters, ... */
static qn_dim scaled(const qn_infer *c, qn_dim d, double scale)
{
    int64_t v;
    float out;

    if (qn_move_number(c, d, &v)) {
        out = (float)v * (float)scale;
        return out >= 0 && out < 0x1p62f ? qn_dims_const(c->dims, (int64_t)floorf(out)) : QN_DIM_UNKNOWN;
    }
    if (scale == floor(scale) && scale >= 1 && scale < 0x1p31) return qn_dims_mul(c->dims, d, qn_dims_const(c->dims, (int64_t)scale));
    if (scale > 0x1p-31 && 1 / scale == floor(1 / scale) && frexp(scale, &(int){ 0 }) == 0.5)
        return qn_dims_floordiv(c->dims, d, qn_dims_const(c->dims, (int64_t)(1 / scale)));
    return QN_DIM_UNKNOWN;
}

/* Some dims are symbols, or the sizes are: one axis at a time. */
static void infer_axes(qn_infer *c, const qn_move_list *axes, const qn_tensor *scales)
{
    const qn_type *x = &c->in[0];
    int64_t n_attr = 0;
    const float *attr = qn_node_floats(c->node, "scales", &n_attr);
    const int32_t si = sizes_input(c->node);
    int32_t n = 0;
    const qn_dim *sizes = si >= 0 && qn_infer_has(c, si) ? qn_move_known(c, si, &n) : NULL;
    bool stretch = strcmp(qn_node_str(c->node, "keep_aspect_ratio_policy", "stretch"), "stretch") == 0;

    for (int32_t a = 0; a < x->rank; a++) c->out[0].dims[a] = x->dims[a];
    for (int32_t k = 0; k < axes->n; k++) {
        qn_dim *d = &c->out[0].dims[axes->v[k]];

        if (sizes && n == axes->n)
            *d = stretch ? sizes[k] : QN_DIM_UNKNOWN;
        else if ((scales && qn_tensor_count(scales) == axes->n) || (c->node->opset < 9 && attr && n_attr == axes->n))
            *d = scaled(c, *d, scale_at(c->node, scales, k));
        else
            *d = QN_DIM_UNKNOWN;
    }
}

static qn_status resize_infer(qn_infer *c, qn_error *err)
{
    const uint32_t text = 1u << QN_STRING;
    const int32_t sc = scales_input(c->node), si = sizes_input(c->node);
    qn_tensor x = { .rank = c->in[0].rank };
    wants w = { 0 };
    bool numbers = true;
    qn_move_list axes;
    qn_resample r;
    qn_resample_axis a[QN_MAX_RANK];
    qn_status st = qn_move_need(c, 1, err);

    if (st != QN_OK || (st = qn_move_need_dtype(c, 0, ~text, err)) != QN_OK || (st = read_attrs(c->node, &r, err)) != QN_OK) return st;
    if (r.how != QN_RESAMPLE_NEAREST && (st = qn_move_need_dtype(c, 0, ~(text | 1u << QN_BOOL | 1u << QN_I4 | 1u << QN_U4), err)) != QN_OK)
        return st;
    if (sc >= 0 && (st = qn_move_need_dtype(c, sc, 1u << QN_F32, err)) != QN_OK) return st;
    if (si >= 0 && (st = qn_move_need_dtype(c, si, 1u << QN_I64, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (x.rank < 0) return QN_OK;
    if ((st = read_axes(c->node, x.rank, &axes, err)) != QN_OK) return st;
    for (int32_t k = 0; k < x.rank; k++) numbers = qn_move_number(c, c->in[0].dims[k], &x.dims[k]) && numbers;
    for (int32_t i = 1; i < c->node->n_in; i++) numbers = numbers && (!qn_infer_has(c, i) || c->in_const[i]);
    if (si >= 0) {
        w.roi = qn_infer_has(c, 1) ? given(c->in_const[1]) : NULL;
        w.sizes = qn_infer_has(c, si) ? given(c->in_const[si]) : NULL;
    }
    w.scales = sc >= 0 && qn_infer_has(c, sc) ? given(c->in_const[sc]) : NULL;
    if (!numbers) {
        infer_axes(c, &axes, w.scales);
        return QN_OK;
    }
    if ((st = resolve(c->node, &x, &w, &r, a, err)) != QN_OK) return st;
    for (int32_t k = 0; k < x.rank; k++) c->out[0].dims[k] = qn_dims_const(c->dims, a[k].n_out);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status resolve_run(const qn_run *run, qn_resample *r, qn_resample_axis *a, qn_error *err)
{
    const int32_t sc = scales_input(run->node), si = sizes_input(run->node);
    wants w = { 0 };

    if (sc >= 0 && sc < run->node->n_in) w.scales = given(&run->in[sc]);
    if (si >= 0 && si < run->node->n_in) w.sizes = given(&run->in[si]);
    if (si >= 0 && run->node->n_in > 1) w.roi = given(&run->in[1]);
    return resolve(run->node, &run->in[0], &w, r, a, err);
}

static void paint_outside(const qn_tensor *y, const uint8_t *const *outside, const uint64_t *value)
{
    const size_t elem = qn_dtype_size(y->dtype);
    const int64_t n = qn_tensor_count(y);
    int64_t at[QN_MAX_RANK] = { 0 };

    for (int64_t i = 0; i < n; i++) {
        bool out = false;

        for (int32_t a = 0; a < y->rank; a++) out = out || outside[a][at[a]];
        if (out) memcpy((char *)y->data + (size_t)i * elem, value, elem);
        for (int32_t a = y->rank - 1; a >= 0; a--) {
            if (++at[a] < y->dims[a]) break;
            at[a] = 0;
        }
    }
}

/* v cut towards zero into an integer type, or rounded into a floating one. */
static void store(const qn_tensor *y, int64_t i, double v)
{
#define CUT(type, lo, hi) ((type *)y->data)[i] = !(v > (double)(lo)) ? (v != v ? 0 : (lo)) : v >= (double)(hi) ? (hi) : (type)v
    switch (y->dtype) {
    case QN_F32: ((float *)y->data)[i] = (float)v; break;
    case QN_F64: ((double *)y->data)[i] = v; break;
    case QN_F16: ((uint16_t *)y->data)[i] = qn_f32_to_f16((float)v); break;
    case QN_BF16: ((uint16_t *)y->data)[i] = qn_f32_to_bf16((float)v); break;
    case QN_I8: CUT(int8_t, INT8_MIN, INT8_MAX); break;
    case QN_I16: CUT(int16_t, INT16_MIN, INT16_MAX); break;
    case QN_I32: CUT(int32_t, INT32_MIN, INT32_MAX); break;
    case QN_I64: CUT(int64_t, INT64_MIN, INT64_MAX); break;
    case QN_U8: CUT(uint8_t, 0, UINT8_MAX); break;
    case QN_U16: CUT(uint16_t, 0, UINT16_MAX); break;
    case QN_U32: CUT(uint32_t, 0, UINT32_MAX); break;
    case QN_U64: CUT(uint64_t, 0, UINT64_MAX); break;
    default: break;
    }
#undef CUT
}

static qn_status run_nearest(qn_run *run, const qn_resample *r, const qn_resample_axis *a, const uint8_t **outside, qn_move_pieces *p,
                             qn_error *err)
{
    const qn_tensor *x = &run->in[0], *y = &run->out[0];
    int64_t strides[QN_MAX_RANK];
    qn_move_tables t = { .rank = x->rank };

    (void)err;
    qn_shape_strides(x->rank, x->dims, strides);
    for (int32_t k = 0; k < x->rank; k++) {
        int64_t *from = qn_move_piece(p, y->dims[k], sizeof *from);
        uint8_t *out = r->coord == QN_COORD_TF_CROP_AND_RESIZE ? qn_move_piece(p, y->dims[k], 1) : NULL;

        t.dims[k] = y->dims[k];
        t.from[k] = from;
        outside[k] = out;
        if (p->mem) qn_resample_nearest(r, &a[k], strides[k], from, out);
    }
    if (p->mem) qn_move_by_table(&t, qn_dtype_size(x->dtype), x->data, y->data, run->team);
    return QN_OK;
}

/* The axes that change, shrinking ones first. */
static int32_t passes(const qn_resample *r, const qn_resample_axis *a, int32_t rank, int32_t *order)
{
    int32_t n = 0;

    for (int round = 0; round < 2; round++)
        for (int32_t k = 0; k < rank; k++)
            if (!qn_resample_is_identity(r, &a[k]) && (a[k].n_out < a[k].n_in) == (round == 0)) order[n++] = k;
    return n;
}

/* Weighted sums along every axis that changes. Buffers: the input in the type of the sums, then one result after the other; where the
 * types agree the first reads the input and the last writes the output. */
static qn_status run_filter(qn_run *run, const qn_resample *r, const qn_resample_axis *a, const uint8_t **outside, qn_move_pieces *p,
                            qn_error *err)
{
    const qn_tensor *x = &run->in[0], *y = &run->out[0];
    const bool wide = x->dtype == QN_F64, same = wide || x->dtype == QN_F32;
    const size_t elem = wide ? 8 : 4;
    int64_t dims[QN_MAX_RANK], n_x = qn_tensor_count(x), n_y = qn_tensor_count(y);
    int32_t order[QN_MAX_RANK], n = passes(r, a, x->rank, order);
    void *from = x->data;

    (void)err;
    memcpy(dims, x->dims, sizeof dims);
    if (!same) {
        float *copy = qn_move_piece(p, n_x, elem);

        for (int64_t i = 0; p->mem && i < n_x; i++) copy[i] = (float)qn_move_real(x, i);
        from = copy;
    }
    for (int32_t k = 0; r->coord == QN_COORD_TF_CROP_AND_RESIZE && k < x->rank; k++) { /* axes that do not change are never outside */
        uint8_t *flags = qn_move_piece(p, y->dims[k], 1);

        outside[k] = flags;
        if (p->mem) memset(flags, 0, (size_t)y->dims[k]);
    }
    for (int32_t i = 0; i < n; i++) {
        const int32_t axis = order[i];
        const int64_t taps = qn_resample_taps(r, &a[axis]);
        int64_t n_table = 0, *index;
        double *weight;
        const qn_move_filter *f;
        void *to;

        if (!qn_i64_mul(taps, a[axis].n_out, &n_table)) p->failed = true;
        index = qn_move_piece(p, n_table, sizeof *index);
        weight = qn_move_piece(p, n_table, sizeof *weight);
        dims[axis] = a[axis].n_out;
        to = same && i == n - 1 ? y->data : qn_move_piece(p, qn_move_span(dims, 0, x->rank), elem);
        if (!p->mem) continue;
        qn_resample_filter(r, &a[axis], index, weight, (uint8_t *)(uintptr_t)outside[axis]);
        f = &(qn_move_filter){ a[axis].n_in, a[axis].n_out, taps, index, weight };
        if (wide)
            qn_move_filter_f64(f, from, to, qn_move_span(dims, 0, axis), qn_move_span(dims, axis + 1, x->rank), run->team);
        else
            qn_move_filter_f32(f, from, to, qn_move_span(dims, 0, axis), qn_move_span(dims, axis + 1, x->rank), run->team);
        from = to;
    }
    if (!p->mem) return QN_OK;
    if (!same)
        for (int64_t i = 0; i < n_y; i++) store(y, i, (double)((const float *)from)[i]);
    else if (n == 0)
        memcpy(y->data, x->data, x->bytes);
    return QN_OK;
}

typedef qn_status way(qn_run *run, const qn_resample *r, const qn_resample_axis *a, const uint8_t **outside, qn_move_pieces *p,
                      qn_error *err);

static qn_status resize_run(qn_run *run, qn_error *err)
{
    const qn_tensor *x = &run->in[0];
    qn_resample r;
    qn_resample_axis a[QN_MAX_RANK];
    int64_t dims[QN_MAX_RANK] = { 0 };
    const uint8_t *outside[QN_MAX_RANK] = { NULL };
    uint64_t value = 0;
    qn_move_pieces p = { NULL, 0, false };
    qn_move_work work;
    way *how;
    qn_status st = resolve_run(run, &r, a, err);

    for (int32_t k = 0; st == QN_OK && k < x->rank; k++) dims[k] = a[k].n_out;
    if (st != QN_OK || (st = qn_move_output(run, 0, x->dtype, x->rank, dims, err)) != QN_OK || qn_tensor_count(&run->out[0]) == 0)
        return st;
    if (x->rank == 0) {
        memcpy(run->out[0].data, x->data, x->bytes);
        return QN_OK;
    }
    how = r.how == QN_RESAMPLE_NEAREST ? run_nearest : run_filter;
    (void)how(run, &r, a, outside, &p, err); /* once to count, once to run; a byte more, so that there is memory */
    if (p.failed) return qn_error_set(err, QN_ERR_LIMIT, "tables of a resize overflow");
    if ((st = qn_move_work_begin(run, p.at + 1, &work, err)) != QN_OK) return st;
    p = (qn_move_pieces){ work.mem, 0, false };
    st = how(run, &r, a, outside, &p, err);
    if (st == QN_OK && r.coord == QN_COORD_TF_CROP_AND_RESIZE) {
        qn_tensor one = { .dtype = x->dtype, .data = &value };

        store(&one, 0, r.extrapolation);
        paint_outside(&run->out[0], outside, &value);
    }
    qn_move_work_end(&work);
    return st;
}

/* Scratch for the largest shape, counted the way the run does. */
static qn_status resize_lower(qn_lower *lo, qn_error *err)
{
    qn_run run = { .node = lo->node, .in = lo->in, .out = (qn_tensor *)(uintptr_t)lo->out };
    const uint8_t *outside[QN_MAX_RANK] = { NULL };
    qn_resample r;
    qn_resample_axis a[QN_MAX_RANK];
    qn_move_pieces p = { NULL, 0, false };

    for (int32_t i = 1; i < lo->node->n_in; i++) /* numbers that come with the run: its work memory is the heap's */
        if (lo->in[i].dtype != QN_DTYPE_NONE && qn_tensor_count(&lo->in[i]) > 0 && !lo->in[i].data) return QN_OK;
    if (lo->in[0].rank <= 0 || lo->out[0].rank < 0 || resolve_run(&run, &r, a, NULL) != QN_OK) return QN_OK;
    (void)(r.how == QN_RESAMPLE_NEAREST ? run_nearest : run_filter)(&run, &r, a, outside, &p, NULL);
    return p.failed ? QN_OK : qn_move_lower_work(lo, p.at + 1, err);
}

/* The batch axis keeps its dim. A symbol does so only by a scale of 1 (or the size of itself), never by chance. */
static void resize_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_resample r;
    int64_t v;
    int32_t a = in_axis[0];

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || c->out[0].rank < 0 || read_attrs(c->node, &r, NULL) != QN_OK) return;
    if (r.coord == QN_COORD_TF_CROP_AND_RESIZE) return;
    if (c->in[0].dims[a] == QN_DIM_UNKNOWN || c->out[0].dims[a] != c->in[0].dims[a] || qn_dims_value(c->dims, c->in[0].dims[a], &v)) return;
    out_axis[0] = a;
}

const qn_op qn_op_resize = {
    .name = "Resize",
    .since = 10,
    .min_in = 1,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = resize_infer,
    .rows = resize_rows,
    .lower = resize_lower,
    .run = resize_run,
    .kernels = "move",
};

const qn_op qn_op_upsample = {
    .name = "Upsample",
    .since = 7,
    .until = 9,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = resize_infer,
    .rows = resize_rows,
    .lower = resize_lower,
    .run = resize_run,
    .kernels = "move",
};
