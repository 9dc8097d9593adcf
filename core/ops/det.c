/* core/ops/det.c - Det: determinants of the matrices in the last two axes.
 * Spec   ONNX Det 11 on; f32, f64, f16, bf16.
 * Value  Gaussian elimination with the largest pivot of the column, in f64, rounded once. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"

#include <inttypes.h>
#include <math.h>

static qn_status det_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_dim ignored;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, 1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | 1u << QN_BF16, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], x->dtype, x->rank < 0 ? -1 : x->rank - 2, err)) != QN_OK || x->rank < 0) return st;
    if (!qn_move_join(c, x->dims[x->rank - 2], x->dims[x->rank - 1], true, &ignored))
        return qn_error_set(err, QN_ERR_SHAPE, "the matrices are not square");
    for (int32_t a = 0; a < x->rank - 2; a++) c->out[0].dims[a] = x->dims[a];
    return QN_OK;
}

/* Determinant of m [n, n], which is overwritten. */
static double eliminate(double *m, int64_t n)
{
    double det = 1;

    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;

        for (int64_t i = k + 1; i < n; i++)
            if (fabs(m[i * n + k]) > fabs(m[pivot * n + k])) pivot = i;
        if (pivot != k) {
            for (int64_t j = k; j < n; j++) {
                double swap = m[k * n + j];

                m[k * n + j] = m[pivot * n + j];
                m[pivot * n + j] = swap;
            }
            det = -det;
        }
        det *= m[k * n + k];
        if (m[k * n + k] == 0) return det; /* a column of zeros (or NaN further on: det has it) */
        for (int64_t i = k + 1; i < n; i++) {
            double f = m[i * n + k] / m[k * n + k];

            for (int64_t j = k + 1; j < n; j++) m[i * n + j] -= f * m[k * n + j];
        }
    }
    return det;
}

static qn_status det_lower(qn_lower *lo, qn_error *err)
{
    const int32_t rank = lo->in[0].rank;
    size_t n;

    if (rank < 2) return QN_OK;
    if (!qn_size_mul((size_t)lo->in[0].dims[rank - 1], (size_t)lo->in[0].dims[rank - 1] * sizeof(double), &n)) return QN_OK;
    return qn_move_lower_work(lo, n, err);
}

static qn_status det_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int64_t n, count;
    qn_move_work work;
    qn_status st;

    if (x->rank < 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2]) return qn_error_set(err, QN_ERR_SHAPE, "the matrices are not square");
    if ((st = qn_move_output(r, 0, x->dtype, x->rank - 2, x->dims, err)) != QN_OK) return st;
    n = x->dims[x->rank - 1];
    count = qn_tensor_count(&r->out[0]);
    if (count == 0) return QN_OK;
    if ((st = qn_move_work_begin(r, (size_t)(n * n) * sizeof(double), &work, err)) != QN_OK) return st;
    for (int64_t b = 0; b < count; b++) {
        double *m = work.mem, d;

        for (int64_t i = 0; i < n * n; i++) m[i] = qn_move_real(x, b * n * n + i);
        d = eliminate(m, n);
        switch (x->dtype) {
        case QN_F32: ((float *)r->out[0].data)[b] = (float)d; break;
        case QN_F64: ((double *)r->out[0].data)[b] = d; break;
        case QN_F16: ((uint16_t *)r->out[0].data)[b] = qn_f64_to_f16(d); break;
        default: ((uint16_t *)r->out[0].data)[b] = qn_f32_to_bf16((float)d); break;
        }
    }
    qn_move_work_end(&work);
    return QN_OK;
}

static void det_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (in_axis[0] >= 0 && in_axis[0] < c->in[0].rank - 2) out_axis[0] = in_axis[0];
}

/* n^3 for each matrix; elimination takes a third of that. */
static uint64_t det_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    (void)out;
    return qn_cost_mul(qn_cost_elements(&in[0]), qn_cost_dim(&in[0], -1));
}

const qn_op qn_op_det = {
    .name = "Det",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = det_infer,
    .rows = det_rows,
    .lower = det_lower,
    .run = det_run,
    .cost = det_cost,
};
