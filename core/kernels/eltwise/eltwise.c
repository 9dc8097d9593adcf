/* core/kernels/eltwise/eltwise.c - the table of eltwise.h. */
#include "core/kernels/eltwise/rows.h"

static const qn_eltwise_kernel *const kernels[] = {
    &qn_eltwise__avx512, &qn_eltwise__avx2, &qn_eltwise__scalar, /* the twin */
};

const qn_eltwise_kernel *const *qn_eltwise_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_eltwise_kernel *qn_eltwise_pick(unsigned cpu)
{
    const qn_eltwise_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}
