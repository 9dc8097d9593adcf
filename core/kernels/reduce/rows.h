/* core/kernels/reduce/rows.h - what reduce.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_REDUCE_ROWS_H
#define QUERN_KERNELS_REDUCE_ROWS_H

#include "core/kernels/reduce/reduce.h"

extern const qn_reduce_kernel qn_reduce__scalar;
extern const qn_reduce_kernel qn_reduce__avx2;
extern const qn_reduce_kernel qn_reduce__avx512;

#endif
