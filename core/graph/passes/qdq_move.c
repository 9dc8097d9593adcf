/* core/graph/passes/qdq_move.c - no way through float for what only moves numbers.
 *
 *   Q(DQ(x)) with equal parameters is x: (q - z) * s / s is within half a unit of q - z for 8-bit q, so it rounds back to it.
 *   DQ -> op -> Q with equal parameters, op one that picks, moves or compares elements, is op on the integers: the same bits,
 *   because the map from q to real is increasing and undone by Q. */
#include "core/graph/passes/qdq.h"

#include <stdlib.h>
#include <string.h>

/* Ops whose output elements are input elements; data is input 0 (of Concat: all inputs). */
static bool moves(const qn_node *n)
{
    static const char *const names[] = { "MaxPool", "Flatten",      "Reshape",      "Transpose", "Squeeze", "Unsqueeze",
                                         "Slice",   "DepthToSpace", "SpaceToDepth", "Gather",    "Expand",  "Concat" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (qn_pass_is(n, names[i])) return true;
    return false;
}

/* Every value the node gives but the first is unread. */
static bool one_output(const qn_pass *p, const qn_node *n)
{
    for (int32_t i = 1; i < n->n_out; i++)
        if (n->out[i] != QN_NONE && qn_uses_count(&p->uses, n->out[i]) > 0) return false;
    return n->n_out > 0 && n->out[0] != QN_NONE;
}

static qn_status move_op(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    bool concat = qn_pass_is(n, "Concat"), done;
    int32_t n_data = concat ? n->n_in : 1;
    qn_value_id *in;
    qn_qvalue x, y;
    qn_node_id q_id;
    qn_patch patch = { .domain = n->domain,
                       .op_type = n->op_type,
                       .opset = n->opset,
                       .n_in = n->n_in,
                       .attrs = n->attrs,
                       .n_attrs = n->n_attrs,
                       .name = n->name };
    qn_status st = QN_OK;

    if (n->n_in < 1 || !one_output(p, n) || !qn_qdq_quantized(p, n->out[0], &y, &q_id)) return QN_OK;
    in = malloc((size_t)n->n_in * sizeof *in);
    if (!in) return qn_error_set(err, QN_ERR_NOMEM, "node %s", n->name);
    memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    for (int32_t i = 0; i < n_data; i++) {
        if (!qn_qdq_dequantized(p, in[i], &x) || !qn_qdq_same(p, &x, &y)) goto done;
        in[i] = x.q;
    }
    patch.in = in;
    patch.out = y.q;
    st = qn_pass_patch(p, &patch, &done, err);
done:
    free(in);
    return st;
}

static void collapse(qn_pass *p, qn_node_id dq)
{
    qn_value_id v = p->g->nodes[dq].out[0];
    qn_qvalue x, y;
    qn_node_id q_id;

    if (qn_qdq_dequantized(p, v, &x) && qn_qdq_quantized(p, v, &y, &q_id) && qn_qdq_same(p, &x, &y)) qn_pass_alias(p, q_id, x.q);
}

qn_status qn_pass_qdq_move(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        qn_node_id id = p->g->order[i];

        if (qn_pass_is(&p->g->nodes[id], "DequantizeLinear"))
            collapse(p, id);
        else if (moves(&p->g->nodes[id]))
            st = move_op(p, id, err);
    }
    return st;
}
