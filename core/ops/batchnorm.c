/* core/ops/batchnorm.c - BatchNormalization: every channel (axis 1) shifted and scaled by its mean and variance.
 * Spec   ONNX BatchNormalization 1 on. Inference: the statistics are inputs 3 and 4. training_mode = 1 (14 on): those of this batch, and
 *        outputs 1 and 2 are the running ones. Before 14 training is asked for by having more outputs than y (and, before 7, is_test = 0):
 *        the running mean and variance, then those of this batch. Before 9 spatial = 0 gives every place of [c, d...] its own statistics.
 * Value  y = (x - mean) a + bias,  a = scale / sqrt(var + epsilon).  Training: the mean and variance over all axes but 1, divided by their
 *        number (population) everywhere;  running = running momentum + batch (1 - momentum).
 *        f16 and bf16 in f32; parameters may have a real dtype of their own.
 * Grad   With M elements to a channel, h = (x - mean) / sqrt(var + eps), i = 1 / sqrt(var + eps):
 *        training: dx = scale i / M (M dy - sum(dy) - h sum(dy h)), inference: dx = scale i dy;  dscale = sum(dy h), dbias = sum(dy). */
#include "core/base/checked.h"
#include "core/kernels/norm/norm.h"
#include "core/ops/stats.h"

#include <inttypes.h>
#include <math.h>

static bool training(const qn_node *node)
{
    if (node->opset >= 14) return qn_node_int(node, "training_mode", 0) != 0;
    if (node->opset < 7 && qn_node_int(node, "is_test", 0) != 0) return false;
    for (int32_t i = 1; i < node->n_out; i++)
        if (node->out[i] != QN_NONE) return true;
    return false;
}

static bool spatial(const qn_node *node) { return node->opset >= 9 || qn_node_int(node, "spatial", 1) != 0; }

static qn_status params_infer(const qn_infer *c, qn_error *err)
{
    qn_status st = QN_OK;
    int64_t have, want;

    for (int32_t i = 1; i < 5 && st == QN_OK; i++) {
        st = qn_move_need_dtype(c, i, QN_SET_FLOAT, err);
        if (st == QN_OK && spatial(c->node)) st = qn_move_need_rank(c, i, 1, 1, err);
        if (st == QN_OK && c->in[i].rank == 1 && c->in[0].rank >= 2 && spatial(c->node) && qn_move_number(c, c->in[i].dims[0], &have) &&
            qn_move_number(c, c->in[0].dims[1], &want) && have != want)
            return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, x has %" PRId64 " channels", (int)i, have, want);
    }
    return st;
}

static qn_status batch_norm_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 5, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = params_infer(c, err);
    if (st != QN_OK) return st;
    for (int32_t i = 1; i < c->node->n_out; i++) {
        const int32_t like = 4 - i % 2; /* mean, variance, mean, variance */

        if (c->node->out[i] == QN_NONE) continue;
        if (!training(c->node)) return qn_error_set(err, QN_ERR_INVALID, "output %d is for training, and this is inference", (int)i);
        if (i > 2 && c->node->opset >= 14) return qn_error_set(err, QN_ERR_INVALID, "output %d, expected at most 3 outputs", (int)i);
        qn_elem_like(c, like, i, c->in[like].dtype);
    }
    qn_elem_like(c, 0, 0, c->in[0].dtype);
    return QN_OK;
}

static void batch_norm_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (!training(c->node) && qn_move_rows_only(c, in_axis, 0) && in_axis[0] == 0) out_axis[0] = 0;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    const qn_norm_kernel *kernel;
    qn_dtype dtype;
    int64_t channels, inner; /* x is [n, channels, inner] */
    const char *x;
    char *y;
    union {
        float *f32;
        double *f64;
    } mean, a, bias; /* [channels], f64 when x is */
} job;

static double param(const qn_tensor *t, int64_t i) { return qn_move_real(t, i); }

