/* core/ops/stats.h - reading the elements of a group in order, and mean and variance over any set of axes. */
#ifndef QUERN_OPS_STATS_H
#define QUERN_OPS_STATS_H

#include "core/kernels/reduce/reduce.h"
#include "core/ops/axes.h"
#include "core/ops/elem.h"

/* The next elements of a group of x, converted to the class of dtype: QN_ELEM_CHUNK of them, fewer only at the end, then 0. So each
 * chunk starts in lane 0 of a reduction. */
int64_t qn_stats_gather(qn_axes_reader *r, qn_dtype dtype, const void *x, qn_elem_buf *chunk);

/* Population mean and variance of group g, in two passes; the mean is rounded before it is subtracted. f32, f16 and bf16: f32 by 16
 * lanes. f64: by 16 lanes of f64. k >= 1. */
void qn_stats_f32(const qn_reduce_kernel *kernel, const qn_axes *a, int64_t g, qn_dtype dtype, const void *x, float *mean, float *var);
void qn_stats_f64(const qn_axes *a, int64_t g, const void *x, double *mean, double *var);

/* The same over n f64 in one piece. */
void qn_stats_row_f64(const double *x, int64_t n, double *mean, double *var);

#endif
