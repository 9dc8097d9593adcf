/* core/graph/infer.h - inference of one node, for the planner: again, with numbers where the graph has symbols.
 *
 * The dims, types and knowns handed in all belong to one table, which need not be the graph's: a planner makes its own (empty, or
 * qn_dims_clone() of the graph's, in which the graph's ids mean the same) and may then work while other threads read the graph. */
#ifndef QUERN_GRAPH_INFER_H
#define QUERN_GRAPH_INFER_H

#include "core/graph/op.h"

/* Constants up to this many elements are handed to infer as in_const. */
#define QN_INFER_CONST_MAX (64 * 1024)

/* Types and known integers of the outputs of n, a node of g with its op set.
 *  dims, arena  where new expressions and knowns go
 *  in           [n_in]; for a left-out input dtype NONE
 *  in_known     [n_in], entries may be NULL
 *  in_const     [n_in], entries may be NULL: values that are bound or constant
 *  out          [n_out]; checked: rank -1..QN_MAX_RANK, no constant dimension below 0
 *  out_known    [n_out]
 * Reads g and n, changes neither. Fails with what the op's infer fails with, or the dims table, prefixed "node NAME (Op): ". */
qn_status qn_infer_node(qn_graph *g, const qn_node *n, qn_dims *dims, qn_arena *arena, const qn_type *in, const qn_known *const *in_known,
                        const qn_tensor *const *in_const, qn_type *out, qn_known **out_known, qn_error *err);

/* The elements of a small i64, i32 or bool tensor of rank 0 or 1 as constants of `dims`; NULL if it is something else. */
qn_known *qn_known_from_tensor(const qn_tensor *t, qn_dims *dims, qn_arena *arena);

/* Infers the nodes of one graph one by one, keeping the dense small constants at hand: what qn_graph_infer() and the passes use. */
typedef struct qn_inferer {
    qn_graph *g;
    qn_arena scratch; /* constants read without a store */
    char *room;       /* [room_bytes] the inputs and outputs of the node at hand */
    size_t room_bytes;
    qn_tensor *consts; /* [n_consts] dense value of a constant; dtype NONE: not asked for yet, or not small */
    bool *asked;       /* [n_consts] */
    int32_t n_consts;
} qn_inferer;

void qn_inferer_init(qn_inferer *x, qn_graph *g);
void qn_inferer_release(qn_inferer *x);

/* Types and knowns of graph inputs and constants. An input keeps its declared type. */
qn_status qn_inferer_sources(qn_inferer *x, qn_error *err);

/* Infer one node into its output values. A declared rank stays where none is inferred; its sizes do not, because a file may be wrong
 * about them and memory is given out by what infer says. Fails like qn_infer_node(). */
qn_status qn_inferer_node(qn_inferer *x, qn_node_id id, qn_error *err);

/* Would this node, which is not in the graph (yet), infer to the type that value `like` has (dtype, rank, no provable difference)? */
bool qn_inferer_accepts(qn_inferer *x, const qn_node *n, qn_value_id like);

/* Types of the inputs and captures of every subgraph of a node whose own inputs are inferred. */
qn_status qn_inferer_enter(qn_inferer *x, qn_node_id id, bool exact, qn_error *err);
/* qn_inferer_node() without looking into subgraphs, which are inferred already. */
qn_status qn_inferer_outputs(qn_inferer *x, qn_node_id id, qn_error *err);
/* The i-th subgraph of n, in the order of its attributes; NULL past the last. */
qn_graph *qn_node_subgraph(const qn_node *n, int32_t i);

/* Type and known of one constant. */
qn_status qn_inferer_source(qn_inferer *x, qn_value_id v, qn_error *err);

/* Does the type of output v, just inferred, keep what the file said? Fails with QN_ERR_SHAPE, QN_ERR_DTYPE where it provably does not. */
qn_status qn_infer_check_output(qn_graph *g, qn_value_id v, const qn_type *said, qn_error *err);

/* The dense bytes of constant v when it has at most QN_INFER_CONST_MAX elements, else NULL. */
const qn_tensor *qn_inferer_const(qn_inferer *x, qn_value_id v, qn_status *st, qn_error *err);

#endif
