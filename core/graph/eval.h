/* core/graph/eval.h - run one node on tensors, outside any plan: what constant folding does. */
#ifndef QUERN_GRAPH_EVAL_H
#define QUERN_GRAPH_EVAL_H

#include "core/graph/op.h"

/* What folding may still cost; what a node took is subtracted, whether it came to an end or not. */
typedef struct qn_eval_budget {
    size_t bytes;  /* of all outputs of the next node together; left alone */
    uint64_t work; /* as core/graph/cost.h counts */
} qn_eval_budget;

/* Run node n of g (its op set) on concrete inputs.
 *  in      [n_in] dense tensors, borrowed; dtype NONE for one left out
 *  budget  what is beyond it is not run
 *  out     [n_out] QN_OK: tensors the caller frees with qn_tensor_free(); dtype NONE for one left out. Otherwise all empty.
 * Nothing is packed and no constants are handed to lower(), so the op asks the (absent) plan for nothing.
 * Fails with QN_ERR_UNSUPPORTED (a row without run, an output whose size is known only at run time, strings, sequences),
 * QN_ERR_LIMIT (budget), or what infer, lower or run fail with. Threads: reads g; its dims are not touched. */
qn_status qn_node_eval(const qn_graph *g, const qn_node *n, const qn_tensor *in, qn_store *store, unsigned cpu, qn_bits bits,
                       qn_eval_budget *budget, qn_tensor *out, qn_error *err);

#endif
