/* core/kernels/norm/norm__scalar.c - norm.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/norm/norm.inc"
