/* core/kernels/eltwise/eltwise__avx2.c - eltwise.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/eltwise/eltwise.inc"
