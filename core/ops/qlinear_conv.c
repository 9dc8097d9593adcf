/* core/ops/qlinear_conv.c - QLinearConv, also com.microsoft's, and ConvInteger.
 * Spec   ONNX QLinearConv 10: x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, B (s32); scale and zero point of w one or one per
 *        output channel. ConvInteger 10: x, w, x_zp, w_zp -> s32. u8 and s8 in every mix.
 *        ONNX Runtime contrib ops, QLinearConv 1: the same with channels_last: x and y are [n, spatial.., c], w is as ever.
 * Value  exact s32 sums plus B; times (x_scale * w_scale[o]) / y_scale in f32; to nearest even; plus y_zp; saturated. As ONNX Runtime. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/linear.h"
#include "core/ops/qlinear.h"
#include "core/ops/spatial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_SUM = 66000 }; /* products of a byte and a byte whose sum is sure to fit s32 */

typedef struct state {
    const qn_qconv_kernel *kernel;
    const void *packed;                 /* NULL: packed on each run */
    size_t packed_at, mult_at, zero_at; /* in scratch, behind the kernel's own */
    size_t x_at, y_at;                  /* with channels_last: x and y as the kernel has them */
} state;

/* Where the inputs are: -1 where the op has none. */
typedef struct layout {
    int32_t w, x_scale, x_zero, w_scale, w_zero, y_scale, y_zero, bias;
} layout;

static const layout linear_layout = { .w = 3, .x_scale = 1, .x_zero = 2, .w_scale = 4, .w_zero = 5, .y_scale = 6, .y_zero = 7, .bias = 8 };
static const layout integer_layout = {
    .w = 1, .x_scale = -1, .x_zero = 2, .w_scale = -1, .w_zero = 3, .y_scale = -1, .y_zero = -1, .bias = -1
};

static const layout *layout_of(const qn_node *n) { return n->op_type[0] == 'C' ? &integer_layout : &linear_layout; }

static const qn_tensor *given(const qn_tensor *in, const qn_node *n, int32_t i)
{
    return i >= 0 && i < n->n_in && n->in[i] != QN_NONE && in[i].dtype != QN_DTYPE_NONE ? &in[i] : NULL;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Input i, if given, has the dtype of input j. */
static qn_status same_dtype(const qn_infer *c, int32_t i, int32_t j, qn_error *err)
{
    if (!qn_infer_has(c, i) || c->in[i].dtype == c->in[j].dtype) return QN_OK;
    return qn_error_set(err, QN_ERR_DTYPE, "input %d is %s, input %d is %s, expected the same", (int)i, qn_dtype_name(c->in[i].dtype),
                        (int)j, qn_dtype_name(c->in[j].dtype));
}

static qn_status linear_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_linear_need(c, 8, err);
    qn_dim o;

    if (st == QN_OK) st = qn_linear_dtype(c, 0, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 3, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 7, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 1, 1u << QN_F32, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 4, 1u << QN_F32, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 6, 1u << QN_F32, err);
    if (st == QN_OK) st = same_dtype(c, 2, 0, err);
    if (st == QN_OK) st = same_dtype(c, 5, 3, err);
    if (st == QN_OK && qn_infer_has(c, 8)) st = qn_linear_dtype(c, 8, 1u << QN_I32, err);
    if (st != QN_OK) return st;
    o = c->in[3].rank > 0 ? c->in[3].dims[0] : QN_DIM_UNKNOWN;
    for (int32_t i = 1; i < 8 && st == QN_OK; i++) {
        if (i != 3) st = qn_linear_scale(c, i, i == 4 || i == 5, o, err);
    }
    return st == QN_OK ? qn_conv_infer_shape(c, 0, 3, 8, c->in[7].dtype, err) : st;
}

/* The same of x with its channels moved to axis 1, and the output's back to the end. */
static qn_status ms_infer(qn_infer *c, qn_error *err)
{
    const int32_t rank = c->in[0].rank;
    qn_type in[9];
    qn_infer planar = *c;
    qn_status st;

    if (!qn_qlinear_channels_last(c->node) || rank < 3) return linear_infer(c, err);
    for (int32_t i = 0; i < c->node->n_in; i++) in[i] = c->in[i];
    for (int32_t d = 1; d < rank; d++) in[0].dims[d] = c->in[0].dims[d == 1 ? rank - 1 : d - 1];
    planar.in = in;
    st = linear_infer(&planar, err);
    if (st == QN_OK && c->out[0].rank == rank) qn_qlinear_last_dims(c->out[0].dims, rank);
    return st;
}

