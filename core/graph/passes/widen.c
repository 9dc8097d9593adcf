/* core/graph/passes/widen.c - a 16-bit float node whose op knows 32 bits only: Cast, the op, Cast back.
 *
 * Every value keeps the type, and so the rounding, that the file gives it; constants are cast when the graph is lowered. A value that
 * several nodes want in 32 bits is cast once. */
#include "core/graph/passes/rewrite.h"

static bool narrow(const qn_type *t) { return t->kind == QN_KIND_TENSOR && (t->dtype == QN_F16 || t->dtype == QN_BF16); }

/* The value of a Cast of v to f32, emitted unless it is there. */
static qn_status wide(qn_pass *p, qn_value_id v, const char *name, qn_value_id *out, qn_error *err)
{
    const qn_attr to = { .name = "to", .type = QN_ATTR_INT, .i = 1 /* TensorProto.FLOAT */ };
    qn_graph *g = p->g;

    for (int32_t i = v < p->uses.cap ? p->uses.head[v] : -1; i >= 0; i = p->uses.links[i].next) {
        const qn_node *n = &g->nodes[p->uses.links[i].node];

        if (!qn_pass_is(n, "Cast") || n->in[0] != v || qn_node_out(n, 0) == QN_NONE || qn_node_int(n, "to", 0) != 1) continue;
        if (qn_pass_type(p, n->out[0])->dtype != QN_F32) continue; /* later in the file: its output is not inferred yet */
        *out = n->out[0];
        return QN_OK;
    }
    return qn_pass_emit(p, "Cast", 13, name, &v, 1, &to, 1, out, err);
}

/* Output i of a node that was just inferred to f32 becomes a Cast of it. */
static qn_status narrow_output(qn_pass *p, qn_node_id id, int32_t i, qn_dtype dtype, qn_error *err)
{
    const qn_attr to = { .name = "to", .type = QN_ATTR_INT, .i = dtype == QN_F16 ? 10 : 16 /* TensorProto.FLOAT16, BFLOAT16 */ };
    qn_graph *g = p->g;
    const char *name = g->nodes[id].name;
    qn_value_id y = g->nodes[id].out[i], sum;
    qn_node_id cast;
    qn_status st = qn_graph_add_temp(g, name, &sum, err);

    if (st != QN_OK) return st;
    g->values[sum].type = g->values[y].type;
    g->values[sum].producer = id;
    g->values[y].producer = QN_NONE;
    g->values[y].known = NULL;
    g->nodes[id].out[i] = sum;
    st = qn_graph_emit(g, "", "Cast", 13, name, &sum, 1, &y, 1, &to, 1, &cast, err);
    if (st != QN_OK) return st;
    qn_uses_add_node(&p->uses, g, cast);
    return qn_inferer_node(&p->infer, cast, err);
}

/* Ops that take 16 bits, but only as the definition has it: in f32 they have kernels, and a result is rounded once either way. */
static bool better_wide(const qn_node *n)
{
    static const char *const names[] = { "MatMul", "Einsum", "MaxPool", "AveragePool", "GlobalAveragePool" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (qn_pass_is(n, names[i])) return true;
    return false;
}

qn_status qn_pass_infer(qn_pass *p, qn_node_id id, qn_error *err)
{
    qn_graph *g = p->g;
    qn_error first = { 0 };
    qn_dtype dtype = QN_DTYPE_NONE;
    uint64_t said_wide = 0; /* outputs that the file declares f32 */
    qn_status st;

    for (int32_t i = 0; i < g->nodes[id].n_out && i < 64; i++) {
        const qn_value_id y = g->nodes[id].out[i];

        if (y != QN_NONE && g->values[y].type.dtype == QN_F32) said_wide |= UINT64_C(1) << i;
    }
    st = qn_inferer_node(&p->infer, id, &first);
    for (int32_t i = 0; (st == QN_ERR_DTYPE || better_wide(&g->nodes[id])) && i < g->nodes[id].n_in; i++) {
        const qn_value_id v = g->nodes[id].in[i];

        if (v == QN_NONE || !narrow(qn_pass_type(p, v))) continue;
        if (dtype == QN_DTYPE_NONE) dtype = qn_pass_type(p, v)->dtype;
    }
    if (dtype == QN_DTYPE_NONE) {
        if (st != QN_OK && err) *err = first;
        return st;
    }
    for (int32_t i = 0; i < g->nodes[id].n_in; i++) {
        const qn_value_id v = g->nodes[id].in[i];
        qn_value_id x;

        if (v == QN_NONE || !narrow(qn_pass_type(p, v))) continue;
        st = wide(p, v, g->nodes[id].name, &x, err);
        if (st == QN_OK) st = qn_pass_set_input(p, id, i, x, err);
        if (st != QN_OK) return st;
    }
    if (qn_inferer_node(&p->infer, id, NULL) != QN_OK) { /* it was not about the width: then the first message is the true one */
        if (err) *err = first;
        return QN_ERR_DTYPE;
    }
    for (int32_t i = 0; i < g->nodes[id].n_out; i++) {
        const qn_value_id y = g->nodes[id].out[i];

        if (y == QN_NONE || g->values[y].type.kind != QN_KIND_TENSOR || g->values[y].type.dtype != QN_F32) continue;
        if (i < 64 && said_wide >> i & 1) continue;
        st = narrow_output(p, id, i, dtype, err);
        if (st != QN_OK) return st;
    }
    return QN_OK;
}
