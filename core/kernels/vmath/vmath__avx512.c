/* core/kernels/vmath/vmath__avx512.c - vmath.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/vmath/vmath.inc"
