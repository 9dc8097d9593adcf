/* core/ops/spatial.c - windows over spatial dimensions; see spatial.h. */
#include "core/ops/spatial.h"

#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/linear.h"

#include <inttypes.h>
#include <string.h>

/* What an attribute may say. With 2^31 as the bound, no product of two of them overflows. */
static const int64_t largest = INT32_MAX;

/* The list `name` of length `want` with values lo..largest into out, or `fallback` everywhere. */
static qn_status read_list(const qn_node *n, const char *name, int64_t want, int64_t lo, int64_t fallback, int64_t *out, qn_error *err)
{
    int64_t len;
    const int64_t *v = qn_node_ints(n, name, &len);

    if (v && len != want) return qn_error_set(err, QN_ERR_INVALID, "%s has %" PRId64 " values, expected %" PRId64, name, len, want);
    for (int64_t d = 0; d < want; d++) {
        out[d] = v ? v[d] : fallback;
        if (out[d] < lo || out[d] > largest)
            return qn_error_set(err, QN_ERR_INVALID, "%s[%" PRId64 "] is %" PRId64 ", expected %" PRId64 "..%" PRId64, name, d, out[d], lo,
                                largest);
    }
    return QN_OK;
}

static qn_status read_auto_pad(const qn_node *n, qn_auto_pad *out, qn_error *err)
{
    static const char *const names[] = { "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER" };
    const char *name = qn_node_str(n, "auto_pad", "NOTSET");

    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (qn_auto_pad)i;
            return QN_OK;
        }
    }
    if (*name == '\0') { /* some exporters write an empty string */
        *out = QN_PAD_NOTSET;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "auto_pad is \"%.32s\", expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", name);
}

static qn_status read_kernel(const qn_node *n, const int64_t *kernel, qn_spatial *s, qn_error *err)
{
    int64_t len;
    const bool given = qn_node_ints(n, "kernel_shape", &len) != NULL;
    qn_status st;

    if (!given && !kernel) return qn_error_set(err, QN_ERR_INVALID, "attribute kernel_shape is missing");
    st = read_list(n, "kernel_shape", s->n, given ? 1 : 0, 0, s->kernel, err);
    for (int32_t d = 0; d < s->n && kernel && st == QN_OK; d++) {
        if (kernel[d] == 0) continue;
        if (kernel[d] > largest)
            return qn_error_set(err, QN_ERR_SHAPE, "a kernel of size %" PRId64 ", expected at most %" PRId64, kernel[d], largest);
        if (given && kernel[d] != s->kernel[d])
            return qn_error_set(err, QN_ERR_INVALID, "kernel_shape[%d] is %" PRId64 ", the weight has %" PRId64, (int)d, s->kernel[d],
                                kernel[d]);
        s->kernel[d] = kernel[d];
    }
    return st;
}

qn_status qn_spatial_read(const qn_node *n, int32_t rank, const int64_t *kernel, qn_spatial *s, qn_error *err)
{
    int64_t pads[2 * QN_SPATIAL_MAX];
    qn_status st;

    *s = (qn_spatial){ .n = rank - 2, .ceil_mode = qn_node_int(n, "ceil_mode", 0) != 0 };
    if (rank < 3) return qn_error_set(err, QN_ERR_SHAPE, "rank %d, expected [batch, channels, spatial...]", (int)rank);
    if (s->n > QN_SPATIAL_MAX)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%d spatial dimensions, Quern has at most %d", (int)s->n, QN_SPATIAL_MAX);
    st = read_auto_pad(n, &s->auto_pad, err);
    if (st == QN_OK) st = read_kernel(n, kernel, s, err);
    if (st == QN_OK) st = read_list(n, "strides", s->n, 1, 1, s->stride, err);
    if (st == QN_OK) st = read_list(n, "dilations", s->n, 1, 1, s->dilation, err);
    if (st == QN_OK) st = read_list(n, "pads", 2 * s->n, 0, 0, pads, err);
    for (int32_t d = 0; d < s->n && st == QN_OK; d++) {
        s->pad[d] = s->auto_pad == QN_PAD_NOTSET ? pads[d] : 0;
        s->pad_end[d] = s->auto_pad == QN_PAD_NOTSET ? pads[s->n + d] : 0;
    }
    return st;
}

qn_status qn_spatial_group(const qn_node *n, int64_t *group, qn_error *err)
{
    *group = qn_node_int(n, "group", 1);
    if (*group >= 1 && *group <= largest) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "group is %" PRId64 ", expected 1..%" PRId64, *group, largest);
}

/* -- sizes ---------------------------------------------------------------------------------------------------------------- */

/* Input elements a window spans. */
static int64_t extent(const qn_spatial *s, int32_t d) { return (s->kernel[d] - 1) * s->dilation[d] + 1; }

