/* core/kernels/vmath/vmath__scalar.c - vmath.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/vmath/vmath.inc"
