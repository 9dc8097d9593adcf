/* core/kernels/norm/norm__avx2.c - norm.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/norm/norm.inc"
