/* core/kernels/vmath/vmath__avx2.c - vmath.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/vmath/vmath.inc"
