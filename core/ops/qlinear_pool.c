/* core/ops/qlinear_pool.c - com.microsoft QLinearAveragePool and QLinearGlobalAveragePool.
 * Spec   ONNX Runtime contrib ops 1: X, X_scale, X_zp?, Y_scale, Y_zp? -> Y; channels_last: X and Y are [n, spatial.., c]. AveragePool: the
 *        attributes of ONNX AveragePool.
 * Value  AveragePool: the average of DequantizeLinear(x) in f32, then rne(v / Y_scale + Y_zp). Global: exact s32 sum of x - X_zp, then
 *        rne(sum * (X_scale / (Y_scale * n))) + Y_zp. Saturated. As ONNX Runtime. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/kernels/quant/quant.h"
#include "core/ops/move.h"
#include "core/ops/pool.h"
#include "core/ops/qlinear.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool is_global(const qn_node *n) { return strcmp(n->op_type, "QLinearGlobalAveragePool") == 0; }

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status infer(qn_infer *c, qn_error *err)
{
    const bool last = qn_qlinear_channels_last(c->node);
    const qn_type *x = &c->in[0];
    qn_dim dims[QN_MAX_RANK];
    qn_spatial s = { 0 };
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK && !qn_infer_has(c, 3)) st = qn_error_set(err, QN_ERR_INVALID, "input 3 is left out, expected a tensor");
    if (st == QN_OK) st = qn_qlinear_infer(c, 0, 1, 2, x->dtype, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, -1, 3, 4, x->dtype, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = x->dtype;
    if (x->rank < 0) return QN_OK;
    if (x->rank < 3) return qn_error_set(err, QN_ERR_SHAPE, "rank %d, expected a batch, channels and spatial dimensions", (int)x->rank);
    if (!is_global(c->node)) st = qn_pool_windows(c->node, x->rank, &s, err);
    dims[0] = x->dims[0];
    dims[1] = x->dims[last ? x->rank - 1 : 1];
    for (int32_t d = 0; st == QN_OK && d < x->rank - 2; d++) {
        dims[2 + d] = qn_dims_const(c->dims, 1);
        if (!is_global(c->node)) st = qn_spatial_infer(c, &s, d, x->dims[(last ? 1 : 2) + d], &dims[2 + d], err);
    }
    if (st != QN_OK) return st;
    if (last) qn_qlinear_last_dims(dims, x->rank);
    qn_linear_output(c, x->dtype, x->rank, dims);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* One of the two ops: x, y as the file has them; images of `size` elements for `c` channels. */
typedef struct job {
    const uint8_t *x;
    uint8_t *y;
    int64_t n, c, in, out; /* in, out: pixels of an image */
    bool last;
    qn_qlinear from, to;
} job;

static qn_status begin(qn_run *r, job *j, qn_tensor *planar, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_status st = qn_qlinear_read(r, 1, 2, x->dtype, &j->from, err);

    if (st == QN_OK) st = qn_qlinear_read(r, 3, 4, x->dtype, &j->to, err);
    if (st != QN_OK) return st;
    j->last = qn_qlinear_channels_last(r->node);
    *planar = *x;
    if (j->last) qn_qlinear_planar_dims(planar->dims, x->rank);
    j->x = x->data;
    j->n = planar->dims[0];
    j->c = planar->dims[1];
    j->in = qn_move_span(planar->dims, 2, x->rank);
    return QN_OK;
}

static uint8_t global_of(const job *j, int64_t image, int64_t channel)
{
    const uint8_t *x = j->x + (j->last ? image * j->in * j->c + channel : (image * j->c + channel) * j->in);
    const int64_t step = j->last ? j->c : 1;
    const float scale = j->from.scale / (j->to.scale * (float)j->in);
    int64_t sum = 0;

    for (int64_t i = 0; i < j->in; i++) sum += j->from.is_signed ? (int8_t)x[i * step] : x[i * step];
    return qn_qlinear_round(rintf((float)(sum - j->in * j->from.zero) * scale), &j->to);
}

static qn_status global_run(qn_run *r, qn_error *err)
{
    int64_t dims[QN_MAX_RANK];
    qn_tensor planar;
    job j;
    qn_status st = begin(r, &j, &planar, err);

    if (st != QN_OK) return st;
    if (j.in == 0) return qn_error_set(err, QN_ERR_SHAPE, "a spatial dimension is empty: it has no average");
    for (int32_t d = 0; d < planar.rank; d++) dims[d] = d == 0 ? j.n : d == (j.last ? planar.rank - 1 : 1) ? j.c : 1;
    if ((st = qn_move_output(r, 0, planar.dtype, planar.rank, dims, err)) != QN_OK) return st;
    for (int64_t i = 0; i < j.n * j.c; i++) ((uint8_t *)r->out[0].data)[i] = global_of(&j, i / j.c, i % j.c);
    return QN_OK;
}

