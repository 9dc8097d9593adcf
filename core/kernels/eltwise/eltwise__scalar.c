/* core/kernels/eltwise/eltwise__scalar.c - eltwise.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/eltwise/eltwise.inc"
