/* core/kernels/quant/quant.h - reals to small integers and back:  real = scale * (q - zero_point).
 * Source:  ONNX QuantizeLinear, DequantizeLinear; bits as ONNX Runtime's CPU kernels give them.
 * quantize    q = clamp(rne(x / scale) + zero_point): a division, then round to nearest even. NaN becomes the smallest q (what
 *             ONNX Runtime's x86 kernels do: their maximum keeps the bound when the other operand is NaN).
 * dequantize  x = (float)(q - zero_point) * scale: exact difference, one rounding (two for |q| > 2^24).
 * step        1: scale[i], zero[i] belong to element i; 0: scale[0], zero[0] serve all n. zero may be NULL: 0.
 * Threads: no state. */
#ifndef QUERN_KERNELS_QUANT_H
#define QUERN_KERNELS_QUANT_H

#include "core/kernels/kernel.h"

typedef enum qn_quant_type { QN_QUANT_U8, QN_QUANT_S8, QN_QUANT_U16, QN_QUANT_S16, QN_QUANT_COUNT } qn_quant_type;

typedef void qn_quantize_fn(const float *x, void *q, int64_t n, const float *scale, const int32_t *zero, int64_t step);
typedef void qn_dequantize_fn(const void *q, float *x, int64_t n, const float *scale, const int32_t *zero, int64_t step);

typedef struct qn_quant_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_quantize_fn *quantize[QN_QUANT_COUNT];
    qn_dequantize_fn *dequantize[QN_QUANT_COUNT];
    qn_dequantize_fn *dequantize_s32; /* zero must be 0 or small enough not to overflow q - zero */
} qn_quant_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_quant_kernel *qn_quant_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_quant_kernel *const *qn_quant_kernels(int32_t *n);

#endif
