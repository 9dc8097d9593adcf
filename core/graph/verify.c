/* core/graph/verify.c - the structural check between stages. What it finds is a fault of the file (import) or of a pass; either way
 * the next stage may rely on everything checked here. Recursion follows subgraphs: at most QN_GRAPH_MAX_DEPTH. */
#include "core/graph/op.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    const qn_graph *g;
    bool *captured; /* [n_values] */
    bool *done;     /* [n_values] produced so far in order */
    bool *listed;   /* [n_nodes] */
} check;

#define BAD(...) qn_error_set(err, QN_ERR_INVALID, __VA_ARGS__)

static bool in_range(const qn_graph *g, qn_value_id v) { return v >= 0 && v < g->n_values; }

static qn_status check_arity(const qn_graph *g, const qn_node *n, qn_error *err)
{
    const qn_op *op = n->op;

    if (!op) return BAD("node %s: op %s has no row at this stage", n->name, n->op_type);
    if (strcmp(op->name, n->op_type) != 0) return BAD("node %s: op %s has the row of %s", n->name, n->op_type, op->name);
    if (n->opset < op->since || (op->until && n->opset > op->until))
        return BAD("node %s: %s of opset %" PRId64 " has the row of opsets %" PRId64 "..%" PRId64, n->name, n->op_type, n->opset, op->since,
                   op->until);
    if (n->n_in < op->min_in || (n->n_in > op->max_in && !(op->flags & QN_OP_VARIADIC)))
        return BAD("node %s: %s has %d inputs, expected %d..%d", n->name, n->op_type, n->n_in, op->min_in, op->max_in);
    if (n->n_out < op->min_out || (n->n_out > op->max_out && !(op->flags & QN_OP_VARIADIC)))
        return BAD("node %s: %s has %d outputs, expected %d..%d", n->name, n->op_type, n->n_out, op->min_out, op->max_out);
    for (int32_t i = 0; i < op->min_in && i < n->n_in; i++)
        if (n->in[i] == QN_NONE) return BAD("node %s: input %d of %s is left out, but required", n->name, i, n->op_type);
    for (int32_t i = 0; i < n->n_out; i++)
        if (n->out[i] != QN_NONE && g->values[n->out[i]].type.layout != QN_LAYOUT_PLAIN)
            return BAD("node %s: output %d has a layout %s does not write", n->name, i, n->op_type);
    return QN_OK;
}

static qn_status check_attrs(const qn_graph *g, const qn_node *n, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t k = 0; k < n->n_attrs && st == QN_OK; k++) {
        const qn_attr *a = &n->attrs[k];

        if (a->ref && g->stage == QN_STAGE_IMPORT) continue;
        if (!a->name || a->ref || a->type < QN_ATTR_FLOAT || (a->type > QN_ATTR_GRAPHS && a->type != QN_ATTR_TYPE) || a->n < 0)
            return BAD("node %s: attribute %d (%s) is not filled in", n->name, k, a->name ? a->name : "no name");
        if (a->type == QN_ATTR_GRAPH && a->g)
            st = a->g->outer == g ? qn_graph_verify(a->g, err) : BAD("node %s: %s has another outer graph", n->name, a->name);
        for (int64_t i = 0; a->type == QN_ATTR_GRAPHS && i < a->n && st == QN_OK; i++) st = qn_graph_verify(a->graphs[i], err);
    }
    return st;
}

static qn_status check_node(check *c, qn_node_id id, qn_error *err)
{
    const qn_graph *g = c->g;
    const qn_node *n = &g->nodes[id];
    qn_status st;

    for (int32_t i = 0; i < n->n_in; i++) {
        qn_value_id v = n->in[i];

        if (v == QN_NONE) continue;
        if (!in_range(g, v)) return BAD("node %s: input %d is value %d of %d", n->name, i, v, g->n_values);
        if (g->values[v].dead) return BAD("node %s reads %s, which was removed", n->name, g->values[v].name);
        if (!c->done[v]) return BAD("node %s reads %s before anything gives it", n->name, g->values[v].name);
    }
    for (int32_t i = 0; i < n->n_out; i++) {
        qn_value_id v = n->out[i];

        if (v == QN_NONE) continue;
        if (!in_range(g, v)) return BAD("node %s: output %d is value %d of %d", n->name, i, v, g->n_values);
        if (c->done[v]) return BAD("node %s: %s is given twice", n->name, g->values[v].name);
        if (g->values[v].dead || g->values[v].producer != id)
            return BAD("node %s: %s does not name it as its producer", n->name, g->values[v].name);
        c->done[v] = true;
    }
    st = g->stage >= QN_STAGE_CANONICAL ? check_arity(g, n, err) : QN_OK;
    return st == QN_OK ? check_attrs(g, n, err) : st;
}

