/* core/ops/quantize.c - QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear:  real = scale * (q - zero_point).
 * Spec   ONNX QuantizeLinear, DequantizeLinear 10 on: one scale; from 13 one per place of `axis` (default 1); from 19 f16 and bf16; from 21
 *        16- and 4-bit integers, output_dtype, and blocks: with block_size b, places i*b .. i*b + b - 1 of `axis` share place i of scale,
 *        which has the rank of x. `saturate` and `precision` concern 8-bit floats and other arithmetics; there are no 8-bit floats here.
 *        com.microsoft QuantizeLinear, DequantizeLinear 1: the same. DynamicQuantizeLinear 11 on.
 * Value  q = clamp(rne(x / scale) + zero_point), NaN becomes the smallest q; x = (q - zero_point) * scale, in f32 and rounded once for f16
 *        and bf16. Dynamic: lo = min(0, min x), hi = max(0, max x), scale = (hi - lo) / 255 (1 if that is 0), zero_point =
 *        rne(clamp(-lo / scale, 0, 255)).  kernels/quant/quant.h.
 * Grad   QuantizeLinear followed by DequantizeLinear, straight through: dx = dy where q did not saturate, 0 elsewhere. */
#include "core/ops/quantize.h"
#include "core/base/checked.h"
#include "core/kernels/quant/quant.h"
#include "core/kernels/reduce/reduce.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define QN_SET_QUANT  (1u << QN_U8 | 1u << QN_I8 | 1u << QN_U16 | 1u << QN_I16 | 1u << QN_U4 | 1u << QN_I4)
#define QN_SET_REAL32 (1u << QN_F32 | 1u << QN_F16 | 1u << QN_BF16)

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Dtype of the quantized output; NONE where attribute output_dtype names one Quern has not. */
static qn_dtype quantized(const qn_node *node, qn_dtype zero)
{
    const int64_t asked = qn_node_int(node, "output_dtype", 0);

    if (zero != QN_DTYPE_NONE) return zero;
    return asked != 0 ? qn_move_onnx_dtype(asked) : QN_U8;
}

/* Dtype of the reals: from ONNX 23 on an attribute, else that of scale. */
static qn_dtype dequantized(const qn_node *node, qn_dtype scale)
{
    const int64_t asked = qn_node_int(node, "output_dtype", 0);

    return asked != 0 ? qn_move_onnx_dtype(asked) : scale;
}

/* Input i has the shape of x but for the blocked axis, which counts blocks. */
static qn_status blocks_infer(const qn_infer *c, int32_t i, int64_t block, qn_error *err)
{
    const qn_type *x = &c->in[0], *p = &c->in[i];
    int64_t n, d;
    int32_t axis;
    qn_status st;

    if (!qn_infer_has(c, i) || x->rank < 0 || p->rank < 0) return QN_OK;
    if (p->rank != x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, x has rank %d: blocks need the same", (int)i, (int)p->rank,
                            (int)x->rank);
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 1), x->rank, &axis, err)) != QN_OK) return st;
    for (int32_t k = 0; k < x->rank; k++) {
        if (!qn_move_number(c, x->dims[k], &d) || !qn_move_number(c, p->dims[k], &n)) continue;
        if (k == axis) d = d / block + (d % block != 0);
        if (n != d)
            return qn_error_set(err, QN_ERR_SHAPE,
                                "input %d has size %" PRId64 " on axis %d, expected %" PRId64 " with block_size %" PRId64, (int)i, n,
                                (int)k, d, block);
    }
    return QN_OK;
}

static qn_status params_infer(const qn_infer *c, qn_error *err)
{
    const int64_t block = qn_node_int(c->node, "block_size", 0);
    int32_t axis;
    int64_t n, d;
    qn_status st = QN_OK;

    if (block < 0) return qn_error_set(err, QN_ERR_INVALID, "block_size is %" PRId64 ", expected 0 or more", block);
    if (block > 0) {
        st = blocks_infer(c, 1, block, err);
        return st == QN_OK ? blocks_infer(c, 2, block, err) : st;
    }
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
    const int64_t asked = qn_node_int(c->node, "output_dtype", 0);
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_REAL32 | 1u << QN_I32, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_SET_REAL32, err);
    if (st == QN_OK) st = params_infer(c, err);
    if (st != QN_OK) return st;
    if (zero != QN_DTYPE_NONE && asked != 0 && qn_move_onnx_dtype(asked) != zero)
        return qn_error_set(err, QN_ERR_DTYPE, "zero_point is %s, output_dtype is ONNX data type %" PRId64, qn_dtype_name(zero), asked);
    if (to == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_UNSUPPORTED, "quantization to ONNX data type %" PRId64, asked);
    if (!(QN_SET_QUANT >> to & 1))
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "quantization to %s, expected u8, i8, u16, i16, u4 or i4", qn_dtype_name(to));
    qn_elem_like(c, 0, 0, to);
    return QN_OK;
}

