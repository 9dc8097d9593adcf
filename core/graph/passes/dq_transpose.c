/* core/graph/passes/dq_transpose.c - Transpose(DQ(w)) of a constant w becomes DQ(Transpose(w)): the same numbers, and the integers can
 * then be folded and found by qlinear.c. With a scale per index of an axis, the axis moves along. */
#include "core/graph/passes/qdq.h"

/* Where axis `from` of the input lies in the output; -1 if perm is not what it should be. */
static int32_t moved_axis(const qn_node *n, int32_t rank, int32_t from)
{
    int64_t len;
    const int64_t *perm = qn_node_ints(n, "perm", &len);

    if (!perm) return rank - 1 - from;
    for (int32_t i = 0; i < rank && len == rank; i++)
        if (perm[i] == from) return i;
    return -1;
}

static qn_status swap(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id], *dq;
    qn_qvalue w;
    qn_value_id in[3];
    qn_attr axis = { .name = "axis", .type = QN_ATTR_INT };
    qn_patch patch = {
        .domain = "", .op_type = "DequantizeLinear", .in = in, .n_in = 3, .attrs = &axis, .n_attrs = 1, .out = n->out[0], .name = n->name
    };
    int32_t rank;
    bool done;
    qn_status st;

    if (!qn_qdq_dequantized(p, n->in[0], &w) || !qn_pass_weight(p, w.q) || !qn_pass_has_row(p, "Transpose")) return QN_OK;
    rank = qn_pass_type(p, w.q)->rank;
    if (w.n_scales > 1) axis.i = moved_axis(n, rank, w.axis);
    if (axis.i < 0 || rank < 1) return QN_OK;
    dq = &p->g->nodes[p->g->values[n->in[0]].producer];
    patch.opset = dq->opset;
    in[1] = w.scale;
    in[2] = w.zero;
    if (w.zero == QN_NONE) patch.n_in = 2;
    st = qn_pass_emit(p, "Transpose", 13, n->name, &w.q, 1, n->attrs, n->n_attrs, &in[0], err);
    return st == QN_OK ? qn_pass_patch(p, &patch, &done, err) : st;
}

qn_status qn_pass_dq_transpose(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++)
        if (qn_pass_is(&p->g->nodes[p->g->order[i]], "Transpose")) st = swap(p, p->g->order[i], err);
    return st;
}
