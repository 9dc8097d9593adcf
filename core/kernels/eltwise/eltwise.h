/* core/kernels/eltwise/eltwise.h - element-wise f32 arithmetic.
 * Bits: an element depends on its operands alone; every row of the table gives the same bits.
 * NaN: arithmetic passes it on; MAX, MIN, RELU and CLIP give NaN for a NaN element too.
 * y may be x, a or b; other overlaps are not allowed. Threads: no state. */
#ifndef QUERN_KERNELS_ELTWISE_H
#define QUERN_KERNELS_ELTWISE_H

#include "core/kernels/kernel.h"

typedef enum qn_unary {
    QN_UNARY_ABS,
    QN_UNARY_NEG,
    QN_UNARY_SIGN, /* -1, 0, 1; NaN stays */
    QN_UNARY_SQRT,
    QN_UNARY_RECIPROCAL,
    QN_UNARY_FLOOR,
    QN_UNARY_CEIL,
    QN_UNARY_ROUND, /* halves to even */
    QN_UNARY_RELU,
    QN_UNARY_LEAKY,       /* x < 0 ? a x : x */
    QN_UNARY_CLIP,        /* min(max(x, a), b): b wins when a > b */
    QN_UNARY_HARDSIGMOID, /* max(0, min(1, a x + b)) */
    QN_UNARY_HARDSWISH,   /* x max(0, min(1, x / 6 + 1 / 2)) */
    QN_UNARY_SOFTSIGN,    /* x / (1 + |x|) */
    QN_UNARY_THRESHOLD,   /* x > a ? x : 0 */
    QN_UNARY_SHRINK,      /* x < -a ? x + b : x > a ? x - b : 0 */
    QN_UNARY_AFFINE,      /* a x + b, two roundings */
    QN_UNARY_COUNT
} qn_unary;

typedef enum qn_binary {
    QN_BINARY_ADD,
    QN_BINARY_SUB,
    QN_BINARY_MUL,
    QN_BINARY_DIV,
    QN_BINARY_MAX,
    QN_BINARY_MIN,
    QN_BINARY_PRELU, /* a < 0 ? a b : a */
    QN_BINARY_COUNT
} qn_binary;

typedef void qn_unary_fn(const float *x, float *y, int64_t n, float a, float b);
/* a_step, b_step: 1, or 0 when the one element a[0] (b[0]) serves all n. */
typedef void qn_binary_fn(const float *a, int64_t a_step, const float *b, int64_t b_step, float *y, int64_t n);

typedef struct qn_eltwise_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_unary_fn *unary[QN_UNARY_COUNT];
    qn_binary_fn *binary[QN_BINARY_COUNT];
} qn_eltwise_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_eltwise_kernel *qn_eltwise_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_eltwise_kernel *const *qn_eltwise_kernels(int32_t *n);

#endif
