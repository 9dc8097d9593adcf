/* core/ops/conv_transpose.c - ConvTranspose.
 * Spec   ONNX ConvTranspose, opsets 1, 11, 22: 1 to 3 spatial dimensions, f32.
 *        output = stride * (in - 1) + output_padding + extent - pads, or output_shape, or in * stride for SAME; in the latter two the
 *        pads follow: half of what is too much, the larger half at the end for SAME_UPPER, else at the start.
 * Value  core/kernels/conv/transpose.h */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/kernels/conv/transpose.h"
#include "core/ops/linear.h"
#include "core/ops/spatial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct transpose_attrs {
    qn_spatial s;
    const int64_t *output_shape; /* [n] or NULL */
    int64_t output_padding[QN_SPATIAL_MAX];
} transpose_attrs;

static qn_status read_attrs(const qn_node *n, int32_t rank, const int64_t *kernel, transpose_attrs *t, qn_error *err)
{
    qn_status st = qn_spatial_read(n, rank, kernel, &t->s, err);
    int64_t len, padding_len;
    const int64_t *padding = qn_node_ints(n, "output_padding", &padding_len);

    if (st != QN_OK) return st;
    t->output_shape = qn_node_ints(n, "output_shape", &len);
    if (t->output_shape && len == t->s.n + 2)
        t->output_shape += 2; /* some exporters give batch and channels too */
    else if (t->output_shape && len != t->s.n)
        return qn_error_set(err, QN_ERR_INVALID, "output_shape has %" PRId64 " values, expected %d", len, (int)t->s.n);
    if (padding && padding_len != t->s.n)
        return qn_error_set(err, QN_ERR_INVALID, "output_padding has %" PRId64 " values, expected %d", padding_len, (int)t->s.n);
    for (int32_t d = 0; d < t->s.n; d++) {
        t->output_padding[d] = padding ? padding[d] : 0;
        if (t->output_padding[d] < 0 || t->output_padding[d] > INT32_MAX)
            return qn_error_set(err, QN_ERR_INVALID, "output_padding[%d] is %" PRId64 ", expected 0..2^31-1", (int)d, t->output_padding[d]);
        if (t->output_shape && (t->output_shape[d] < 1 || t->output_shape[d] > INT32_MAX))
            return qn_error_set(err, QN_ERR_INVALID, "output_shape[%d] is %" PRId64 ", expected 1..2^31-1", (int)d, t->output_shape[d]);
    }
    return QN_OK;
}

static bool is_same(const transpose_attrs *t) { return t->s.auto_pad == QN_PAD_SAME_UPPER || t->s.auto_pad == QN_PAD_SAME_LOWER; }

/* What a size of `in` adds beyond stride * in: extent + output_padding - stride - pads. */
static int64_t beyond(const transpose_attrs *t, int32_t d)
{
    return (t->s.kernel[d] - 1) * t->s.dilation[d] + 1 + t->output_padding[d] - t->s.stride[d] - t->s.pad[d] - t->s.pad_end[d];
}

/* Output size and leading pad. */
static qn_status size_of(const transpose_attrs *t, int32_t d, int64_t in, int64_t *out, int64_t *pad, qn_error *err)
{
    int64_t natural, total;

    if (!qn_i64_mul(in, t->s.stride[d], &natural) || !qn_i64_add(natural, beyond(t, d), out))
        return qn_error_set(err, QN_ERR_LIMIT, "dimension %d of the output overflows", (int)d);
    *pad = t->s.pad[d];
    if (t->output_shape || is_same(t)) {
        total = *out + t->s.pad[d] + t->s.pad_end[d];
        *out = t->output_shape ? t->output_shape[d] : natural;
        total = total > *out ? total - *out : 0;
        *pad = t->s.auto_pad == QN_PAD_SAME_UPPER ? total / 2 : total - total / 2;
    }
    if (*out < 1) return qn_error_set(err, QN_ERR_SHAPE, "dimension %d of the output would be %" PRId64, (int)d, *out);
    return QN_OK;
}