static qn_status integer_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 1, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = same_dtype(c, 2, 0, err);
    if (st == QN_OK) st = same_dtype(c, 3, 1, err);
    if (st == QN_OK) st = qn_linear_scale(c, 2, false, QN_DIM_UNKNOWN, err);
    if (st == QN_OK) st = qn_linear_scale(c, 3, true, c->in[1].rank > 0 ? c->in[1].dims[0] : QN_DIM_UNKNOWN, err);
    return st == QN_OK ? qn_conv_infer_shape(c, 0, 1, -1, QN_I32, err) : st;
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

typedef struct pack_request {
    const qn_qconv_kernel *kernel;
    qn_conv_shape shape;
    bool is_signed;
} pack_request;

static qn_status pack_weight(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    const pack_request *x = ctx;
    qn_tensor t;
    uint8_t *dense;
    qn_status st;

    qn_weight_shape(w, &t);
    dense = malloc(t.bytes + 1);
    if (!dense) return qn_error_set(err, QN_ERR_NOMEM, "buffer of %zu bytes to pack a weight", t.bytes);
    st = qn_weight_read(w, 0, qn_tensor_count(&t), dense, err);
    if (st == QN_OK) x->kernel->pack(&x->shape, blob->data, dense, x->is_signed);
    free(dense);
    return st;
}

/* Room of `bytes`, 64-byte aligned, behind what scratch holds so far. */
static bool more_scratch(size_t *total, size_t bytes, size_t *at)
{
    return qn_size_align(*total, 64, at) && qn_size_add(*at, bytes, total);
}

