/* core/ops/quantize.c - QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear:  real = scale * (q - zero_point).
 * Spec   ONNX QuantizeLinear, DequantizeLinear 10 on: one scale; from 13 one per place of `axis` (default 1); from 19 f16 and bf16; from 21
 *        16-bit integers and output_dtype. Blocks (block_size), 4-bit integers and 8-bit floats are not supported.
 *        DynamicQuantizeLinear 11 on.
 * Value  q = clamp(rne(x / scale) + zero_point), NaN becomes the smallest q; x = (q - zero_point) * scale, in f32 and rounded once for f16
 *        and bf16. Dynamic: lo = min(0, min x), hi = max(0, max x), scale = (hi - lo) / 255 (1 if that is 0), zero_point =
 *        rne(clamp(-lo / scale, 0, 255)).  kernels/quant/quant.h.
 * Grad   QuantizeLinear followed by DequantizeLinear, straight through: dx = dy where q did not saturate, 0 elsewhere. */
#include "core/base/checked.h"
#include "core/kernels/quant/quant.h"
#include "core/kernels/reduce/reduce.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>

#define QN_SET_QUANT  (1u << QN_U8 | 1u << QN_I8 | 1u << QN_U16 | 1u << QN_I16)
#define QN_SET_REAL32 (1u << QN_F32 | 1u << QN_F16 | 1u << QN_BF16)

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Dtype of the quantized output. */
static qn_dtype quantized(const qn_node *node, qn_dtype zero)
{
    const int64_t asked = qn_node_int(node, "output_dtype", 0);

    if (zero != QN_DTYPE_NONE) return zero;
    return asked != 0 ? qn_move_onnx_dtype(asked) : QN_U8;
}

static qn_status params_infer(const qn_infer *c, qn_error *err)
{
    int32_t axis;
    int64_t n, d;
    qn_status st = QN_OK;

    if (qn_node_int(c->node, "block_size", 0) != 0)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "block_size: scales per block are not supported");
    for (int32_t i = 1; i < 3 && st == QN_OK; i++) st = qn_move_need_rank(c, i, 0, 1, err);
    if (st != QN_OK || c->in[1].rank != 1 || c->in[0].rank < 0 || !qn_move_number(c, c->in[1].dims[0], &n) || n == 1) return st;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 1), c->in[0].rank, &axis, err)) != QN_OK) return st;
    if (qn_move_number(c, c->in[0].dims[axis], &d) && d != n)
        return qn_error_set(err, QN_ERR_SHAPE, "scale has %" PRId64 " elements, axis %d has size %" PRId64, n, (int)axis, d);
    return QN_OK;
}

static qn_status quantize_infer(qn_infer *c, qn_error *err)
{
    const qn_dtype zero = qn_infer_has(c, 2) ? c->in[2].dtype : QN_DTYPE_NONE;
    const qn_dtype to = quantized(c->node, zero);
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_REAL32 | 1u << QN_I32, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_SET_REAL32, err);
    if (st == QN_OK) st = params_infer(c, err);
    if (st != QN_OK) return st;
    if (!(QN_SET_QUANT >> to & 1))
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "quantization to %s, expected u8, i8, u16 or i16", qn_dtype_name(to));
    qn_elem_like(c, 0, 0, to);
    return QN_OK;
}

static qn_status dequantize_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_QUANT | 1u << QN_I32, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_SET_REAL32, err);
    if (st == QN_OK) st = params_infer(c, err);
    if (st != QN_OK) return st;
    if (qn_infer_has(c, 2) && c->in[2].dtype != c->in[0].dtype && c->in[2].dtype != QN_DTYPE_NONE && c->in[0].dtype != QN_DTYPE_NONE)
        return qn_error_set(err, QN_ERR_DTYPE, "zero_point is %s, x is %s", qn_dtype_name(c->in[2].dtype), qn_dtype_name(c->in[0].dtype));
    qn_elem_like(c, 0, 0, c->in[1].dtype);
    return QN_OK;
}

static void linear_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int64_t n;
    int32_t axis = -1;

    if (!qn_move_rows_only(c, in_axis, 0)) return;
    if (c->in[1].rank == 1 && !(qn_move_number(c, c->in[1].dims[0], &n) && n == 1)) {
        if (c->in[0].rank < 0 || qn_move_axis(qn_node_int(c->node, "axis", 1), c->in[0].rank, &axis, NULL) != QN_OK) return;
    }
    if (axis != in_axis[0]) out_axis[0] = in_axis[0];
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* x is [.., n_scales, inner]; with one scale n_scales is 1 and inner everything. */
typedef struct job {
    const qn_quant_kernel *kernel;
    qn_dtype from, to;
    int64_t n_scales, inner;
    const float *scale;
    const int32_t *zero;
    const char *x;
    char *y;
} job;

