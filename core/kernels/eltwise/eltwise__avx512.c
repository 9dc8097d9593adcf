/* core/kernels/eltwise/eltwise__avx512.c - eltwise.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/eltwise/eltwise.inc"
