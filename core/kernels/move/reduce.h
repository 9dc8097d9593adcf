/* core/kernels/move/reduce.h - dst[i] = dst[i] op src[i] on any numeric element type: what the Scatter family does where indices meet.
 * NaN wins for MAX and MIN. f16 and bf16 compute in f32 and round once; integers wrap; bool takes ADD and MAX as or, MUL and MIN as and. */
#ifndef QUERN_KERNELS_MOVE_REDUCE_H
#define QUERN_KERNELS_MOVE_REDUCE_H

#include "quern/tensor.h"

typedef enum qn_scatter { QN_SCATTER_NONE, QN_SCATTER_ADD, QN_SCATTER_MUL, QN_SCATTER_MAX, QN_SCATTER_MIN } qn_scatter;

/* n elements of dtype, which is not QN_STRING. NONE copies. */
void qn_move_reduce(qn_scatter op, qn_dtype dtype, void *dst, const void *src, int64_t n);

#endif
