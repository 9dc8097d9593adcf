/* core/kernels/softmax/softmax__avx512.c - softmax.inc compiled for avx512. */
#define QN_ISA avx512
#include "core/kernels/softmax/softmax.inc"
