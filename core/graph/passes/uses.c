/* core/graph/passes/uses.c - the readers of each value as linked lists. Links are never taken out when a node dies or turns away
 * (a constant may have 100,000 readers); they are recognised as stale by looking at the node, and unlinked when a walk meets them. */
#include "core/graph/passes/uses.h"

#include <stdlib.h>
#include <string.h>

static bool reserve_values(qn_uses *u, int32_t n)
{
    int32_t cap = n + n / 2 + 16;
    void *a, *b, *c;

    if (n <= u->cap) return true;
    a = realloc(u->count, (size_t)cap * sizeof *u->count);
    if (a) u->count = a;
    b = realloc(u->head, (size_t)cap * sizeof *u->head);
    if (b) u->head = b;
    c = realloc(u->pinned, (size_t)cap * sizeof *u->pinned);
    if (c) u->pinned = c;
    if (!a || !b || !c) {
        u->failed = true;
        return false;
    }
    for (int32_t i = u->cap; i < cap; i++) {
        u->count[i] = 0;
        u->head[i] = -1;
        u->pinned[i] = false;
    }
    u->cap = cap;
    return true;
}

static void link_use(qn_uses *u, qn_value_id v, qn_node_id node)
{
    if (u->n_links == u->cap_links) {
        int32_t cap = u->cap_links ? u->cap_links + u->cap_links / 2 : 256;
        qn_use *l = realloc(u->links, (size_t)cap * sizeof *l);

        if (!l) {
            u->failed = true;
            return;
        }
        u->links = l;
        u->cap_links = cap;
    }
    u->links[u->n_links] = (qn_use){ node, u->head[v] };
    u->head[v] = u->n_links++;
}

static void pin(qn_uses *u, qn_value_id v)
{
    u->pinned[v] = true;
    u->count[v]++;
}

static void pin_captures(qn_uses *u, const qn_graph *sub)
{
    for (int32_t i = 0; sub && i < sub->n_captures; i++) pin(u, sub->captures[i].outer);
}

void qn_uses_add_node(qn_uses *u, const qn_graph *g, qn_node_id id)
{
    const qn_node *n = &g->nodes[id];

    if (!reserve_values(u, g->n_values)) return;
    for (int32_t i = 0; i < n->n_in; i++) {
        if (n->in[i] == QN_NONE) continue;
        u->count[n->in[i]]++;
        link_use(u, n->in[i], id);
    }
    for (int32_t k = 0; k < n->n_attrs; k++) {
        const qn_attr *a = &n->attrs[k];

        if (a->type == QN_ATTR_GRAPH) pin_captures(u, a->g);
        for (int64_t i = 0; a->type == QN_ATTR_GRAPHS && i < a->n; i++) pin_captures(u, a->graphs[i]);
    }
}

void qn_uses_init(qn_uses *u, const qn_graph *g)
{
    *u = (qn_uses){ 0 };
    if (!reserve_values(u, g->n_values)) return;
    for (int32_t i = g->n_nodes - 1; i >= 0; i--) /* backwards: lists then start with the earliest reader */
        if (!g->nodes[i].dead) qn_uses_add_node(u, g, i);
    for (int32_t i = 0; i < g->n_outputs; i++) pin(u, g->outputs[i]);
}

void qn_uses_release(qn_uses *u)
{
    free(u->count);
    free(u->head);
    free(u->pinned);
    free(u->links);
    *u = (qn_uses){ 0 };
}

int32_t qn_uses_count(const qn_uses *u, qn_value_id v)
{
    if (v == QN_NONE) return 0;
    return u->failed ? INT32_MAX : v < u->cap ? u->count[v] : 0;
}

static bool reads(const qn_graph *g, qn_node_id id, qn_value_id v)
{
    const qn_node *n = &g->nodes[id];

    for (int32_t i = 0; i < n->n_in && !n->dead; i++)
        if (n->in[i] == v) return true;
    return false;
}

qn_node_id qn_uses_only(qn_uses *u, const qn_graph *g, qn_value_id v)
{
    if (u->failed || v == QN_NONE || v >= u->cap || u->count[v] != 1 || u->pinned[v]) return QN_NONE;
    while (u->head[v] >= 0 && !reads(g, u->links[u->head[v]].node, v)) u->head[v] = u->links[u->head[v]].next;
    return u->head[v] >= 0 ? u->links[u->head[v]].node : QN_NONE;
}

void qn_uses_kill(qn_uses *u, qn_graph *g, qn_node_id id)
{
    const qn_node *n = &g->nodes[id];

    if (n->dead) return;
    for (int32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QN_NONE && n->in[i] < u->cap) u->count[n->in[i]]--;
    qn_graph_kill_node(g, id);
}

void qn_uses_replace(qn_uses *u, qn_graph *g, qn_value_id from, qn_value_id to)
{
    int32_t l;

    if (from == to || !reserve_values(u, g->n_values)) return;
    l = u->head[from];
    u->head[from] = -1;
    while (l >= 0) {
        qn_node *n = &g->nodes[u->links[l].node];
        int32_t next = u->links[l].next;
        bool moved = false;

        for (int32_t i = 0; i < n->n_in && !n->dead; i++) {
            if (n->in[i] != from) continue;
            n->in[i] = to;
            u->count[from]--;
            u->count[to]++;
            moved = true;
        }
        if (moved) { /* the link moves along: no memory is needed */
            u->links[l].next = u->head[to];
            u->head[to] = l;
        }
        l = next;
    }
}

void qn_uses_set_input(qn_uses *u, qn_graph *g, qn_node_id id, int32_t i, qn_value_id v)
{
    qn_node *n = &g->nodes[id];

    if (!reserve_values(u, g->n_values)) return;
    if (n->in[i] != QN_NONE) u->count[n->in[i]]--;
    n->in[i] = v;
    if (v == QN_NONE) return;
    u->count[v]++;
    link_use(u, v, id);
}
