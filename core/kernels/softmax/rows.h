/* core/kernels/softmax/rows.h - what softmax.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_SOFTMAX_ROWS_H
#define QUERN_KERNELS_SOFTMAX_ROWS_H

#include "core/kernels/softmax/softmax.h"

extern const qn_softmax_kernel qn_softmax__scalar;
extern const qn_softmax_kernel qn_softmax__avx2;
extern const qn_softmax_kernel qn_softmax__avx512;

#endif
