/* core/kernels/norm/norm__avx512.c - norm.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/norm/norm.inc"
