/* core/kernels/softmax/softmax__scalar.c - softmax.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/softmax/softmax.inc"
