/* core/kernels/eltwise/rows.h - what eltwise.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_ELTWISE_ROWS_H
#define QUERN_KERNELS_ELTWISE_ROWS_H

#include "core/kernels/eltwise/eltwise.h"

extern const qn_eltwise_kernel qn_eltwise__scalar;
extern const qn_eltwise_kernel qn_eltwise__avx2;
extern const qn_eltwise_kernel qn_eltwise__avx512;

#endif