static qn_quant_type quant_type(qn_dtype d)
{
    return d == QN_U8 ? QN_QUANT_U8 : d == QN_I8 ? QN_QUANT_S8 : d == QN_U16 ? QN_QUANT_U16 : QN_QUANT_S16;
}

/* n elements that share a scale (step 0) or have their own (step 1), from f32, or to it. */
static void quantize_span(const job *j, const char *x, char *y, int64_t n, const float *scale, const int32_t *zero, int64_t step)
{
    const int64_t size = (int64_t)qn_dtype_size(j->from), out = (int64_t)qn_dtype_size(j->to);
    qn_elem_buf buf, real;

    if (j->from == QN_F32) {
        j->kernel->quantize[quant_type(j->to)]((const float *)(const void *)x, y, n, scale, zero, step);
        return;
    }
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;
        const void *p = qn_elem_load(j->from, x + done * size, 1, k, &buf);

        if (j->from == QN_I32) {
            for (int64_t i = 0; i < k; i++) real.f32[i] = (float)((const int64_t *)p)[i];
            p = real.f32;
        }
        j->kernel->quantize[quant_type(j->to)](p, y + done * out, k, scale + done * step, zero + done * step, step);
    }
}

static void dequantize_span(const job *j, const char *x, char *y, int64_t n, const float *scale, const int32_t *zero, int64_t step)
{
    const int64_t size = (int64_t)qn_dtype_size(j->from), out = (int64_t)qn_dtype_size(j->to);
    qn_dequantize_fn *fn = j->from == QN_I32 ? j->kernel->dequantize_s32 : j->kernel->dequantize[quant_type(j->from)];
    qn_elem_buf real;

    if (j->to == QN_F32) {
        fn(x, (float *)(void *)y, n, scale, zero, step);
        return;
    }
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;

        fn(x + done * size, real.f32, k, scale + done * step, zero + done * step, step);
        qn_elem_store(j->to, y + done * out, k, &real);
    }
}

static void span(const job *j, int64_t at, int64_t n, int64_t s, int64_t step)
{
    const char *x = j->x + at * (int64_t)qn_dtype_size(j->from);
    char *y = j->y + at * (int64_t)qn_dtype_size(j->to);

    if (QN_SET_QUANT >> j->to & 1)
        quantize_span(j, x, y, n, j->scale + s, j->zero + s, step);
    else
        dequantize_span(j, x, y, n, j->scale + s, j->zero + s, step);
}

/* Elements [lo, hi), cut where the scale changes. */
static void elements(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    while (lo < hi) {
        int64_t n;

        if (j->inner == 1) { /* the scales are the innermost axis */
            n = j->n_scales - lo % j->n_scales;
            if (n > hi - lo) n = hi - lo;
            span(j, lo, n, lo % j->n_scales, 1);
        } else {
            n = j->inner - lo % j->inner;
            if (n > hi - lo) n = hi - lo;
            span(j, lo, n, lo / j->inner % j->n_scales, 0);
        }
        lo += n;
    }
}

/* Scales as f32, zero points as s32, in work: 8 bytes for each scale. */
static qn_status read_params(const qn_run *r, job *j, void *work, qn_error *err)
{
    float *scale = work;
    int32_t *zero = (int32_t *)work + j->n_scales;

    for (int64_t i = 0; i < j->n_scales; i++) {
        scale[i] = (float)qn_move_real(&r->in[1], i);
        zero[i] = qn_move_has(r, 2) ? (int32_t)qn_move_int(&r->in[2], i) : 0;
        if (j->from == QN_I32 && !(QN_SET_QUANT >> j->to & 1) && zero[i] != 0)
            return qn_error_set(err, QN_ERR_INVALID, "zero_point is %" PRId32 ", expected 0 for i32", zero[i]);
    }
    j->scale = scale;
    j->zero = zero;
    return QN_OK;
}

static qn_status cut_shape(const qn_run *r, job *j, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t axis = 0;
    qn_status st;

    j->n_scales = qn_tensor_count(&r->in[1]);
    j->inner = qn_tensor_count(x);
    if (qn_move_has(r, 2) && qn_tensor_count(&r->in[2]) != j->n_scales)
        return qn_error_set(err, QN_ERR_SHAPE, "zero_point has %" PRId64 " elements, scale has %" PRId64, qn_tensor_count(&r->in[2]),
                            j->n_scales);
    if (j->n_scales == 1) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(r->node, "axis", 1), x->rank, &axis, err)) != QN_OK) return st;
    if (x->dims[axis] != j->n_scales)
        return qn_error_set(err, QN_ERR_SHAPE, "scale has %" PRId64 " elements, axis %d has size %" PRId64, j->n_scales, (int)axis,
                            x->dims[axis]);
    j->inner = qn_move_span(x->dims, axis + 1, x->rank);
    return QN_OK;
}

