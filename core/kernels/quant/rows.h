/* core/kernels/quant/rows.h - what quant.inc makes once per instruction set. */
#ifndef QUERN_KERNELS_QUANT_ROWS_H
#define QUERN_KERNELS_QUANT_ROWS_H

#include "core/kernels/quant/quant.h"

extern const qn_quant_kernel qn_quant__scalar;
extern const qn_quant_kernel qn_quant__avx2;
extern const qn_quant_kernel qn_quant__avx512;

#endif
