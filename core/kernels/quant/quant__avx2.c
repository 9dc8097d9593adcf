/* core/kernels/quant/quant__avx2.c - quant.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/quant/quant.inc"
