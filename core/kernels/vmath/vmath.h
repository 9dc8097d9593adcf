/* core/kernels/vmath/vmath.h - y[i] = f(x[i]) for the f32 functions that need a polynomial.
 * Bits: element i depends on x[i] alone; every row of the table gives the same bits (lanes.h says why).
 * y may be x; other overlaps are not allowed. Threads: no state. */
#ifndef QUERN_KERNELS_VMATH_H
#define QUERN_KERNELS_VMATH_H

#include "core/kernels/kernel.h"

typedef enum qn_vmath {
    QN_VMATH_EXP,
    QN_VMATH_LOG, /* log(0) = -inf, log(x < 0) = NaN */
    QN_VMATH_ERF,
    QN_VMATH_TANH,
    QN_VMATH_SIGMOID,
    QN_VMATH_SOFTPLUS,  /* log(1 + exp(x)) */
    QN_VMATH_GELU,      /* x (1 + erf(x / sqrt 2)) / 2 */
    QN_VMATH_GELU_TANH, /* its approximation by tanh */
    QN_VMATH_MISH,      /* x tanh(softplus(x)) */
    QN_VMATH_SILU,      /* x sigmoid(x) */
    QN_VMATH_ELU,       /* x < 0 ? a (exp(x) - 1) : x */
    QN_VMATH_SELU,      /* b * (x > 0 ? x : a (exp(x) - 1)) */
    QN_VMATH_CELU,      /* max(x, 0) + min(0, a (exp(x / a) - 1)) */
    QN_VMATH_EXP_SUB,   /* exp(x - a) */
    QN_VMATH_POW,       /* exp(a log(x)), for x > 0 and small |a log x|: not a general power */
    QN_VMATH_COUNT
} qn_vmath;

typedef void qn_vmath_fn(const float *x, float *y, int64_t n, float a, float b);

typedef struct qn_vmath_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_vmath_fn *run[QN_VMATH_COUNT];
} qn_vmath_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_vmath_kernel *qn_vmath_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_vmath_kernel *const *qn_vmath_kernels(int32_t *n);

#endif