static qn_status dequantize_infer(qn_infer *c, qn_error *err)
{
    const qn_dtype to = dequantized(c->node, c->in[1].dtype);
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_QUANT | 1u << QN_I32, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_SET_REAL32, err);
    if (st == QN_OK) st = params_infer(c, err);
    if (st != QN_OK) return st;
    if (qn_infer_has(c, 2) && c->in[2].dtype != c->in[0].dtype && c->in[2].dtype != QN_DTYPE_NONE && c->in[0].dtype != QN_DTYPE_NONE)
        return qn_error_set(err, QN_ERR_DTYPE, "zero_point is %s, x is %s", qn_dtype_name(c->in[2].dtype), qn_dtype_name(c->in[0].dtype));
    if (to != QN_DTYPE_NONE ? !(QN_SET_REAL32 >> to & 1) : qn_node_int(c->node, "output_dtype", 0) != 0)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "output_dtype is ONNX data type %" PRId64 ", expected float, float16 or bfloat16",
                            qn_node_int(c->node, "output_dtype", 0));
    qn_elem_like(c, 0, 0, to);
    return QN_OK;
}

static void linear_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int64_t n;
    int32_t axis = -1;

    /* a scale of x's own rank has the rows too: they are not alike */
    if (!qn_move_rows_only(c, in_axis, 0) || qn_node_int(c->node, "block_size", 0) != 0) return;
    if (c->in[1].rank == 1 && !(qn_move_number(c, c->in[1].dims[0], &n) && n == 1)) {
        if (c->in[0].rank < 0 || qn_move_axis(qn_node_int(c->node, "axis", 1), c->in[0].rank, &axis, NULL) != QN_OK) return;
    }
    if (axis != in_axis[0]) out_axis[0] = in_axis[0];
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* x is [.., axis, inner]. Without blocks the scales are [axis]; with one scale axis is 1 and inner everything. With blocks they are
 * [.., n_blocks, inner]. */
typedef struct job {
    const qn_quant_kernel *kernel;
    qn_dtype from, to;
    int64_t n_scales, axis, inner;
    int64_t block, n_blocks; /* block 0: none */
    const float *scale;
    const int32_t *zero;
    const char *x;
    char *y;
} job;

/* The kernels know no 4 bits: those are read as the bytes they are, and written as bytes that are clamped once more. */
static qn_quant_type quant_type(qn_dtype d)
{
    return d == QN_U8 || d == QN_U4 ? QN_QUANT_U8 : d == QN_I8 || d == QN_I4 ? QN_QUANT_S8 : d == QN_U16 ? QN_QUANT_U16 : QN_QUANT_S16;
}

static void clamp_nibbles(qn_dtype to, char *y, int64_t n)
{
    int8_t *s = (int8_t *)y;
    uint8_t *u = (uint8_t *)y;

    if (to == QN_I4) {
        for (int64_t i = 0; i < n; i++) s[i] = (int8_t)(s[i] < -8 ? -8 : s[i] > 7 ? 7 : s[i]);
    } else if (to == QN_U4) {
        for (int64_t i = 0; i < n; i++) u[i] = u[i] > 15 ? 15 : u[i];
    }
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

    if (QN_SET_QUANT >> j->to & 1) {
        quantize_span(j, x, y, n, j->scale + s, j->zero + s, step);
        clamp_nibbles(j->to, y, n);
    } else {
        dequantize_span(j, x, y, n, j->scale + s, j->zero + s, step);
    }
}

/* The part of [lo, hi) from lo on that lies in one row of blocks: its length; *s and *step say where its scales are. */
static int64_t block_part(const job *j, int64_t lo, int64_t hi, int64_t *s, int64_t *step)
{
    const int64_t row = lo / j->inner, col = lo % j->inner, place = row % j->axis;
    int64_t n;

    *s = ((row / j->axis * j->n_blocks) + place / j->block) * j->inner + col;
    *step = j->inner != 1;
    n = j->inner - col;
    if (j->inner == 1) {
        n = j->block - place % j->block;
        if (n > j->axis - place) n = j->axis - place;
    }
    return n < hi - lo ? n : hi - lo;
}

