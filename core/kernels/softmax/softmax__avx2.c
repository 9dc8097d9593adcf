/* core/kernels/softmax/softmax__avx2.c - softmax.inc compiled for avx2. */
#define QN_ISA avx2
#include "core/kernels/softmax/softmax.inc"
