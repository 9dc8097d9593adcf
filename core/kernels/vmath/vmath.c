/* core/kernels/vmath/vmath.c - the table of vmath.h. */
#include "core/kernels/vmath/rows.h"

static const qn_vmath_kernel *const kernels[] = {
    &qn_vmath__avx512, &qn_vmath__avx2, &qn_vmath__scalar, /* the twin */
};

const qn_vmath_kernel *const *qn_vmath_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_vmath_kernel *qn_vmath_pick(unsigned cpu)
{
    const qn_vmath_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}
