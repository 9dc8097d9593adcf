/* core/graph/passes/identity.c - take out nodes that hand on their input: Identity, and Dropout where nothing is dropped. */
#include "core/graph/passes/rewrite.h"

/* Nobody reads the mask, and training_mode (input 2, from opset 12 on) is absent or a constant false, or the ratio is 0: exporters
 * write training_mode = true with ratio 0 where a model calls dropout without saying that it is being evaluated. */
static bool idle_dropout(qn_pass *p, const qn_node *n)
{
    qn_value_id mode = qn_node_in(n, 2), mask = qn_node_out(n, 1);
    int64_t v = 1;
    float ratio;
    int32_t count;

    if (mask != QN_NONE && qn_uses_count(&p->uses, mask) > 0) return false;
    if (qn_pass_scalar(p, qn_node_in(n, 1), &ratio) && ratio == 0.0f) return true;
    return mode == QN_NONE || (qn_pass_ints(p, mode, &v, 1, &count) && count == 1 && v == 0);
}

qn_status qn_pass_identity(qn_pass *p, qn_error *err)
{
    (void)err;
    for (int32_t i = 0; i < p->g->n_order; i++) {
        const qn_node *n = &p->g->nodes[p->g->order[i]];

        if (qn_node_in(n, 0) == QN_NONE || qn_node_out(n, 0) == QN_NONE) continue;
        if (qn_pass_is(n, "Identity") || (qn_pass_is(n, "Dropout") && idle_dropout(p, n))) qn_pass_bypass(p, p->g->order[i]);
    }
    return QN_OK;
}
