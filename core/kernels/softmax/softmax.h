/* core/kernels/softmax/softmax.h - softmax of rows that lie in one piece.
 * y_i = exp(x_i - m) / s,  s = sum_j exp(x_j - m),  m = max_j x_j;  log form: y_i = (x_i - m) - log(s).
 * Bits: sums by 16 lanes (reduce/lanes.h), exp by vmath/lanes.h, one reciprocal of s per row: the same on every row of the table.
 * A row of -inf only, or with a NaN or +inf, gives NaN (as the formula does). y may be x. Threads: no state. */
#ifndef QUERN_KERNELS_SOFTMAX_H
#define QUERN_KERNELS_SOFTMAX_H

#include "core/kernels/kernel.h"

/* x, y [rows, n] dense; log: the logarithm of softmax. */
typedef void qn_softmax_fn(const float *x, float *y, int64_t rows, int64_t n, bool log);
/* log(sum_j exp(x_j)) of one row of n >= 1; -inf when all are -inf. */
typedef float qn_logsumexp_fn(const float *x, int64_t n);

typedef struct qn_softmax_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_softmax_fn *run;
    qn_logsumexp_fn *logsumexp;
} qn_softmax_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_softmax_kernel *qn_softmax_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_softmax_kernel *const *qn_softmax_kernels(int32_t *n);

#endif
