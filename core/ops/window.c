/* core/ops/window.c - HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix: tables that audio models begin with.
 * Spec   17 on. A window of `size` n: w_i = a - b cos(2 pi i / N) + c cos(4 pi i / N), N = n if periodic (default), else n - 1.
 *        MelWeightMatrix: [dft_length / 2 + 1, num_mel_bins] triangles, edges equally far apart on mel(f) = 2595 log10(1 + f / 700). */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"

#include <inttypes.h>
#include <math.h>

#define FLOATS (1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | 1u << QN_BF16)
#define INTS   (1u << QN_I8 | 1u << QN_I16 | 1u << QN_I32 | 1u << QN_I64 | 1u << QN_U8 | 1u << QN_U16 | 1u << QN_U32 | 1u << QN_U64)

static qn_status output_dtype(const qn_node *node, qn_dtype *out, qn_error *err)
{
    int64_t number = qn_node_int(node, "output_datatype", 1);

    *out = qn_move_onnx_dtype(number);
    if (FLOATS >> *out & 1) return QN_OK;
    if (INTS >> *out & 1) return QN_OK;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "output_datatype %" PRId64 " is unsupported", number);
}

static void store(const qn_tensor *y, int64_t i, double v)
{
    switch (y->dtype) {
    case QN_F32: ((float *)y->data)[i] = (float)v; break;
    case QN_F64: ((double *)y->data)[i] = v; break;
    case QN_F16: ((uint16_t *)y->data)[i] = qn_f64_to_f16(v); break;
    case QN_BF16: ((uint16_t *)y->data)[i] = qn_f32_to_bf16((float)v); break;
    case QN_I8:
    case QN_U8: ((uint8_t *)y->data)[i] = (uint8_t)v; break; /* windows and weights lie in 0..1: every integer type holds them, cut */
    case QN_I16:
    case QN_U16: ((uint16_t *)y->data)[i] = (uint16_t)v; break;
    case QN_I32:
    case QN_U32: ((uint32_t *)y->data)[i] = (uint32_t)v; break;
    default: ((uint64_t *)y->data)[i] = (uint64_t)v; break;
    }
}

/* A scalar integer input at run time. */
static qn_status count_at(const qn_tensor *t, const char *what, int64_t *n, qn_error *err)
{
    if (qn_tensor_count(t) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId64 " elements, expected 1", what, qn_tensor_count(t));
    *n = qn_move_int(t, 0);
    if (*n < 0) return qn_error_set(err, QN_ERR_SHAPE, "%s is %" PRId64 ", expected 0 or more", what, *n);
    return QN_OK;
}

/* -- windows -------------------------------------------------------------------------------------------------------------- */

static qn_status window_infer(qn_infer *c, qn_error *err)
{
    int32_t n;
    int64_t v;
    qn_dtype dtype;
    const qn_dim *e;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_dtype(c, 0, QN_MOVE_INDEX, err)) != QN_OK) return st;
    if ((st = output_dtype(c->node, &dtype, err)) != QN_OK || (st = qn_move_type(&c->out[0], dtype, 1, err)) != QN_OK) return st;
    e = qn_move_known(c, 0, &n);
    if (!e || n != 1) return QN_OK;
    if (qn_move_number(c, e[0], &v) && v < 0) return qn_error_set(err, QN_ERR_SHAPE, "size is %" PRId64 ", expected 0 or more", v);
    c->out[0].dims[0] = e[0];
    return QN_OK;
}

static qn_status window_run(qn_run *r, double a, double b, double c, qn_error *err)
{
    int64_t n, last;
    qn_dtype dtype;
    double turn;
    qn_status st;

    if ((st = count_at(&r->in[0], "size", &n, err)) != QN_OK || (st = output_dtype(r->node, &dtype, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 0, dtype, 1, &n, err)) != QN_OK) return st;
    last = qn_node_int(r->node, "periodic", 1) ? n : n - 1;
    turn = last > 0 ? 2 * 3.14159265358979323846 / (double)last : 0;
    for (int64_t i = 0; i < n; i++) store(&r->out[0], i, a - b * cos((double)i * turn) + c * cos(2 * (double)i * turn));
    return QN_OK;
}

static qn_status hann_run(qn_run *r, qn_error *err) { return window_run(r, 0.5, 0.5, 0, err); }
static qn_status hamming_run(qn_run *r, qn_error *err) { return window_run(r, 25.0 / 46, 21.0 / 46, 0, err); }
static qn_status blackman_run(qn_run *r, qn_error *err) { return window_run(r, 0.42, 0.5, 0.08, err); }