static qn_status infer_size(const qn_infer *c, const transpose_attrs *t, int32_t d, qn_dim in, qn_dim *out, qn_error *err)
{
    int64_t v, n, pad;
    qn_status st;

    if (t->output_shape) {
        *out = qn_dims_const(c->dims, t->output_shape[d]);
        return QN_OK;
    }
    *out = QN_DIM_UNKNOWN;
    if (t->s.kernel[d] == 0) return QN_OK;
    if (qn_dims_value(c->dims, in, &v)) {
        st = size_of(t, d, v, &n, &pad, err);
        if (st == QN_OK) *out = qn_dims_const(c->dims, n);
        return st;
    }
    *out = qn_dims_mul(c->dims, in, qn_dims_const(c->dims, t->s.stride[d]));
    if (!is_same(t)) *out = qn_dims_add(c->dims, *out, qn_dims_const(c->dims, beyond(t, d)));
    return QN_OK;
}

static qn_status transpose_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *w = &c->in[1];
    int64_t kernel[QN_MAX_RANK] = { 0 }, group = 1, v;
    qn_dim dims[QN_MAX_RANK];
    transpose_attrs t;
    qn_status st = qn_linear_need(c, 2, err);

    for (int32_t i = 0; i < c->node->n_in && st == QN_OK; i++) {
        if (qn_infer_has(c, i)) st = qn_linear_dtype(c, i, 1u << QN_F32, err);
    }
    if (st == QN_OK) st = qn_spatial_group(c->node, &group, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = QN_F32;
    if (x->rank < 0 || w->rank < 0) return QN_OK;
    if (x->rank != w->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "input has rank %d, the weight %d, expected the same", (int)x->rank, (int)w->rank);
    for (int32_t d = 2; d < w->rank; d++) {
        if (!qn_dims_value(c->dims, w->dims[d], &v)) continue;
        if (v < 1) return qn_error_set(err, QN_ERR_SHAPE, "the weight has %" PRId64 " in dimension %d, expected at least 1", v, (int)d);
        kernel[d - 2] = v;
    }
    st = read_attrs(c->node, x->rank, kernel, &t, err);
    if (st != QN_OK) return st;
    if (qn_linear_differ(c, x->dims[1], w->dims[0])) return qn_error_set(err, QN_ERR_SHAPE, "input and weight differ in their channels");
    if (qn_dims_value(c->dims, w->dims[0], &v) && (v == 0 || v % group != 0))
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " channels do not divide into %" PRId64 " groups", v, group);
    dims[0] = x->dims[0];
    dims[1] = qn_dims_mul(c->dims, w->dims[1], qn_dims_const(c->dims, group));
    if (qn_infer_has(c, 2) && c->in[2].rank >= 0 && (c->in[2].rank != 1 || qn_linear_differ(c, c->in[2].dims[0], dims[1])))
        return qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    for (int32_t d = 0; d < t.s.n && st == QN_OK; d++) st = infer_size(c, &t, d, x->dims[2 + d], &dims[2 + d], err);
    if (st == QN_OK) qn_linear_output(c, QN_F32, x->rank, dims);
    return st;
}

