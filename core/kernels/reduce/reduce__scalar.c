/* core/kernels/reduce/reduce__scalar.c - reduce.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/reduce/reduce.inc"