static qn_status does_not_fit(const qn_spatial *s, int32_t d, int64_t in, qn_error *err)
{
    return qn_error_set(err, QN_ERR_SHAPE,
                        "spatial dimension %d: a window of %" PRId64 " does not fit in %" PRId64 " + %" PRId64 " padding", (int)d,
                        extent(s, d), in, s->pad[d] + s->pad_end[d]);
}

qn_status qn_spatial_sizes(qn_spatial *s, const int64_t *in, int64_t *out, qn_error *err)
{
    for (int32_t d = 0; d < s->n; d++) {
        const int64_t stride = s->stride[d];

        if (s->auto_pad == QN_PAD_SAME_UPPER || s->auto_pad == QN_PAD_SAME_LOWER) {
            int64_t total, need;

            out[d] = in[d] / stride + (in[d] % stride != 0);
            need = out[d] > 0 ? (out[d] - 1) * stride + extent(s, d) : 0;
            total = need > in[d] ? need - in[d] : 0;
            s->pad[d] = s->auto_pad == QN_PAD_SAME_UPPER ? total / 2 : total - total / 2;
            s->pad_end[d] = total - s->pad[d];
        } else {
            const int64_t room = in[d] + s->pad[d] + s->pad_end[d] - extent(s, d);

            if (room < 0) return does_not_fit(s, d, in[d], err);
            out[d] = room / stride + 1 + (s->ceil_mode && room % stride != 0);
            /* the last window must begin inside the input or the padding before it */
            if (s->ceil_mode && out[d] > 1 && (out[d] - 1) * stride >= in[d] + s->pad[d]) out[d]--;
        }
    }
    return QN_OK;
}

qn_status qn_spatial_infer(const qn_infer *c, const qn_spatial *s, int32_t d, qn_dim in, qn_dim *out, qn_error *err)
{
    qn_spatial one = { .n = 1, .auto_pad = s->auto_pad, .ceil_mode = s->ceil_mode };
    const bool same = s->auto_pad == QN_PAD_SAME_UPPER || s->auto_pad == QN_PAD_SAME_LOWER;
    const qn_dim stride = qn_dims_const(c->dims, s->stride[d]);
    int64_t v, n;
    qn_dim room;

    *out = QN_DIM_UNKNOWN;
    if (same) {
        *out = qn_dims_ceildiv(c->dims, in, stride);
        return QN_OK;
    }
    if (s->kernel[d] == 0) return QN_OK;
    one.kernel[0] = s->kernel[d];
    one.stride[0] = s->stride[d];
    one.dilation[0] = s->dilation[d];
    one.pad[0] = s->pad[d];
    one.pad_end[0] = s->pad_end[d];
    if (qn_dims_value(c->dims, in, &v)) {
        qn_status st =
            v > INT64_MAX / 4 ? qn_error_set(err, QN_ERR_LIMIT, "a dimension of %" PRId64, v) : qn_spatial_sizes(&one, &v, &n, err);

        if (st == QN_OK) *out = qn_dims_const(c->dims, n);
        return st;
    }
    room = qn_dims_add(c->dims, in, qn_dims_const(c->dims, s->pad[d] + s->pad_end[d] - extent(s, d)));
    if (s->ceil_mode) {
        const qn_dim begins = qn_dims_add(c->dims, in, qn_dims_const(c->dims, s->pad[d] - 1)); /* last place a window may begin at */

        *out = qn_dims_min(c->dims, qn_dims_ceildiv(c->dims, room, stride), qn_dims_floordiv(c->dims, begins, stride));
    } else {
        *out = qn_dims_floordiv(c->dims, room, stride);
    }
    *out = qn_dims_add(c->dims, *out, qn_dims_const(c->dims, 1));
    return QN_OK;
}

void qn_spatial_shape(const qn_spatial *s, const qn_tensor *x, int64_t o, int64_t groups, const int64_t *out, qn_conv_shape *shape)
{
    const int32_t lead = 3 - s->n;

    *shape = (qn_conv_shape){ .n = x->dims[0], .c = x->dims[1], .o = o, .groups = groups };
    for (int32_t d = 0; d < 3; d++) {
        const bool real = d >= lead;

        shape->in[d] = real ? x->dims[2 + d - lead] : 1;
        shape->out[d] = real ? out[d - lead] : 1;
        shape->kernel[d] = real ? s->kernel[d - lead] : 1;
        shape->stride[d] = real ? s->stride[d - lead] : 1;
        shape->dilation[d] = real ? s->dilation[d - lead] : 1;
        shape->pad[d] = real ? s->pad[d - lead] : 0;
    }
}

/* -- convolutions --------------------------------------------------------------------------------------------------------- */

/* Channels of x and w, where known. */
static qn_status check_channels(const qn_infer *c, const qn_type *x, const qn_type *w, int64_t group, qn_error *err)
{
    int64_t channels, per, o;

    if (qn_dims_value(c->dims, w->dims[0], &o) && o % group != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " output channels do not divide into %" PRId64 " groups", o, group);
    if (!qn_dims_value(c->dims, x->dims[1], &channels)) return QN_OK;
    if (channels % group != 0 || channels == 0)
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " channels do not divide into %" PRId64 " groups", channels, group);
    if (qn_dims_value(c->dims, w->dims[1], &per) && per != channels / group)
        return qn_error_set(err, QN_ERR_SHAPE,
                            "the weight takes %" PRId64 " channels a group, the input has %" PRId64 " in %" PRId64 " groups", per, channels,
                            group);
    return QN_OK;
}