const qn_op qn_op_hann_window = {
    .name = "HannWindow",
    .since = 17,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = window_infer,
    .run = hann_run,
};
const qn_op qn_op_hamming_window = {
    .name = "HammingWindow",
    .since = 17,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = window_infer,
    .run = hamming_run,
};
const qn_op qn_op_blackman_window = {
    .name = "BlackmanWindow",
    .since = 17,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = window_infer,
    .run = blackman_run,
};

/* -- MelWeightMatrix ------------------------------------------------------------------------------------------------------ */

static qn_status mel_infer(qn_infer *c, qn_error *err)
{
    int32_t n;
    qn_dtype dtype;
    const qn_dim *e;
    qn_status st;

    if ((st = qn_move_need(c, 5, err)) != QN_OK) return st;
    for (int32_t i = 0; i < 5; i++)
        if ((st = qn_move_need_dtype(c, i, i < 3 ? QN_MOVE_INDEX : FLOATS, err)) != QN_OK) return st;
    if ((st = output_dtype(c->node, &dtype, err)) != QN_OK || (st = qn_move_type(&c->out[0], dtype, 2, err)) != QN_OK) return st;
    if ((e = qn_move_known(c, 1, &n)) != NULL && n == 1)
        c->out[0].dims[0] = qn_dims_add(c->dims, qn_dims_floordiv(c->dims, e[0], qn_dims_const(c->dims, 2)), qn_dims_const(c->dims, 1));
    if ((e = qn_move_known(c, 0, &n)) != NULL && n == 1) c->out[0].dims[1] = e[0];
    return QN_OK;
}

static double mel_of(double hertz) { return 2595 * log10(1 + hertz / 700); }
static double hertz_of(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

/* The DFT bin of edge i of bins + 2. */
static double edge_bin(double low, double high, int64_t bins, int64_t i, int64_t dft, int64_t rate)
{
    double step = (high - low) / (double)(bins + 2);

    return floor(((double)dft + 1) * hertz_of((double)i * step + low) / (double)rate);
}

static qn_status mel_run(qn_run *r, qn_error *err)
{
    int64_t bins, dft, rate, rows;
    double low, high;
    qn_dtype dtype;
    qn_status st;

    if ((st = count_at(&r->in[0], "num_mel_bins", &bins, err)) != QN_OK || (st = count_at(&r->in[1], "dft_length", &dft, err)) != QN_OK ||
        (st = count_at(&r->in[2], "sample_rate", &rate, err)) != QN_OK || (st = output_dtype(r->node, &dtype, err)) != QN_OK)
        return st;
    if (qn_tensor_count(&r->in[3]) != 1 || qn_tensor_count(&r->in[4]) != 1 || rate == 0)
        return qn_error_set(err, QN_ERR_INVALID, "sample_rate is %" PRId64 ", edges have %" PRId64 " and %" PRId64 " elements", rate,
                            qn_tensor_count(&r->in[3]), qn_tensor_count(&r->in[4]));
    low = mel_of(qn_move_real(&r->in[3], 0));
    high = mel_of(qn_move_real(&r->in[4], 0));
    rows = dft / 2 + 1;
    if ((st = qn_move_output(r, 0, dtype, 2, (const int64_t[]){ rows, bins }, err)) != QN_OK) return st;
    for (int64_t b = 0; b < bins; b++) {
        const double left = edge_bin(low, high, bins, b, dft, rate), center = edge_bin(low, high, bins, b + 1, dft, rate),
                     right = edge_bin(low, high, bins, b + 2, dft, rate);

        if (!(left >= 0 && right <= (double)rows))
            return qn_error_set(err, QN_ERR_RANGE, "mel bin %" PRId64 " covers DFT bins %g to %g of %" PRId64, b, left, right, rows);
        for (int64_t i = 0; i < rows; i++) {
            const double f = (double)i;
            double v = 0;

            if (f >= left && f <= center)
                v = center > left ? (f - left) / (center - left) : f == center;
            else if (f > center && f < right)
                v = (right - f) / (right - center);
            store(&r->out[0], i * bins + b, v);
        }
    }
    return QN_OK;
}

const qn_op qn_op_mel_weight_matrix = {
    .name = "MelWeightMatrix",
    .since = 17,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = mel_infer,
    .run = mel_run,
};
