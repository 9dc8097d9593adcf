/* core/ops/stats.c - see stats.h. */
#include "core/ops/stats.h"

#include <string.h>

int64_t qn_stats_gather(qn_axes_reader *r, qn_dtype dtype, const void *x, qn_elem_buf *chunk)
{
    const size_t class_size = qn_elem_class_of(dtype) == QN_ELEM_F32 ? 4 : 8;
    int64_t have = 0, offset, step, n;

    while (have < QN_ELEM_CHUNK && qn_axes_next(r, QN_ELEM_CHUNK - have, &offset, &step, &n)) {
        qn_elem_buf buf;
        const void *p = qn_elem_load(dtype, qn_elem_at(dtype, x, offset), step, n, &buf);

        memcpy((char *)chunk + (size_t)have * class_size, p, (size_t)n * class_size);
        have += n;
    }
    return have;
}

void qn_stats_f32(const qn_reduce_kernel *kernel, const qn_axes *a, int64_t g, qn_dtype dtype, const void *x, float *mean, float *var)
{
    float sum[QN_REDUCE_LANES] = { 0 }, dev[QN_REDUCE_LANES] = { 0 };
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    qn_axes_read(a, g, &r);
    while ((n = qn_stats_gather(&r, dtype, x, &chunk)) > 0) kernel->feed[QN_REDUCE_SUM](sum, chunk.f32, n);
    *mean = qn_reduce_finish(QN_REDUCE_SUM, sum) / (float)a->k;
    qn_axes_read(a, g, &r);
    while ((n = qn_stats_gather(&r, dtype, x, &chunk)) > 0) {
        for (int64_t i = 0; i < n; i++) chunk.f32[i] = chunk.f32[i] - *mean;
        kernel->feed[QN_REDUCE_SUM_SQ](dev, chunk.f32, n);
    }
    *var = qn_reduce_finish(QN_REDUCE_SUM, dev) / (float)a->k;
}

/* acc[i mod 16] += (x[i] - m)^power, power 1 or 2 */
static void feed_f64(double *acc, const double *x, int64_t n, double m, int power)
{
    for (int64_t i = 0; i < n; i++) {
        const double d = x[i] - m;

        acc[i % QN_REDUCE_LANES] += power == 1 ? d : d * d;
    }
}

static double finish_f64(double *acc)
{
    for (int w = QN_REDUCE_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] += acc[l + w];
    return acc[0];
}

void qn_stats_f64(const qn_axes *a, int64_t g, const void *x, double *mean, double *var)
{
    double sum[QN_REDUCE_LANES] = { 0 }, dev[QN_REDUCE_LANES] = { 0 };
    qn_axes_reader r;
    qn_elem_buf chunk;
    int64_t n;

    qn_axes_read(a, g, &r);
    while ((n = qn_stats_gather(&r, QN_F64, x, &chunk)) > 0) feed_f64(sum, (const double *)(const void *)&chunk, n, 0, 1);
    *mean = finish_f64(sum) / (double)a->k;
    qn_axes_read(a, g, &r);
    while ((n = qn_stats_gather(&r, QN_F64, x, &chunk)) > 0) feed_f64(dev, (const double *)(const void *)&chunk, n, *mean, 2);
    *var = finish_f64(dev) / (double)a->k;
}

void qn_stats_row_f64(const double *x, int64_t n, double *mean, double *var)
{
    double sum[QN_REDUCE_LANES] = { 0 }, dev[QN_REDUCE_LANES] = { 0 };

    feed_f64(sum, x, n, 0, 1);
    *mean = finish_f64(sum) / (double)n;
    feed_f64(dev, x, n, *mean, 2);
    *var = finish_f64(dev) / (double)n;
}
