/* core/kernels/quant/quant.c - the table of quant.h. */
#include "core/kernels/quant/rows.h"

static const qn_quant_kernel *const kernels[] = {
    &qn_quant__avx512, &qn_quant__avx2, &qn_quant__scalar, /* the twin */
};

const qn_quant_kernel *const *qn_quant_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_quant_kernel *qn_quant_pick(unsigned cpu)
{
    const qn_quant_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}
