/* core/kernels/reduce/reduce__avx512.c - reduce.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/reduce/reduce.inc"