static qn_status check_bias(const qn_infer *c, int32_t ib, const qn_type *w, qn_error *err)
{
    const qn_type *b;

    if (ib < 0 || !qn_infer_has(c, ib)) return QN_OK;
    b = &c->in[ib];
    if (b->rank >= 0 && b->rank != 1) return qn_error_set(err, QN_ERR_SHAPE, "the bias has rank %d, expected 1", (int)b->rank);
    if (b->rank == 1 && qn_linear_differ(c, b->dims[0], w->dims[0]))
        return qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    return QN_OK;
}

qn_status qn_conv_infer_shape(qn_infer *c, int32_t ix, int32_t iw, int32_t ib, qn_dtype dtype, qn_error *err)
{
    const qn_type *x = &c->in[ix], *w = &c->in[iw];
    int64_t kernel[QN_MAX_RANK] = { 0 }, group;
    qn_dim dims[QN_MAX_RANK];
    qn_spatial s;
    qn_status st = qn_spatial_group(c->node, &group, err);

    if (st != QN_OK) return st;
    c->out[0].dtype = dtype;
    if (x->rank < 0 || w->rank < 0) return QN_OK;
    if (x->rank != w->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "input has rank %d, the weight %d, expected the same", (int)x->rank, (int)w->rank);
    for (int32_t d = 2; d < w->rank; d++) {
        int64_t v;

        if (!qn_dims_value(c->dims, w->dims[d], &v)) continue;
        if (v < 1) return qn_error_set(err, QN_ERR_SHAPE, "the weight has %" PRId64 " in dimension %d, expected at least 1", v, (int)d);
        kernel[d - 2] = v;
    }
    st = qn_spatial_read(c->node, x->rank, kernel, &s, err);
    if (st == QN_OK) st = check_channels(c, x, w, group, err);
    if (st == QN_OK) st = check_bias(c, ib, w, err);
    if (st != QN_OK) return st;
    dims[0] = x->dims[0];
    dims[1] = w->dims[0];
    for (int32_t d = 0; d < s.n; d++) {
        st = qn_spatial_infer(c, &s, d, x->dims[2 + d], &dims[2 + d], err);
        if (st != QN_OK) return st;
    }
    qn_linear_output(c, dtype, x->rank, dims);
    return QN_OK;
}

qn_status qn_conv_shape_of(const qn_node *n, const qn_tensor *x, const qn_tensor *w, qn_conv_shape *shape, qn_error *err)
{
    int64_t group, out[QN_SPATIAL_MAX];
    qn_spatial s;
    qn_status st = qn_spatial_group(n, &group, err);

    if (st != QN_OK) return st;
    for (int32_t d = 2; d < w->rank; d++) {
        if (w->dims[d] < 1) return qn_error_set(err, QN_ERR_SHAPE, "the weight has an empty dimension %d", (int)d);
    }
    st = qn_spatial_read(n, x->rank, w->dims + 2, &s, err);
    if (st == QN_OK) st = qn_spatial_sizes(&s, x->dims + 2, out, err);
    if (st != QN_OK) return st;
    if (x->dims[1] == 0 || x->dims[1] % group != 0 || w->dims[1] != x->dims[1] / group || w->dims[0] % group != 0)
        return qn_error_set(err, QN_ERR_SHAPE,
                            "%" PRId64 " channels, a weight [%" PRId64 ",%" PRId64 ",...] and %" PRId64 " groups do not go together",
                            x->dims[1], w->dims[0], w->dims[1], group);
    qn_spatial_shape(&s, x, w->dims[0], group, out, shape);
    return QN_OK;
}

/* -- work ----------------------------------------------------------------------------------------------------------------- */

uint64_t qn_conv_cost(const qn_tensor *w, const qn_tensor *y)
{
    uint64_t taps = 1;

    for (int32_t d = 1; d < w->rank; d++) taps = qn_cost_mul(taps, qn_cost_dim(w, d));
    return qn_cost_mul(qn_cost_elements(y), taps);
}

uint64_t qn_spatial_window(const qn_node *n, const qn_tensor *x)
{
    int64_t rank;
    const int64_t *kernel = qn_node_ints(n, "kernel_shape", &rank);
    uint64_t window = 1;

    for (int64_t d = 0; kernel && d < rank && d < QN_SPATIAL_MAX; d++) {
        uint64_t in = qn_cost_dim(x, (int32_t)d + 2), k = kernel[d] > 0 ? (uint64_t)kernel[d] : 1;

        window = qn_cost_mul(window, k < in ? k : in);
    }
    return window;
}
