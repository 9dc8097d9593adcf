/* core/graph/passes/uses.h - who reads a value, for passes: built once, kept up to date by the functions here.
 * A pass that changes the graph around it goes through them; what it kills stays counted nowhere.
 * When memory runs out `failed` is set, answers become cautious (many readers), and the pass ends with QN_ERR_NOMEM. */
#ifndef QUERN_GRAPH_USES_H
#define QUERN_GRAPH_USES_H

#include "core/graph/graph.h"

typedef struct qn_use {
    qn_node_id node;
    int32_t next; /* index into links, -1: last */
} qn_use;

typedef struct qn_uses {
    int32_t *count; /* [cap] inputs of live nodes that read the value, graph outputs and captures included */
    int32_t *head;  /* [cap] first link, -1: none; a link may be stale: its node dead, or no longer a reader */
    bool *pinned;   /* [cap] read from outside the nodes: a graph output or a capture */
    int32_t cap;
    qn_use *links;
    int32_t n_links, cap_links;
    bool failed;
} qn_uses;

void qn_uses_init(qn_uses *u, const qn_graph *g);
void qn_uses_release(qn_uses *u);

int32_t qn_uses_count(const qn_uses *u, qn_value_id v);
/* The only reader of v if it is a node that reads it once, else QN_NONE. */
qn_node_id qn_uses_only(qn_uses *u, const qn_graph *g, qn_value_id v);
/* Count the inputs of a node that was emitted. */
void qn_uses_add_node(qn_uses *u, const qn_graph *g, qn_node_id id);
/* qn_graph_kill_node(), its reads no longer counted. */
void qn_uses_kill(qn_uses *u, qn_graph *g, qn_node_id id);
/* Every node that reads `from` reads `to`. `from` must not be pinned by a capture. Graph outputs stay. */
void qn_uses_replace(qn_uses *u, qn_graph *g, qn_value_id from, qn_value_id to);
/* Change one input of a live node. */
void qn_uses_set_input(qn_uses *u, qn_graph *g, qn_node_id id, int32_t i, qn_value_id v);

#endif