static qn_status check_order(check *c, qn_error *err)
{
    const qn_graph *g = c->g;
    int32_t live = 0;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < g->n_order && st == QN_OK; i++) {
        qn_node_id id = g->order[i];

        if (id < 0 || id >= g->n_nodes) return BAD("order[%d] is node %d of %d", i, id, g->n_nodes);
        if (g->nodes[id].dead || c->listed[id]) return BAD("order lists node %s, which is dead or listed before", g->nodes[id].name);
        c->listed[id] = true;
        st = check_node(c, id, err);
    }
    for (int32_t i = 0; i < g->n_nodes; i++) live += !g->nodes[i].dead;
    if (st == QN_OK && live != g->n_order) return BAD("order lists %d nodes, the graph has %d", g->n_order, live);
    return st;
}

static qn_status check_values(check *c, qn_error *err)
{
    const qn_graph *g = c->g;

    for (int32_t i = 0; i < g->n_captures; i++) {
        if (!in_range(g, g->captures[i].inner)) return BAD("graph %s: capture %d of a value that does not exist", g->name, i);
        if (!g->outer || g->captures[i].outer < 0 || g->captures[i].outer >= g->outer->n_values ||
            g->outer->values[g->captures[i].outer].dead)
            return BAD("graph %s: capture %d names no value of the outer graph", g->name, i);
        c->captured[g->captures[i].inner] = true;
    }
    for (int32_t i = 0; i < g->n_values; i++) {
        const qn_value *v = &g->values[i];

        if (v->dead) continue;
        if (!v->name) return BAD("value %d has no name", i);
        if (qn_map_get(&g->by_name, v->name) != i) return BAD("value %s is defined twice", v->name);
        if (v->type.rank < -1 || v->type.rank > QN_MAX_RANK)
            return BAD("value %s has rank %d, at most %d is supported", v->name, v->type.rank, QN_MAX_RANK);
        if (v->producer != QN_NONE && (v->is_input || v->weight || c->captured[i]))
            return BAD("value %s is given by a node and from outside", v->name);
        c->done[i] = v->is_input || v->weight || c->captured[i];
    }
    return QN_OK;
}

static qn_status check_ports(const qn_graph *g, const bool *done, qn_error *err)
{
    for (int32_t i = 0; i < g->n_inputs; i++) {
        if (!in_range(g, g->inputs[i]) || g->values[g->inputs[i]].dead) return BAD("graph input %d names no value", i);
        if (!g->values[g->inputs[i]].is_input && !g->values[g->inputs[i]].weight)
            return BAD("graph input %s is not marked as one", g->values[g->inputs[i]].name);
    }
    for (int32_t i = 0; i < g->n_outputs; i++) {
        if (!in_range(g, g->outputs[i]) || g->values[g->outputs[i]].dead) return BAD("graph output %d names no value", i);
        if (!g->values[g->outputs[i]].is_output) return BAD("graph output %s is not marked as one", g->values[g->outputs[i]].name);
        if (!done[g->outputs[i]]) return BAD("graph output %s is given by no node, input or initializer", g->values[g->outputs[i]].name);
    }
    return QN_OK;
}

qn_status qn_graph_verify(const qn_graph *g, qn_error *err)
{
    check c = { .g = g };
    qn_status st;

    c.captured = calloc((size_t)g->n_values + 1, sizeof *c.captured);
    c.done = calloc((size_t)g->n_values + 1, sizeof *c.done);
    c.listed = calloc((size_t)g->n_nodes + 1, sizeof *c.listed);
    if (!c.captured || !c.done || !c.listed)
        st = qn_error_set(err, QN_ERR_NOMEM, "check of a graph");
    else
        st = check_values(&c, err);
    if (st == QN_OK) st = check_order(&c, err);
    if (st == QN_OK) st = check_ports(g, c.done, err);
    free(c.captured);
    free(c.done);
    free(c.listed);
    return st;
}
