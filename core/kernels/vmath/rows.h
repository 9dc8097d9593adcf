/* core/kernels/vmath/rows.h - what vmath.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_VMATH_ROWS_H
#define QUERN_KERNELS_VMATH_ROWS_H

#include "core/kernels/vmath/vmath.h"

extern const qn_vmath_kernel qn_vmath__scalar;
extern const qn_vmath_kernel qn_vmath__avx2;
extern const qn_vmath_kernel qn_vmath__avx512;

#endif
