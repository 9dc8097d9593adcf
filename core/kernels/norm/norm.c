/* core/kernels/norm/norm.c - the table of norm.h. */
#include "core/kernels/norm/rows.h"

static const qn_norm_kernel *const kernels[] = {
    &qn_norm__avx512, &qn_norm__avx2, &qn_norm__scalar, /* the twin */
};

const qn_norm_kernel *const *qn_norm_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_norm_kernel *qn_norm_pick(unsigned cpu)
{
    const qn_norm_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}
