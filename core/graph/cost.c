/* core/graph/cost.c - work from sizes. */
#include "core/graph/cost.h"

uint64_t qn_cost_dim(const qn_tensor *t, int32_t axis)
{
    if (axis < 0) axis += t->rank;
    if (axis < 0 || axis >= t->rank) return 1;
    return t->dims[axis] > 0 ? (uint64_t)t->dims[axis] : 0;
}

uint64_t qn_cost_elements(const qn_tensor *t)
{
    uint64_t n = 1;
    bool empty = t->dtype == QN_DTYPE_NONE || t->rank < 0;

    for (int32_t d = 0; d < t->rank && !empty; d++) {
        empty = t->dims[d] <= 0; /* also behind a product that does not fit */
        n = qn_cost_mul(n, qn_cost_dim(t, d));
    }
    return empty ? 0 : n;
}

uint64_t qn_cost_selected(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t sum = 0;

    for (int32_t i = 1; i < n->n_in; i++) sum = qn_cost_add(sum, qn_cost_elements(&in[i]));
    for (int32_t i = 0; i < n->n_out; i++) sum = qn_cost_add(sum, qn_cost_elements(&out[i]));
    return sum;
}

uint64_t qn_cost_none(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    (void)in;
    (void)out;
    return 0;
}

uint64_t qn_cost_product(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    (void)n;
    return qn_cost_mul(qn_cost_elements(&out[0]), qn_cost_dim(&in[0], -1));
}

uint64_t qn_cost_of(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    if (n->op->cost) return n->op->cost(n, in, out);
    return qn_cost_add(n->n_in > 0 ? qn_cost_elements(&in[0]) : 0, qn_cost_selected(n, in, out));
}
