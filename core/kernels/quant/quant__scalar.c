/* core/kernels/quant/quant__scalar.c - quant.inc compiled for scalar. */
#define QN_ISA scalar
#include "core/kernels/quant/quant.inc"
