/* core/graph/passes/clip_quant.c - a Relu or Clip in front of a QuantizeLinear that saturates there anyway.
 *
 * Q is monotone: if Q(lo) is the smallest q and Q(hi) the largest, then Q(Clip(x, lo, hi)) = Q(x) for every number x, bit for bit.
 * ONNX Runtime does the same before it looks for integer operators, so this decides which of them it (and we) use. */
#include "core/graph/passes/qdq.h"

#include <math.h>

/* Bounds of a Relu or Clip; false if they are not constant. */
static bool bounds(const qn_pass *p, const qn_node *n, float *lo, float *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    if (qn_pass_is(n, "Relu")) {
        *lo = 0.0f;
        return true;
    }
    if (!qn_pass_is(n, "Clip")) return false;
    if (qn_node_in(n, 1) != QN_NONE && !qn_pass_scalar(p, n->in[1], lo)) return false;
    if (qn_node_in(n, 2) != QN_NONE && !qn_pass_scalar(p, n->in[2], hi)) return false;
    return *lo <= *hi;
}

static bool saturates(const qn_pass *p, const qn_qvalue *q, float lo, float hi)
{
    float scale;
    int64_t zero;
    double q_min = q->dtype == QN_U8 ? 0 : -128, q_max = q->dtype == QN_U8 ? 255 : 127;

    if (!qn_qdq_numbers(p, q, &scale, &zero)) return false;
    return (double)rintf(lo / scale) + (double)zero <= q_min && (double)rintf(hi / scale) + (double)zero >= q_max;
}

qn_status qn_pass_clip_quant(qn_pass *p, qn_error *err)
{
    (void)err;
    for (int32_t i = 0; i < p->g->n_order; i++) {
        qn_node_id id = p->g->order[i], reader;
        const qn_node *n = &p->g->nodes[id];
        qn_qvalue q;
        float lo, hi;

        if (n->dead || !bounds(p, n, &lo, &hi) || qn_pass_type(p, n->in[0])->dtype != QN_F32) continue;
        if (qn_qdq_quantized(p, n->out[0], &q, &reader) && saturates(p, &q, lo, hi)) qn_pass_bypass(p, id);
    }
    return QN_OK;
}