/* Elements [lo, hi), cut where the scale changes. */
static void elements(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    while (lo < hi) {
        int64_t n, at, step = 0;

        if (j->block) {
            n = block_part(j, lo, hi, &at, &step);
        } else if (j->inner == 1) { /* the scales are the innermost axis */
            at = lo % j->axis;
            n = j->axis - at;
            step = 1;
        } else {
            n = j->inner - lo % j->inner;
            at = lo / j->inner % j->axis;
        }
        if (n > hi - lo) n = hi - lo;
        span(j, lo, n, at, step);
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

/* Blocks: scale is [x.., ceil(axis / block), x..]. */
static qn_status cut_blocks(const qn_run *r, job *j, int32_t axis, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *scale = &r->in[1];
    bool fits = scale->rank == x->rank;

    j->n_blocks = x->dims[axis] / j->block + (x->dims[axis] % j->block != 0);
    for (int32_t d = 0; d < x->rank && fits; d++) fits = scale->dims[d] == (d == axis ? j->n_blocks : x->dims[d]);
    if (!fits) {
        char have[96], of[96];

        return qn_error_set(err, QN_ERR_SHAPE, "scale %s does not fit x %s with block_size %" PRId64 " on axis %d",
                            qn_shape_print(scale->rank, scale->dims, have, sizeof have), qn_shape_print(x->rank, x->dims, of, sizeof of),
                            j->block, (int)axis);
    }
    return QN_OK;
}

/* Blocks need zero points like scales; otherwise one element may have rank 0 or 1. */
static bool same_shape(const qn_tensor *scale, const qn_tensor *zero, bool blocks)
{
    if (qn_tensor_count(scale) != qn_tensor_count(zero)) return false;
    return !blocks || (scale->rank == zero->rank && memcmp(scale->dims, zero->dims, (size_t)scale->rank * sizeof *scale->dims) == 0);
}

static qn_status cut_shape(const qn_run *r, job *j, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t axis = 0;
    qn_status st;

    j->n_scales = qn_tensor_count(&r->in[1]);
    j->block = qn_node_int(r->node, "block_size", 0);
    j->axis = 1;
    j->inner = qn_tensor_count(x);
    if (qn_move_has(r, 2) && !same_shape(&r->in[1], &r->in[2], j->block != 0))
        return qn_error_set(err, QN_ERR_SHAPE, "zero_point has %" PRId64 " elements, scale has %" PRId64, qn_tensor_count(&r->in[2]),
                            j->n_scales);
    if (j->n_scales == 1 && !j->block) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(r->node, "axis", 1), x->rank, &axis, err)) != QN_OK) return st;
    j->axis = x->dims[axis];
    j->inner = qn_move_span(x->dims, axis + 1, x->rank);
    if (j->block) return cut_blocks(r, j, axis, err);
    if (j->axis != j->n_scales)
        return qn_error_set(err, QN_ERR_SHAPE, "scale has %" PRId64 " elements, axis %d has size %" PRId64, j->n_scales, (int)axis,
                            j->axis);
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

static qn_status dequantize_run(qn_run *r, qn_error *err) { return linear_run(r, dequantized(r->node, r->in[1].dtype), err); }

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
const qn_op qn_op_ms_quantize_linear = {
    .name = "QuantizeLinear",
    .domain = "com.microsoft",
    .since = 1,
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
const qn_op qn_op_ms_dequantize_linear = {
    .name = "DequantizeLinear",
    .domain = "com.microsoft",
    .since = 1,
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

void qn_quantize_dynamic(unsigned cpu, qn_team *team, const float *x, int64_t n, uint8_t *q, float *scale, int32_t *zero)
{
    const float lo = end_of(qn_reduce_pick(cpu), QN_REDUCE_MIN, x, n), hi = end_of(qn_reduce_pick(cpu), QN_REDUCE_MAX, x, n);
    job j = {
        .kernel = qn_quant_pick(cpu), .from = QN_F32, .to = QN_U8, .n_scales = 1, .axis = 1, .inner = n, .scale = scale, .zero = zero
    };
    float z;

    j.x = (const char *)x;
    j.y = (char *)q;
    *scale = (hi - lo) / 255.0f;
    if (*scale == 0.0f) *scale = 1.0f;
    z = -lo / *scale;
    z = z > 0.0f ? z : 0.0f; /* NaN too */
    *zero = (int32_t)rintf(z < 255.0f ? z : 255.0f);
    qn_elem_ranges(team, n, 32768, elements, &j);
}

static qn_status dynamic_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    float scale;
    int32_t zero;
    qn_status st = qn_move_output(r, 0, QN_U8, x->rank, x->dims, err);

    for (int32_t i = 1; i < 3 && st == QN_OK; i++) st = qn_move_output(r, i, i == 1 ? QN_F32 : QN_U8, 0, x->dims, err);
    if (st != QN_OK) return st;
    qn_quantize_dynamic(r->cpu, r->team, x->data, qn_tensor_count(x), r->out[0].data, &scale, &zero);
    if (qn_move_wants(r, 1)) *(float *)r->out[1].data = scale;
    if (qn_move_wants(r, 2)) *(uint8_t *)r->out[2].data = (uint8_t)zero;
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
