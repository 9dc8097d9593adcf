/* core/kernels/softmax/softmax.c - the table of softmax.h. */
#include "core/kernels/softmax/rows.h"

static const qn_softmax_kernel *const kernels[] = {
    &qn_softmax__avx512, &qn_softmax__avx2, &qn_softmax__scalar, /* the twin */
};

const qn_softmax_kernel *const *qn_softmax_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_softmax_kernel *qn_softmax_pick(unsigned cpu)
{
    const qn_softmax_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}
