/* core/kernels/gemm/blas.c - the public name of the OpenBLAS row. */
#include "quern/blas.h"

#include "core/kernels/gemm/gemm.h"

qn_status qn_blas_open(unsigned cpu, const char **core, qn_error *err)
{
    const qn_openblas *blas = NULL;
    qn_status st = qn_openblas_open(cpu, &blas, err);

    if (core) *core = st == QN_OK ? qn_openblas_core(blas) : NULL;
    return st;
}
