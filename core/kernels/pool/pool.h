/* core/kernels/pool/pool.h - windows that slide over planes: maximum, average, Lp norm. Plain loops, one row for every CPU.
 * One spatial description serves 1, 2 and 3 dimensions (leading 1s).
 * Bits: a window is read in the order (kd, kh, kw); sums are one chain of additions in that order (no fma), divided once at the end.
 *       max keeps the first of equals, and NaN if the window has one. Padding takes no part, except that an average may count it.
 *       Lp: |x|, x * x or pow(|x|, p), summed; the root is sqrt for p 2, pow otherwise, in double for f32.
 *       f16 is read and written as such and computed in f32.
 * Threads: tiles are planes. */
#ifndef QUERN_KERNELS_POOL_H
#define QUERN_KERNELS_POOL_H

#include "core/kernels/kernel.h"

typedef struct qn_pool_shape {
    int64_t planes; /* batch * channels */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3];
    int64_t pad[3], pad_end[3];
} qn_pool_shape;

/* x [planes, in...] -> y [planes, out...]. indices NULL or [planes, out...]: where the maximum lies in x as a whole, counted row-major
 * over (plane, d, h, w), or with column_major over (plane, w, h, d). A window that holds no input gives the lowest value and -1. */
typedef struct qn_pool_max_args {
    qn_pool_shape s;
    const void *x;
    void *y;
    int64_t *indices;
    bool column_major;
} qn_pool_max_args;

void qn_pool_max_f32(const qn_pool_max_args *a, qn_team *team);
void qn_pool_max_f64(const qn_pool_max_args *a, qn_team *team);
void qn_pool_max_f16(const qn_pool_max_args *a, qn_team *team);
void qn_pool_max_i8(const qn_pool_max_args *a, qn_team *team);
void qn_pool_max_u8(const qn_pool_max_args *a, qn_team *team);

/* p 0: the average; otherwise the p-norm. include_pad: the average counts padding that lies in the window (but nothing beyond it). */
typedef struct qn_pool_sum_args {
    qn_pool_shape s;
    const void *x;
    void *y;
    double p;
    bool include_pad;
} qn_pool_sum_args;

void qn_pool_sum_f32(const qn_pool_sum_args *a, qn_team *team);
void qn_pool_sum_f64(const qn_pool_sum_args *a, qn_team *team);
void qn_pool_sum_f16(const qn_pool_sum_args *a, qn_team *team);

/* The same bits for a window that is the whole plane: kernel = in, out = 1, no padding. Faster: eight planes at once. */
bool qn_pool_is_global(const qn_pool_shape *s);

#endif