/* y = (x - mean) a + bias of n elements of one channel. */
static void span_f32(const job *j, int64_t c, const char *x, char *y, int64_t n)
{
    const int64_t size = (int64_t)qn_dtype_size(j->dtype);
    qn_elem_buf in, out;

    if (j->dtype == QN_F32) {
        j->kernel->shift((const float *)(const void *)x, (float *)(void *)y, n, j->mean.f32[c], j->a.f32[c], j->bias.f32[c]);
        return;
    }
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;

        j->kernel->shift(qn_elem_load(j->dtype, x + done * size, 1, k, &in), out.f32, k, j->mean.f32[c], j->a.f32[c], j->bias.f32[c]);
        qn_elem_store(j->dtype, y + done * size, k, &out);
    }
}

static void channel_rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t bytes = j->inner * (int64_t)qn_dtype_size(j->dtype);

    (void)member;
    for (int64_t r = lo; r < hi; r++) {
        const int64_t c = r % j->channels;

        if (j->dtype == QN_F64) {
            const double *x = (const double *)(const void *)(j->x + r * bytes);
            double *y = (double *)(void *)(j->y + r * bytes);

            for (int64_t i = 0; i < j->inner; i++) y[i] = (x[i] - j->mean.f64[c]) * j->a.f64[c] + j->bias.f64[c];
        } else {
            span_f32(j, c, j->x + r * bytes, j->y + r * bytes, j->inner);
        }
    }
}

/* [n, channels] of f32: the channels are the row. */
static void batch_rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    for (int64_t r = lo; r < hi; r++) {
        const int64_t at = r * j->channels * (int64_t)sizeof(float);

        j->kernel->shift_each((const float *)(const void *)(j->x + at), (float *)(void *)(j->y + at), j->channels, j->mean.f32, j->a.f32,
                              j->bias.f32);
    }
}

/* Statistics of this batch and the running ones. */
static void train_channels(const qn_run *r, job *j)
{
    const qn_tensor *x = &r->in[0];
    const double momentum = (double)qn_node_float(r->node, "momentum", 0.9f);
    const float keep = (float)momentum, take = 1.0f - keep;
    qn_axes axes;

    qn_axes_init(&axes, x->rank, x->dims, spatial(r->node) ? ((1u << x->rank) - 1) & ~2u : 1u);
    for (int64_t c = 0; c < j->channels; c++) {
        const float old_mean = (float)param(&r->in[3], c), old_var = (float)param(&r->in[4], c);
        double mean, var;

        if (j->dtype == QN_F64) {
            qn_stats_f64(&axes, c, x->data, &mean, &var);
            j->mean.f64[c] = mean;
            j->a.f64[c] = var;
        } else {
            float m, v;

            qn_stats_f32(qn_reduce_pick(r->cpu), &axes, c, j->dtype, x->data, &m, &v);
            j->mean.f32[c] = m;
            j->a.f32[c] = v;
            mean = (double)m;
            var = (double)v;
        }
        for (int32_t o = 1; o < 5; o++) { /* running mean and variance, those of the batch */
            const float batch = (float)(o % 2 ? mean : var), old = o % 2 ? old_mean : old_var,
                        f = o < 3 ? old * keep + batch * take : batch;
            const double exact = o % 2 ? mean : var, d = o < 3 ? param(&r->in[4 - o % 2], c) * momentum + exact * (1.0 - momentum) : exact;

            if (!qn_move_wants(r, o)) continue;
            qn_elem_store(r->out[o].dtype, (char *)r->out[o].data + c * (int64_t)qn_dtype_size(r->out[o].dtype), 1,
                          r->out[o].dtype == QN_F64 ? (const void *)&d : (const void *)&f);
        }
    }
}

