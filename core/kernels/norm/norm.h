/* core/kernels/norm/norm.h - mean, variance and the affine maps of the normalisations, on f32 rows that lie in one piece.
 * Bits: sums by 16 lanes (reduce/lanes.h); the variance is that of the differences from the rounded mean (two passes), so it does not
 * cancel; 1 / sqrt(var + eps) is a square root and a division. The same on every row of the table. Threads: no state. */
#ifndef QUERN_KERNELS_NORM_H
#define QUERN_KERNELS_NORM_H

#include "core/kernels/kernel.h"

/* Population mean and variance of x[n], n >= 1. */
typedef void qn_norm_stats_fn(const float *x, int64_t n, float *mean, float *var);
/* y[i] = fma(x[i] - mean, a, b). y may be x. */
typedef void qn_norm_shift_fn(const float *x, float *y, int64_t n, float mean, float a, float b);
/* y[i] = fma(x[i] - mean[i], a[i], b[i]): shift() with its constants per element. y may be x. */
typedef void qn_norm_shift_each_fn(const float *x, float *y, int64_t n, const float *mean, const float *a, const float *b);
/* y[i] = (x[i] - mean) * a * scale[i] + bias[i]; bias may be NULL. y may be x. */
typedef void qn_norm_affine_fn(const float *x, float *y, int64_t n, float mean, float a, const float *scale, const float *bias);

typedef struct qn_norm_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_norm_stats_fn *stats;
    qn_norm_shift_fn *shift;
    qn_norm_shift_each_fn *shift_each;
    qn_norm_affine_fn *affine;
} qn_norm_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_norm_kernel *qn_norm_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_norm_kernel *const *qn_norm_kernels(int32_t *n);

#endif
