/* core/ops/conv.c - Conv, and quern.FusedConv with a residual and an activation.
 * Spec   ONNX Conv, opsets 1, 11, 22: 1 to 3 spatial dimensions, f32
 * Value  one fma chain over (c, kd, kh, kw), padding counted as 0; plus bias; plus residual; act.
 *        quern.FusedConv: inputs X, W, B (may be left out), residual (shape of the output; may be left out); attributes of Conv and act
 *        ("none", "relu", "clip"), lo, hi. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/linear.h"
#include "core/ops/spatial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct state {
    const qn_conv_kernel *kernel;
    const void *packed;  /* NULL: weights are read as they lie, or packed on each run */
    size_t kernel_bytes; /* of scratch, for the kernel; packed weights of a run lie behind */
    qn_act act;
    float lo, hi;
} state;

static qn_status conv_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_linear_need(c, 2, err);

    for (int32_t i = 0; i < c->node->n_in && st == QN_OK; i++) {
        if (qn_infer_has(c, i)) st = qn_linear_dtype(c, i, 1u << QN_F32, err);
    }
    return st == QN_OK ? qn_conv_infer_shape(c, 0, 1, 2, QN_F32, err) : st;
}

static qn_status fused_infer(qn_infer *c, qn_error *err)
{
    qn_act act;
    float lo, hi;
    qn_status st = qn_linear_act(c->node, &act, &lo, &hi, err);

    if (st == QN_OK) st = conv_infer(c, err);
    if (st != QN_OK || !qn_infer_has(c, 3) || c->out[0].rank < 0 || c->in[3].rank < 0) return st;
    if (c->in[3].rank != c->out[0].rank)
        return qn_error_set(err, QN_ERR_SHAPE, "the residual has rank %d, the output %d", (int)c->in[3].rank, (int)c->out[0].rank);
    for (int32_t d = 0; d < c->out[0].rank; d++) {
        if (qn_linear_differ(c, c->in[3].dims[d], c->out[0].dims[d]))
            return qn_error_set(err, QN_ERR_SHAPE, "the residual and the output differ in dimension %d", (int)d);
    }
    return QN_OK;
}

/* The residual has the output's rows. */
static void fused_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    for (int32_t i = 1; i < c->node->n_in && i < 3; i++) {
        if (qn_infer_has(c, i) && in_axis[i] != QN_ROWS_NONE) return;
    }
    if (in_axis[0] == 0 && (!qn_infer_has(c, 3) || in_axis[3] == 0)) out_axis[0] = 0;
}

typedef struct pack_request {
    const qn_conv_kernel *kernel;
    qn_conv_shape shape;
} pack_request;

static qn_status pack_weight(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    const pack_request *x = ctx;
    qn_tensor t;
    float *dense;
    qn_status st;

    qn_weight_shape(w, &t);
    dense = malloc(t.bytes + 1);
    if (!dense) return qn_error_set(err, QN_ERR_NOMEM, "buffer of %zu bytes to pack a weight", t.bytes);
    st = qn_weight_read(w, 0, qn_tensor_count(&t), dense, err);
    if (st == QN_OK) x->kernel->pack(&x->shape, blob->data, dense);
    free(dense);
    return st;
}

static qn_status lower_weight(qn_lower *lo, state *s, const qn_conv_shape *shape, qn_error *err)
{
    pack_request ctx = { s->kernel, *shape };
    char form[160];
    size_t bytes;

    lo->scratch_bytes = s->kernel_bytes;
    if (!s->kernel->pack) return QN_OK;
    if (!s->kernel->packed_bytes(shape, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
    if (!lo->weight[1]) {
        if (!qn_size_align(s->kernel_bytes, 64, &s->kernel_bytes) || !qn_size_add(s->kernel_bytes, bytes, &lo->scratch_bytes))
            return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
        return QN_OK;
    }
    snprintf(form, sizeof form, "conv_%s_o%" PRId64 "_c%" PRId64 "_g%" PRId64 "_k%" PRId64 "x%" PRId64 "x%" PRId64, s->kernel->name,
             shape->o, shape->c, shape->groups, shape->kernel[0], shape->kernel[1], shape->kernel[2]);
    lo->skip_in = 1u << 1;
    return qn_lower_blob(lo, lo->weight[1], form, bytes, pack_weight, &ctx, &s->packed, err);
}

static qn_status conv_lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_conv_shape shape;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a convolution");
    if (st == QN_OK) st = qn_linear_act(lo->node, &s->act, &s->lo, &s->hi, err);
    if (st == QN_OK) st = qn_conv_shape_of(lo->node, &lo->in[0], &lo->in[1], &shape, err);
    if (st != QN_OK) return st;
    s->kernel = qn_conv_pick(lo->cpu, &shape);
    if (!s->kernel || !s->kernel->scratch_bytes(&shape, lo->team_size, &s->kernel_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a row of the input with all taps does not fit in a plane of 2^30 numbers");
    lo->state = s;
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_f32(lo->cpu);
    return lower_weight(lo, s, &shape, err);
}

static const void *given(const qn_run *r, int32_t i) { return i < r->node->n_in && r->in[i].dtype != QN_DTYPE_NONE ? r->in[i].data : NULL; }

static qn_status conv_run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    qn_conv_args a = { .x = r->in[0].data, .y = r->out[0].data, .bias = given(r, 2), .residual = given(r, 3), .scratch = r->scratch };
    qn_status st = qn_conv_shape_of(r->node, &r->in[0], &r->in[1], &a.s, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    if (a.bias && qn_tensor_count(&r->in[2]) != a.s.o)
        return qn_error_set(err, QN_ERR_SHAPE, "the bias is not one number per output channel");
    if (a.residual && qn_tensor_count(&r->in[3]) != qn_tensor_count(&r->out[0]))
        return qn_error_set(err, QN_ERR_SHAPE, "the residual has not the shape of the output");
    a.act = s->act;
    a.lo = s->lo;
    a.hi = s->hi;
    a.w = s->packed ? s->packed : r->in[1].data;
    if (s->kernel->pack && !s->packed) {
        char *packed = (char *)r->scratch + s->kernel_bytes;
        size_t bytes = 0;

        if (!s->kernel->packed_bytes(&a.s, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "the weight does not fit in memory");
        for (size_t i = 0; i < bytes; i++) packed[i] = 0;
        s->kernel->pack(&a.s, packed, r->in[1].data);
        a.w = packed;
    }
    s->kernel->run(&a, r->team);
    return QN_OK;
}

/* The multiply-adds of y, whatever is padding. */
static uint64_t conv_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    return qn_conv_cost(&in[1], &out[0]);
}

const qn_op qn_op_conv = {
    .domain = "",
    .name = "Conv",
    .since = 1,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = conv_infer,
    .rows = qn_rows_leading,
    .lower = conv_lower,
    .run = conv_run,
    .cost = conv_cost,
    .kernels = "conv",
};

const qn_op qn_op_fused_conv = {
    .domain = "quern",
    .name = "FusedConv",
    .since = 1,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = fused_infer,
    .rows = fused_rows,
    .lower = conv_lower,
    .run = conv_run,
    .cost = conv_cost,
    .kernels = "conv",
};
