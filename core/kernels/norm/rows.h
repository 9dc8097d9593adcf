/* core/kernels/norm/rows.h - what norm.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_NORM_ROWS_H
#define QUERN_KERNELS_NORM_ROWS_H

#include "core/kernels/norm/norm.h"

extern const qn_norm_kernel qn_norm__scalar;
extern const qn_norm_kernel qn_norm__avx2;
extern const qn_norm_kernel qn_norm__avx512;

#endif