/* a holds the variance on entry when training. */
static void make_params(const qn_run *r, job *j, bool train)
{
    const float eps = qn_node_float(r->node, "epsilon", 1e-5f);

    for (int64_t c = 0; c < j->channels; c++) {
        const double scale = param(&r->in[1], c), bias = param(&r->in[2], c);

        if (j->dtype == QN_F64) {
            if (!train) j->mean.f64[c] = param(&r->in[3], c);
            j->a.f64[c] = scale / sqrt((train ? j->a.f64[c] : param(&r->in[4], c)) + (double)eps);
            j->bias.f64[c] = bias;
        } else {
            if (!train) j->mean.f32[c] = (float)param(&r->in[3], c);
            j->a.f32[c] = (float)scale / sqrtf((train ? j->a.f32[c] : (float)param(&r->in[4], c)) + eps);
            j->bias.f32[c] = (float)bias;
        }
    }
}

static int64_t n_channels(const qn_node *node, const qn_tensor *x)
{
    if (!spatial(node)) return qn_move_span(x->dims, 1, x->rank);
    return x->rank > 1 ? x->dims[1] : 1;
}

static bool params_bytes(int64_t channels, size_t *bytes)
{
    return qn_i64_to_size(channels, bytes) && qn_size_mul(*bytes, 3 * sizeof(double), bytes);
}

static qn_status batch_norm_lower(qn_lower *lo, qn_error *err)
{
    size_t bytes;

    if (lo->in[0].dtype == QN_F32) lo->kernel = qn_norm_pick(lo->cpu)->name;
    if (lo->in[0].rank < 1) return QN_OK;
    if (!params_bytes(n_channels(lo->node, &lo->in[0]), &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "too many channels");
    return qn_move_lower_work(lo, bytes, err);
}

static qn_status check_params(const qn_run *r, int64_t channels, qn_error *err)
{
    for (int32_t i = 1; i < 5; i++) {
        if (qn_tensor_count(&r->in[i]) != channels)
            return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, x has %" PRId64 " channels", (int)i,
                                qn_tensor_count(&r->in[i]), channels);
    }
    return QN_OK;
}

static void batch_norm_compute(qn_run *r, job *j, char *work)
{
    const bool train = training(r->node);
    const int64_t size = j->dtype == QN_F64 ? 8 : 4, n = qn_tensor_count(&r->in[0]);

    j->mean.f64 = (double *)(void *)work;
    j->a.f64 = (double *)(void *)(work + j->channels * size);
    j->bias.f64 = (double *)(void *)(work + 2 * j->channels * size);
    if (n == 0) return;
    if (train) train_channels(r, j);
    make_params(r, j, train);
    if (j->inner == 1 && j->dtype == QN_F32)
        qn_elem_ranges(r->team, n / j->channels, 32768 / j->channels, batch_rows, j);
    else
        qn_elem_ranges(r->team, n / j->inner, 32768 / j->inner, channel_rows, j);
}

static qn_status batch_norm_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .kernel = qn_norm_pick(r->cpu), .dtype = x->dtype, .channels = n_channels(r->node, x), .x = x->data };
    qn_move_work w;
    size_t bytes;
    qn_status st;

    if (x->rank < 1) return qn_error_set(err, QN_ERR_SHAPE, "x is a scalar, expected [n, c, ...]");
    if ((st = check_params(r, j.channels, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    for (int32_t o = 1; o < 5; o++) {
        const qn_tensor *like = &r->in[4 - o % 2];

        if ((st = qn_move_output(r, o, like->dtype, like->rank, like->dims, err)) != QN_OK) return st;
    }
    j.y = r->out[0].data;
    j.inner = spatial(r->node) && x->rank > 2 ? qn_move_span(x->dims, 2, x->rank) : 1;
    if (!params_bytes(j.channels, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "too many channels");
    if ((st = qn_move_work_begin(r, bytes, &w, err)) != QN_OK) return st;
    batch_norm_compute(r, &j, w.mem);
    qn_move_work_end(&w);
    return QN_OK;
}

const qn_op qn_op_batch_norm = {
    .name = "BatchNormalization",
    .domain = "",
    .since = 1,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 5,
    .flags = QN_OP_INPLACE,
    .infer = batch_norm_infer,
    .rows = batch_norm_rows,
    .lower = batch_norm_lower,
    .run = batch_norm_run,
    .kernels = "norm",
};
