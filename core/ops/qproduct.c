/* core/ops/qproduct.c - see qproduct.h. */
#include "core/ops/qproduct.h"

#include "core/base/checked.h"

#include <inttypes.h>

enum { LONGEST_SUM = 66000 }; /* products of a byte and a byte whose sum is sure to fit s32 */

const qn_tensor *qn_qproduct_given(const qn_run *r, int32_t i)
{
    return i >= 0 && i < r->node->n_in && r->node->in[i] != QN_NONE && r->in[i].dtype != QN_DTYPE_NONE ? &r->in[i] : NULL;
}

bool qn_qproduct_more_scratch(size_t *total, size_t n, size_t each, size_t *at)
{
    size_t bytes;

    return qn_size_mul(n, each, &bytes) && qn_size_align(*total, 64, at) && qn_size_add(*at, bytes, total);
}

qn_status qn_qproduct_lower(qn_lower *lo, int32_t b, const qn_qproduct_sizes *z, qn_qproduct *p, qn_error *err)
{
    qn_status st;

    if (z->k > LONGEST_SUM)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "sums of %" PRId64 " products of bytes, which may not fit 32 bits; the most is %d",
                            z->k, LONGEST_SUM);
    p->kernel = qn_qgemm_pick(lo->cpu);
    lo->kernel = p->kernel->name;
    lo->why = qn_linear_why_q8(lo->cpu);
    if (!qn_qgemm_packed_bytes(z->k, z->n, &p->one) || !qn_size_align(p->one, 4, &p->one))
        return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    if (lo->weight[b]) {
        lo->skip_in = (uint64_t)1 << b;
        st = qn_linear_pack_q8(lo, lo->weight[b], z->b_batch, z->k, z->n, z->trans_b, lo->in[b].dtype == QN_I8, &p->packed, err);
        if (st != QN_OK) return st;
    } else {
        if (!*lo->why) lo->why = "B is computed: packed on each run";
        if (!qn_size_mul(p->one, (size_t)z->n_unpacked, &lo->scratch_bytes))
            return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    }
    if (!qn_qproduct_more_scratch(&lo->scratch_bytes, (size_t)z->n, 4, &p->mult_at) ||
        !qn_qproduct_more_scratch(&lo->scratch_bytes, (size_t)z->n, 4, &p->zero_at))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " columns", z->n);
    return QN_OK;
}

qn_status qn_qproduct_check(const qn_run *r, const qn_qproduct_layout *l, int64_t n, qn_error *err)
{
    const int32_t inputs[] = { l->a_scale, l->a_zero, l->y_scale, l->y_zero, l->b_scale, l->b_zero };
    qn_status st = QN_OK;

    for (size_t i = 0; i < 6 && st == QN_OK; i++) {
        if (inputs[i] >= 0) st = qn_linear_check(r, inputs[i], i >= 4, n, err);
    }
    return st;
}

void qn_qproduct_parameters(const qn_run *r, const qn_qproduct_layout *l, const qn_qproduct *p, const qn_tensor *a_scale, float alpha,
                            int64_t n, qn_qgemm_args *g)
{
    const qn_tensor *y_scale = qn_qproduct_given(r, l->y_scale), *b_zero = qn_qproduct_given(r, l->b_zero);
    float *mult = (float *)(void *)((char *)r->scratch + p->mult_at);
    int32_t *zeros = (int32_t *)(void *)((char *)r->scratch + p->zero_at);

    g->a_signed = r->in[0].dtype == QN_I8;
    g->b_signed = r->in[l->b].dtype == QN_I8;
    g->a_zero = qn_linear_zero(qn_qproduct_given(r, l->a_zero));
    if (b_zero) {
        qn_linear_zeros(b_zero, n, zeros);
        g->b_zero = zeros;
    }
    g->out = QN_QOUT_S32;
    if (l->b_scale < 0) return;
    qn_linear_multipliers(alpha, a_scale ? a_scale : &r->in[l->a_scale], &r->in[l->b_scale], y_scale, n, mult);
    g->multiplier = mult;
    g->out = QN_QOUT_F32;
    if (!y_scale) return;
    g->out = r->out[0].dtype == QN_I8 ? QN_QOUT_S8 : QN_QOUT_U8;
    g->c_zero = qn_linear_zero(&r->in[l->y_zero]);
    g->c_lo = g->out == QN_QOUT_S8 ? -128 : 0;
    g->c_hi = g->c_lo + 255;
}

void qn_qproduct_pack(const qn_run *r, const qn_qproduct_layout *l, int64_t matrix, int64_t k, int64_t n, bool trans_b, void *room)
{
    const uint8_t *b = (const uint8_t *)r->in[l->b].data + matrix * k * n;

    qn_qgemm_pack(room, k, n, b, r->in[l->b].dtype == QN_I8, trans_b ? 1 : n, trans_b ? k : 1);
}
