/* core/tensor/shape.h - strides of dense tensors; counting and printing are in quern/tensor.h.
 * Threads: pure functions. */
#ifndef QUERN_TENSOR_SHAPE_H
#define QUERN_TENSOR_SHAPE_H

#include "quern/tensor.h"

/* Row-major strides in elements: strides[rank - 1] = 1. dims must have passed qn_shape_count(). A dimension of 0 counts as 1. */
void qn_shape_strides(int32_t rank, const int64_t *dims, int64_t *strides);

#endif
