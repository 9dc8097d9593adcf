/* core/graph/sort.c - the order to run nodes in.
 * Depth first from each node in file order, producers before the node: a file that is in order stays as it is, and a node that a
 * pass added at the end runs just before its first reader, where its result is still warm. The stack is on the heap. */
#include "core/graph/graph.h"

#include <stdlib.h>

typedef enum colour { WHITE = 0, GREY, BLACK } colour;

typedef struct frame {
    qn_node_id node;
    int32_t next; /* the dependency to look at next */
} frame;

typedef struct sorter {
    qn_graph *g;
    unsigned char *colour; /* [n_nodes] */
    bool *captured;        /* [n_values] given by the outer graph */
    frame *stack;          /* [n_nodes] */
    int32_t depth;
} sorter;

#define NO_MORE (-2)

/* The i-th of all values that subgraphs of n capture, or NO_MORE past the last. */
static qn_value_id capture_at(const qn_node *n, int32_t i)
{
    for (int32_t k = 0; k < n->n_attrs; k++) {
        const qn_attr *a = &n->attrs[k];
        int64_t n_graphs = a->type == QN_ATTR_GRAPH ? 1 : a->type == QN_ATTR_GRAPHS ? a->n : 0;

        for (int64_t j = 0; j < n_graphs; j++) {
            const qn_graph *sub = a->type == QN_ATTR_GRAPH ? a->g : a->graphs[j];

            if (!sub) continue;
            if (i < sub->n_captures) return sub->captures[i].outer;
            i -= sub->n_captures;
        }
    }
    return NO_MORE;
}

static qn_value_id dependency(const qn_node *n, int32_t i) { return i < n->n_in ? n->in[i] : capture_at(n, i - n->n_in); }

static void push(sorter *s, qn_node_id id)
{
    s->colour[id] = GREY;
    s->stack[s->depth++] = (frame){ id, 0 };
}

static qn_status visit(sorter *s, qn_node_id root, qn_error *err)
{
    qn_graph *g = s->g;

    push(s, root);
    while (s->depth > 0) {
        frame *f = &s->stack[s->depth - 1];
        const qn_node *n = &g->nodes[f->node];
        qn_value_id v = dependency(n, f->next);
        qn_node_id p;

        if (v == NO_MORE) {
            s->colour[f->node] = BLACK;
            g->order[g->n_order++] = f->node;
            s->depth--;
            continue;
        }
        f->next++;
        if (v == QN_NONE) continue;
        if (v < 0 || v >= g->n_values) return qn_error_set(err, QN_ERR_INVALID, "node %s reads value %d, which does not exist", n->name, v);
        p = g->values[v].producer;
        if (p == QN_NONE) {
            if (g->values[v].weight || g->values[v].is_input || s->captured[v]) continue;
            return qn_error_set(err, QN_ERR_INVALID, "node %s reads %s, which no node, input or initializer gives", n->name,
                                g->values[v].name);
        }
        if (p < 0 || p >= g->n_nodes || g->nodes[p].dead)
            return qn_error_set(err, QN_ERR_INVALID, "node %s reads %s, whose producer is gone", n->name, g->values[v].name);
        if (s->colour[p] == GREY) return qn_error_set(err, QN_ERR_INVALID, "node %s is on a cycle through %s", n->name, g->values[v].name);
        if (s->colour[p] == WHITE) push(s, p);
    }
    return QN_OK;
}

static qn_status sort_one(qn_graph *g, qn_error *err)
{
    sorter s = { .g = g };
    size_t n = (size_t)g->n_nodes + 1;
    qn_status st = QN_OK;

    s.colour = calloc(n, sizeof *s.colour);
    s.captured = calloc((size_t)g->n_values + 1, sizeof *s.captured);
    s.stack = calloc(n, sizeof *s.stack);
    g->order = qn_arena_array(&g->arena, (size_t)g->n_nodes, sizeof *g->order);
    g->n_order = 0;
    if (!s.colour || !s.captured || !s.stack || !g->order) {
        st = qn_error_set(err, QN_ERR_NOMEM, "order of %d nodes", g->n_nodes);
        goto done;
    }
    for (int32_t i = 0; i < g->n_captures; i++) s.captured[g->captures[i].inner] = true;
    for (int32_t i = 0; i < g->n_nodes && st == QN_OK; i++)
        if (!g->nodes[i].dead && s.colour[i] == WHITE) st = visit(&s, i, err);
done:
    if (st != QN_OK) g->n_order = 0;
    free(s.colour);
    free(s.captured);
    free(s.stack);
    return st;
}

/* Recursion follows subgraphs: at most QN_GRAPH_MAX_DEPTH. */
qn_status qn_graph_sort(qn_graph *g, qn_error *err)
{
    qn_status st = sort_one(g, err);

    for (int32_t i = 0; i < g->n_nodes && st == QN_OK; i++) {
        const qn_node *n = &g->nodes[i];

        for (int32_t k = 0; k < n->n_attrs && st == QN_OK && !n->dead; k++) {
            const qn_attr *a = &n->attrs[k];

            if (a->type == QN_ATTR_GRAPH && a->g) st = qn_graph_sort(a->g, err);
            if (a->type == QN_ATTR_GRAPHS)
                for (int64_t j = 0; j < a->n && st == QN_OK; j++)
                    if (a->graphs[j]) st = qn_graph_sort(a->graphs[j], err);
        }
    }
    return st;
}
