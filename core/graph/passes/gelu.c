/* core/graph/passes/gelu.c - x * 0.5 * (1 + erf(x / sqrt(2))), in the orders exporters write it, becomes Gelu. */
#include "core/graph/passes/rewrite.h"

/* v = x / sqrt(2), however written */
static bool scaled(const qn_pass *p, qn_value_id v, qn_value_id *x)
{
    qn_node_id div = qn_pass_producer(p, v, "Div"), mul = qn_pass_producer(p, v, "Mul");

    if (div != QN_NONE) {
        *x = p->g->nodes[div].in[0];
        return qn_pass_about(p, p->g->nodes[div].in[1], 1.41421356f);
    }
    if (mul == QN_NONE) return false;
    for (int32_t i = 0; i < 2; i++) {
        *x = p->g->nodes[mul].in[i];
        if (qn_pass_about(p, p->g->nodes[mul].in[1 - i], 0.70710678f)) return true;
    }
    return false;
}

/* The other operand and the output of the only reader of v, if that is `op`. */
static bool then(qn_pass *p, qn_value_id v, const char *op, qn_value_id *other, qn_value_id *out)
{
    qn_node_id id = qn_uses_only(&p->uses, p->g, v);
    const qn_node *n;

    if (id == QN_NONE || !qn_pass_is(&p->g->nodes[id], op)) return false;
    n = &p->g->nodes[id];
    *other = n->in[0] == v ? n->in[1] : n->in[0];
    *out = n->out[0];
    return true;
}

/* v = x * 0.5 */
static bool halved(const qn_pass *p, qn_value_id v, qn_value_id x)
{
    qn_node_id id = qn_pass_producer(p, v, "Mul");
    const qn_node *n;

    if (id == QN_NONE) return false;
    n = &p->g->nodes[id];
    return (n->in[0] == x && qn_pass_about(p, n->in[1], 0.5f)) || (n->in[1] == x && qn_pass_about(p, n->in[0], 0.5f));
}

static bool match(qn_pass *p, const qn_node *erf, qn_value_id *x, qn_value_id *y)
{
    qn_value_id one, sum, other, product;

    if (!qn_pass_is(erf, "Erf") || !scaled(p, erf->in[0], x) || qn_pass_type(p, *x)->dtype != QN_F32) return false;
    if (!then(p, erf->out[0], "Add", &one, &sum) || !qn_pass_about(p, one, 1.0f)) return false;
    if (!then(p, sum, "Mul", &other, &product)) return false;
    if (halved(p, other, *x)) {
        *y = product;
        return true;
    }
    if (other == *x) return then(p, product, "Mul", &other, y) && qn_pass_about(p, other, 0.5f);
    return qn_pass_about(p, other, 0.5f) && then(p, product, "Mul", &other, y) && other == *x;
}

qn_status qn_pass_gelu(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        qn_value_id x, y;
        bool done;
        qn_patch patch = { .domain = "", .op_type = "Gelu", .opset = 20, .in = &x, .n_in = 1 };

        if (!match(p, &p->g->nodes[p->g->order[i]], &x, &y)) continue;
        patch.out = y;
        st = qn_pass_patch(p, &patch, &done, err);
    }
    return st;
}