static qn_status lower_weight(qn_lower *lo, state *s, int32_t w, const qn_conv_shape *shape, qn_error *err)
{
    pack_request ctx = { s->kernel, *shape, lo->in[w].dtype == QN_I8 };
    char form[160];
    size_t bytes;

    if (!s->kernel->packed_bytes(shape, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    if (!lo->weight[w]) {
        return more_scratch(&lo->scratch_bytes, bytes, &s->packed_at)
                   ? QN_OK
                   : qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    }
    snprintf(form, sizeof form, "qconv_quads_%s_g%" PRId64, ctx.is_signed ? "s8" : "u8",
             shape->groups); /* the rest is in the weight's dims */
    lo->skip_in = (uint64_t)1 << w;
    return qn_lower_blob(lo, lo->weight[w], form, bytes, pack_weight, &ctx, &s->packed, err);
}

/* t as the kernel sees it: [n, c, spatial..]. */
static qn_tensor planar(const qn_node *n, const qn_tensor *t)
{
    qn_tensor p = *t;

    if (qn_qlinear_channels_last(n) && t->rank >= 3) qn_qlinear_planar_dims(p.dims, t->rank);
    return p;
}

static bool transposed_scratch(qn_lower *lo, state *s)
{
    if (!qn_qlinear_channels_last(lo->node)) return true;
    return more_scratch(&lo->scratch_bytes, (size_t)qn_tensor_count(&lo->in[0]), &s->x_at) &&
           more_scratch(&lo->scratch_bytes, (size_t)qn_tensor_count(&lo->out[0]), &s->y_at);
}

static qn_status qconv_lower(qn_lower *lo, qn_error *err)
{
    const layout *l = layout_of(lo->node);
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_conv_shape shape;
    int64_t sum;
    size_t per_channel;
    const qn_tensor x = planar(lo->node, &lo->in[0]);
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a convolution");
    if (st == QN_OK) st = qn_conv_shape_of(lo->node, &x, &lo->in[l->w], &shape, err);
    if (st != QN_OK) return st;
    if (!qn_i64_mul(shape.c / shape.groups, shape.kernel[0] * shape.kernel[1], &sum) || !qn_i64_mul(sum, shape.kernel[2], &sum) ||
        sum > LONGEST_SUM)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "sums of more than %d products of bytes may not fit 32 bits", LONGEST_SUM);
    s->kernel = qn_qconv_pick(lo->cpu, &shape);
    if (!s->kernel || !s->kernel->scratch_bytes(&shape, lo->team_size, &lo->scratch_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a row of the input with all taps does not fit in a plane of 2^30 pixels");
    lo->state = s;
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_q8(lo->cpu);
    st = lower_weight(lo, s, l->w, &shape, err);
    if (st != QN_OK) return st;
    if (!qn_size_mul((size_t)shape.o, 4, &per_channel) || !more_scratch(&lo->scratch_bytes, per_channel, &s->mult_at) ||
        !more_scratch(&lo->scratch_bytes, per_channel, &s->zero_at) || !transposed_scratch(lo, s))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " output channels", shape.o);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status check_parameters(const qn_run *r, const layout *l, int64_t o, qn_error *err)
{
    const int32_t one[] = { l->x_scale, l->x_zero, l->y_scale, l->y_zero }, many[] = { l->w_scale, l->w_zero };
    qn_status st = QN_OK;

    for (size_t i = 0; i < 4 && st == QN_OK; i++) {
        if (one[i] >= 0) st = qn_linear_check(r, one[i], false, o, err);
    }
    for (size_t i = 0; i < 2 && st == QN_OK; i++) {
        if (many[i] >= 0) st = qn_linear_check(r, many[i], true, o, err);
    }
    if (st == QN_OK && given(r->in, r->node, l->bias) && qn_tensor_count(&r->in[l->bias]) != o)
        st = qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    return st;
}

/* rows x cols bytes -> cols x rows, n times. */
static void transpose(const uint8_t *x, uint8_t *y, int64_t n, int64_t n_rows, int64_t n_cols)
{
    for (int64_t k = 0; k < n; k++) {
        const uint8_t *from = x + k * n_rows * n_cols;
        uint8_t *to = y + k * n_rows * n_cols;

        for (int64_t i = 0; i < n_rows; i++) {
            for (int64_t j = 0; j < n_cols; j++) to[j * n_rows + i] = from[i * n_cols + j];
        }
    }
}

static void run_channels_last(const qn_run *r, const state *s, qn_qconv_args *a)
{
    const int64_t in = a->s.in[0] * a->s.in[1] * a->s.in[2], out = a->s.out[0] * a->s.out[1] * a->s.out[2];
    uint8_t *x = (uint8_t *)r->scratch + s->x_at, *y = (uint8_t *)r->scratch + s->y_at;

    transpose(a->x, x, a->s.n, in, a->s.c);
    a->x = x;
    a->y = y;
    s->kernel->run(a, r->team);
    transpose(y, r->out[0].data, a->s.n, a->s.o, out);
}

static qn_status qconv_run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const layout *l = layout_of(r->node);
    const qn_tensor *w = &r->in[l->w], *bias = given(r->in, r->node, l->bias), *w_zero = given(r->in, r->node, l->w_zero);
    float *mult = (float *)(void *)((char *)r->scratch + s->mult_at);
    int32_t *zeros = (int32_t *)(void *)((char *)r->scratch + s->zero_at);
    qn_qconv_args a = { .x = r->in[0].data,
                        .x_signed = r->in[0].dtype == QN_I8,
                        .w = s->packed,
                        .w_signed = w->dtype == QN_I8,
                        .y = r->out[0].data,
                        .scratch = r->scratch };
    const qn_tensor x = planar(r->node, &r->in[0]);
    qn_status st = qn_conv_shape_of(r->node, &x, w, &a.s, err);

    if (st == QN_OK) st = check_parameters(r, l, a.s.o, err);
    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    a.x_zero = qn_linear_zero(given(r->in, r->node, l->x_zero));
    a.bias = bias ? bias->data : NULL;
    if (w_zero) {
        qn_linear_zeros(w_zero, a.s.o, zeros);
        a.w_zero = zeros;
    }
    if (l->y_scale < 0) {
        a.y_s32 = true;
    } else {
        qn_linear_multipliers(1, &r->in[l->x_scale], &r->in[l->w_scale], &r->in[l->y_scale], a.s.o, mult);
        a.multiplier = mult;
        a.y_signed = r->out[0].dtype == QN_I8;
        a.y_zero = qn_linear_zero(&r->in[l->y_zero]);
        a.y_lo = a.y_signed ? -128 : 0;
        a.y_hi = a.y_lo + 255;
    }
    if (!s->packed) {
        char *packed = (char *)r->scratch + s->packed_at;

        s->kernel->pack(&a.s, packed, w->data, a.w_signed);
        a.w = packed;
    }
    if (qn_qlinear_channels_last(r->node))
        run_channels_last(r, s, &a);
    else
        s->kernel->run(&a, r->team);
    return QN_OK;
}

static uint64_t qconv_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    return qn_conv_cost(&in[layout_of(n)->w], &out[0]);
}

const qn_op qn_op_qlinear_conv = {
    .domain = "",
    .name = "QLinearConv",
    .since = 10,
    .min_in = 8,
    .max_in = 9,
    .min_out = 1,
    .max_out = 1,
    .infer = linear_infer,
    .rows = qn_rows_leading,
    .lower = qconv_lower,
    .run = qconv_run,
    .cost = qconv_cost,
    .kernels = "conv",
};

const qn_op qn_op_ms_qlinear_conv = {
    .domain = "com.microsoft",
    .name = "QLinearConv",
    .since = 1,
    .min_in = 8,
    .max_in = 9,
    .min_out = 1,
    .max_out = 1,
    .infer = ms_infer,
    .rows = qn_rows_leading,
    .lower = qconv_lower,
    .run = qconv_run,
    .cost = qconv_cost,
    .kernels = "conv",
};

const qn_op qn_op_conv_integer = {
    .domain = "",
    .name = "ConvInteger",
    .since = 10,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = integer_infer,
    .rows = qn_rows_leading,
    .lower = qconv_lower,
    .run = qconv_run,
    .cost = qconv_cost,
    .kernels = "conv",
};