static qn_status linear_run(qn_run *r, qn_dtype to, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .kernel = qn_quant_pick(r->cpu), .from = x->dtype, .to = to, .x = x->data };
    qn_move_work w;
    size_t bytes;
    qn_status st = cut_shape(r, &j, err);

    if (st == QN_OK) st = qn_move_output(r, 0, to, x->rank, x->dims, err);
    if (st != QN_OK) return st;
    j.y = r->out[0].data;
    if (!qn_i64_to_size(j.n_scales, &bytes) || !qn_size_mul(bytes, 8, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "too many scales");
    if ((st = qn_move_work_begin(r, bytes, &w, err)) != QN_OK) return st;
    st = read_params(r, &j, w.mem, err);
    if (st == QN_OK) qn_elem_ranges(r->team, qn_tensor_count(x), 32768, elements, &j);
    qn_move_work_end(&w);
    return st;
}

static qn_status linear_lower(qn_lower *lo, qn_error *err)
{
    lo->kernel = qn_quant_pick(lo->cpu)->name;
    if (lo->in[1].rank < 0) return QN_OK;
    return qn_move_lower_work(lo, (size_t)qn_tensor_count(&lo->in[1]) * 8, err);
}

static qn_status quantize_run(qn_run *r, qn_error *err)
{
    return linear_run(r, quantized(r->node, qn_move_has(r, 2) ? r->in[2].dtype : QN_DTYPE_NONE), err);
}

static qn_status dequantize_run(qn_run *r, qn_error *err) { return linear_run(r, r->in[1].dtype, err); }

const qn_op qn_op_quantize_linear = {
    .name = "QuantizeLinear",
    .domain = "",
    .since = 10,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = quantize_infer,
    .rows = linear_rows,
    .lower = linear_lower,
    .run = quantize_run,
    .kernels = "quant",
};
const qn_op qn_op_dequantize_linear = {
    .name = "DequantizeLinear",
    .domain = "",
    .since = 10,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = dequantize_infer,
    .rows = linear_rows,
    .lower = linear_lower,
    .run = dequantize_run,
    .kernels = "quant",
};

/* -- DynamicQuantizeLinear ------------------------------------------------------------------------------------------------ */

static qn_status dynamic_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, 1u << QN_F32, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, 0, 0, QN_U8);
    for (int32_t i = 1; i < 3 && i < c->node->n_out && st == QN_OK; i++) st = qn_move_type(&c->out[i], i == 1 ? QN_F32 : QN_U8, 0, err);
    return st;
}

static float end_of(const qn_reduce_kernel *k, qn_reduce kind, const float *x, int64_t n)
{
    float acc[QN_REDUCE_LANES];

    for (int l = 0; l < QN_REDUCE_LANES; l++) acc[l] = 0.0f; /* the range always holds 0 */
    k->feed[kind](acc, x, n);
    return qn_reduce_finish(kind, acc);
}

static qn_status dynamic_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t n = qn_tensor_count(x);
    const float lo = end_of(qn_reduce_pick(r->cpu), QN_REDUCE_MIN, x->data, n),
                hi = end_of(qn_reduce_pick(r->cpu), QN_REDUCE_MAX, x->data, n);
    float scale = (hi - lo) / 255.0f, z;
    int32_t zero;
    job j = { .kernel = qn_quant_pick(r->cpu), .from = QN_F32, .to = QN_U8, .n_scales = 1, .inner = n, .x = x->data };
    qn_status st = qn_move_output(r, 0, QN_U8, x->rank, x->dims, err);

    if (scale == 0.0f) scale = 1.0f;
    z = -lo / scale;
    z = z > 0.0f ? z : 0.0f; /* NaN too */
    zero = (int32_t)rintf(z < 255.0f ? z : 255.0f);
    for (int32_t i = 1; i < 3 && st == QN_OK; i++) st = qn_move_output(r, i, i == 1 ? QN_F32 : QN_U8, 0, x->dims, err);
    if (st != QN_OK) return st;
    if (qn_move_wants(r, 1)) *(float *)r->out[1].data = scale;
    if (qn_move_wants(r, 2)) *(uint8_t *)r->out[2].data = (uint8_t)zero;
    j.y = r->out[0].data;
    j.scale = &scale;
    j.zero = &zero;
    qn_elem_ranges(r->team, n, 32768, elements, &j);
    return QN_OK;
}

const qn_op qn_op_dynamic_quantize_linear = {
    .name = "DynamicQuantizeLinear",
    .domain = "",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 3,
    .max_out = 3,
    .infer = dynamic_infer,
    .run = dynamic_run,
    .kernels = "quant",
};