/* Reals of all x, channels first. */
static void dequantized(const job *j, unsigned cpu, float *real)
{
    const qn_quant_type type = j->from.is_signed ? QN_QUANT_S8 : QN_QUANT_U8;
    float of[256];
    uint8_t all[256];

    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    qn_quant_pick(cpu)->dequantize[type](all, of, 256, &j->from.scale, &j->from.zero, 0);
    for (int64_t i = 0; i < j->n * j->c * j->in; i++) {
        const int64_t pixel = i % j->in, plane = i / j->in;

        real[i] = of[j->x[j->last ? (plane / j->c * j->in + pixel) * j->c + plane % j->c : i]];
    }
}

static void quantized(const job *j, const float *mean)
{
    for (int64_t i = 0; i < j->n * j->c * j->out; i++) {
        const int64_t pixel = i % j->out, plane = i / j->out;

        j->y[j->last ? (plane / j->c * j->out + pixel) * j->c + plane % j->c : i] = qn_qlinear_round(mean[i] / j->to.scale, &j->to);
    }
}

/* Reals of x and of y. */
static bool work_bytes(int64_t x, int64_t y, size_t *bytes)
{
    int64_t n;

    return qn_i64_add(x, y, &n) && qn_i64_mul(n, 4, &n) && qn_i64_to_size(n, bytes);
}

static qn_status average_lower(qn_lower *lo, qn_error *err)
{
    size_t bytes;

    if (lo->in[0].rank < 0 || lo->out[0].rank < 0) return QN_OK;
    if (!work_bytes(qn_tensor_count(&lo->in[0]), qn_tensor_count(&lo->out[0]), &bytes)) return QN_OK;
    return qn_move_lower_work(lo, bytes, err);
}

static qn_status average_run(qn_run *r, qn_error *err)
{
    const int32_t rank = r->in[0].rank;
    qn_pool_sum_args a = { .include_pad = qn_node_int(r->node, "count_include_pad", 0) != 0 };
    int64_t dims[QN_MAX_RANK] = { 0 }, count;
    qn_move_work w;
    qn_tensor planar;
    size_t bytes;
    job j;
    qn_status st = begin(r, &j, &planar, err);

    if (st == QN_OK) st = qn_pool_shape_of(r->node, &planar, &a.s, err);
    if (st != QN_OK) return st;
    dims[0] = j.n;
    dims[j.last ? rank - 1 : 1] = j.c;
    for (int32_t d = 0; d < rank - 2; d++) dims[(j.last ? 1 : 2) + d] = a.s.out[3 - (rank - 2) + d];
    if ((st = qn_move_output(r, 0, planar.dtype, rank, dims, err)) != QN_OK) return st;
    count = qn_tensor_count(&r->in[0]);
    if (qn_tensor_count(&r->out[0]) == 0) return QN_OK;
    if (!work_bytes(count, qn_tensor_count(&r->out[0]), &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " elements", count);
    if ((st = qn_move_work_begin(r, bytes, &w, err)) != QN_OK) return st;
    j.y = r->out[0].data;
    j.out = a.s.out[0] * a.s.out[1] * a.s.out[2];
    a.x = w.mem;
    a.y = (float *)w.mem + count;
    dequantized(&j, r->cpu, w.mem);
    qn_pool_sum_f32(&a, r->team);
    quantized(&j, a.y);
    qn_move_work_end(&w);
    return QN_OK;
}

static uint64_t average_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    qn_tensor planar = in[0];

    if (qn_qlinear_channels_last(n))
        for (int32_t d = planar.rank - 1; d > 1; d--) planar.dims[d] = in[0].dims[d - 1];
    return qn_cost_mul(qn_cost_elements(&out[0]), qn_spatial_window(n, &planar));
}

const qn_op qn_op_ms_qlinear_average_pool = {
    .domain = "com.microsoft",
    .name = "QLinearAveragePool",
    .since = 1,
    .min_in = 4,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = qn_rows_leading,
    .lower = average_lower,
    .run = average_run,
    .cost = average_cost,
    .kernels = "quant, pool",
};

const qn_op qn_op_ms_qlinear_global_average_pool = {
    .domain = "com.microsoft",
    .name = "QLinearGlobalAveragePool",
    .since = 1,
    .min_in = 4,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = qn_rows_leading,
    .run = global_run,
};
