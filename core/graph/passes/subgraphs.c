/* core/graph/passes/subgraphs.c - what stages do with the graphs inside a graph.
 * Constants of the outer graph move into the graphs that capture them, so that every pass and every packed weight works there as outside.
 * When all rewriting is done, what is still captured becomes inputs of the node, behind its own: the planner then sees every value a node
 * reads. Recursion follows subgraphs: at most QN_GRAPH_MAX_DEPTH. */
#include "core/graph/passes/rewrite.h"

#include <string.h>

void qn_pass_sink_constants(qn_graph *g, const qn_node *n)
{
    qn_graph *sub;

    for (int32_t i = 0; (sub = qn_node_subgraph(n, i)); i++) {
        int32_t kept = 0;

        for (int32_t k = 0; k < sub->n_captures; k++) {
            const qn_value *from = &g->values[sub->captures[k].outer];
            qn_value *to = &sub->values[sub->captures[k].inner];

            if (!qn_value_is_const(from)) {
                sub->captures[kept++] = sub->captures[k];
                continue;
            }
            to->weight = qn_weight_ref(from->weight);
            to->known = NULL;
        }
        sub->n_captures = kept;
    }
}

qn_status qn_pass_open_captures(qn_graph *g, qn_error *err)
{
    for (int32_t id = 0; id < g->n_nodes; id++) {
        qn_node *n = &g->nodes[id];
        int32_t more = 0, at;
        qn_graph *sub;
        qn_value_id *in;

        if (n->dead) continue;
        for (int32_t i = 0; (sub = qn_node_subgraph(n, i)); i++) more += sub->n_captures;
        if (more == 0) continue;
        in = qn_arena_array(&g->arena, (size_t)n->n_in + (size_t)more, sizeof *in);
        if (!in) return qn_error_set(err, QN_ERR_NOMEM, "node %.80s", n->name);
        at = n->n_in;
        if (at) memcpy(in, n->in, (size_t)at * sizeof *in);
        for (int32_t i = 0; (sub = qn_node_subgraph(n, i)); i++)
            for (int32_t k = 0; k < sub->n_captures; k++) in[at++] = sub->captures[k].outer;
        n->in = in;
        n->n_in = at;
    }
    return QN_OK;
}
