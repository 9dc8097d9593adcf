/* core/kernels/quant/quant__avx512.c - quant.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/quant/quant.inc"