static qn_status shape_of(const qn_node *n, const qn_tensor *x, const qn_tensor *w, qn_conv_shape *shape, qn_error *err)
{
    int64_t group, out[QN_SPATIAL_MAX], o;
    transpose_attrs t;
    qn_status st = qn_spatial_group(n, &group, err);

    for (int32_t d = 2; d < w->rank && st == QN_OK; d++) {
        if (w->dims[d] < 1) st = qn_error_set(err, QN_ERR_SHAPE, "the weight has an empty dimension %d", (int)d);
    }
    if (st == QN_OK) st = read_attrs(n, x->rank, w->dims + 2, &t, err);
    for (int32_t d = 0; st == QN_OK && d < t.s.n; d++) st = size_of(&t, d, x->dims[2 + d], &out[d], &t.s.pad[d], err);
    if (st != QN_OK) return st;
    if (x->dims[1] != w->dims[0] || x->dims[1] == 0 || x->dims[1] % group != 0 || !qn_i64_mul(w->dims[1], group, &o))
        return qn_error_set(err, QN_ERR_SHAPE,
                            "%" PRId64 " channels, a weight [%" PRId64 ",%" PRId64 ",...] and %" PRId64 " groups do not go together",
                            x->dims[1], w->dims[0], w->dims[1], group);
    qn_spatial_shape(&t.s, x, o, group, out, shape);
    return QN_OK;
}

typedef struct state {
    const float *packed; /* NULL: packed on each run */
    size_t kernel_bytes;
} state;

static qn_status pack_weight(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    qn_tensor t;
    float *dense;
    qn_status st;

    qn_weight_shape(w, &t);
    dense = malloc(t.bytes + 1);
    if (!dense) return qn_error_set(err, QN_ERR_NOMEM, "buffer of %zu bytes to pack a weight", t.bytes);
    st = qn_weight_read(w, 0, qn_tensor_count(&t), dense, err);
    if (st == QN_OK) qn_conv_transpose_pack(ctx, blob->data, dense);
    free(dense);
    return st;
}

static qn_status transpose_lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_conv_shape shape;
    char form[48];
    size_t bytes;
    const void *packed = NULL;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a convolution");
    if (st == QN_OK) st = shape_of(lo->node, &lo->in[0], &lo->in[1], &shape, err);
    if (st != QN_OK) return st;
    if (!qn_conv_transpose_packed_bytes(&shape, &bytes) || !qn_conv_transpose_scratch(&shape, lo->team_size, &s->kernel_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    lo->state = s;
    lo->kernel = qn_conv_transpose_name(lo->cpu);
    lo->why = qn_linear_why_f32(lo->cpu);
    lo->scratch_bytes = s->kernel_bytes;
    if (!lo->weight[1])
        return qn_size_add(lo->scratch_bytes, bytes, &lo->scratch_bytes)
                   ? QN_OK
                   : qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    snprintf(form, sizeof form, "conv_transpose_f32_g%" PRId64, shape.groups); /* the rest is in the weight's own dims */
    lo->skip_in = 1u << 1;
    st = qn_lower_blob(lo, lo->weight[1], form, bytes, pack_weight, &shape, &packed, err);
    s->packed = packed;
    return st;
}

static qn_status transpose_run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const bool bias = r->node->n_in > 2 && r->in[2].dtype != QN_DTYPE_NONE;
    qn_conv_transpose_args a = {
        .x = r->in[0].data, .w = s->packed, .bias = bias ? r->in[2].data : NULL, .y = r->out[0].data, .scratch = r->scratch
    };
    qn_status st = shape_of(r->node, &r->in[0], &r->in[1], &a.s, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    if (bias && qn_tensor_count(&r->in[2]) != a.s.o)
        return qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    if (!s->packed) {
        float *packed = (float *)(void *)((char *)r->scratch + s->kernel_bytes);

        qn_conv_transpose_pack(&a.s, packed, r->in[1].data);
        a.w = packed;
    }
    qn_conv_transpose_run(r->cpu, &a, r->team);
    return QN_OK;
}

/* Each element of x meets w [c, o / group, kernel...] of its channel. */
static uint64_t transpose_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    return qn_cost_add(qn_conv_cost(&in[1], &in[0]), qn_cost_elements(&out[0]));
}

const qn_op qn_op_conv_transpose = {
    .domain = "",
    .name = "ConvTranspose",
    .since = 1,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = transpose_infer,
    .rows = qn_rows_leading,
    .lower = transpose_lower,
    .run = transpose_run,
    .cost = transpose_cost,
    .kernels = "conv",
};
