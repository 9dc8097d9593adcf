/* core/kernels/reduce/reduce__avx2.c - reduce.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/reduce/reduce.inc"
