/* core/kernels/reduce/reduce.c - the table of reduce.h. */
#include "core/kernels/reduce/lanes.h"
#include "core/kernels/reduce/rows.h"

static const qn_reduce_kernel *const kernels[] = {
    &qn_reduce__avx512, &qn_reduce__avx2, &qn_reduce__scalar, /* the twin */
};

const qn_reduce_kernel *const *qn_reduce_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

const qn_reduce_kernel *qn_reduce_pick(unsigned cpu)
{
    const qn_reduce_kernel *const *k = kernels;

    while ((*k)->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return *k;
}

float qn_reduce_start(qn_reduce kind)
{
    switch (kind) {
    case QN_REDUCE_PROD: return 1.0f;
    case QN_REDUCE_MAX: return -INFINITY;
    case QN_REDUCE_MIN: return INFINITY;
    default: return 0.0f;
    }
}

static float join(qn_reduce kind, float a, float b)
{
    switch (kind) {
    case QN_REDUCE_PROD: return a * b;
    case QN_REDUCE_MAX: return qn_lane_reduce_max(a, b);
    case QN_REDUCE_MIN: return qn_lane_reduce_min(a, b);
    default: return a + b;
    }
}

float qn_reduce_finish(qn_reduce kind, float *acc)
{
    for (int w = QN_REDUCE_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] = join(kind, acc[l], acc[l + w]);
    return acc[0];
}

void qn_reduce_finish_cols(qn_reduce kind, float *acc, int64_t n, float *out)
{
    for (int w = QN_REDUCE_LANES / 2; w > 0; w /= 2)
        for (int64_t i = 0; i < w * n; i++) acc[i] = join(kind, acc[i], acc[i + w * n]);
    memcpy(out, acc, (size_t)n * sizeof *out);
}
