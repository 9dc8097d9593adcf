/* core/kernels/reduce/reduce.h - reductions of f32: many numbers to one, in one order.
 * Bits: lanes.h. A reduction is fed piece by piece; each piece but the last has a multiple of 16 elements.
 * NaN: any NaN among the elements gives NaN, for MAX and MIN too.
 * Threads: no state. */
#ifndef QUERN_KERNELS_REDUCE_H
#define QUERN_KERNELS_REDUCE_H

#include "core/kernels/kernel.h"

typedef enum qn_reduce {
    QN_REDUCE_SUM,
    QN_REDUCE_SUM_SQ,  /* of x * x */
    QN_REDUCE_SUM_ABS, /* of |x| */
    QN_REDUCE_PROD,
    QN_REDUCE_MAX,
    QN_REDUCE_MIN,
    QN_REDUCE_COUNT
} qn_reduce;

#define QN_REDUCE_LANES 16
#define QN_REDUCE_COLS  64 /* most columns of one cols() call: 16 lanes of them are 4 KiB */

/* acc[16]: the lanes so far; x[0 .. n) joins them, x[0] in lane 0. */
typedef void qn_reduce_feed_fn(float *acc, const float *x, int64_t n);
/* acc[16][n]: the lanes of n <= QN_REDUCE_COLS reductions side by side; x[0 .. n) holds element i of each, i mod 16 == lane. */
typedef void qn_reduce_cols_fn(float *acc, int lane, const float *x, int64_t n);

typedef struct qn_reduce_kernel {
    const char *name; /* "f32x16__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_reduce_feed_fn *feed[QN_REDUCE_COUNT];
    qn_reduce_cols_fn *cols[QN_REDUCE_COUNT];
} qn_reduce_kernel;

/* Best row for these CPU flags; never NULL. */
const qn_reduce_kernel *qn_reduce_pick(unsigned cpu);
/* All rows, best first, for tests and docs. */
const qn_reduce_kernel *const *qn_reduce_kernels(int32_t *n);

/* What every lane holds before the first element: 0, 1 or an infinity. */
float qn_reduce_start(qn_reduce kind);
/* Join 16 lanes (they are overwritten): the result. */
float qn_reduce_finish(qn_reduce kind, float *acc);
/* The same for acc[16][n]: n results in out. */
void qn_reduce_finish_cols(qn_reduce kind, float *acc, int64_t n, float *out);

#endif
