/* core/graph/cost.h - the work of a node, from sizes alone: what a plan certifies before anything is allocated or run.
 * Unit: multiply-adds. An op that has a cost function says how many it takes for given sizes (qn_op.cost); every other op counts the
 * elements it reads and writes, because its work is within a small constant factor of them.
 * Sums and products stop at QN_COST_MAX, so no size is large enough to look small. A size that is not known counts as nothing: it is
 * asked about again when it is. */
#ifndef QUERN_GRAPH_COST_H
#define QUERN_GRAPH_COST_H

#include "core/graph/op.h"

#define QN_COST_MAX UINT64_MAX

static inline uint64_t qn_cost_add(uint64_t a, uint64_t b)
{
    uint64_t r;

    return __builtin_add_overflow(a, b, &r) ? QN_COST_MAX : r;
}

static inline uint64_t qn_cost_mul(uint64_t a, uint64_t b)
{
    uint64_t r;

    return __builtin_mul_overflow(a, b, &r) ? QN_COST_MAX : r;
}

/* Elements of t; 0 where t is left out, no tensor, or has a size that is not known. */
uint64_t qn_cost_elements(const qn_tensor *t);
/* A dimension of t, axis < 0 counted from the end; 1 where t has no such axis, 0 where it is not known. */
uint64_t qn_cost_dim(const qn_tensor *t, int32_t axis);

/* Work of n on in [n_in] to out [n_out]: dtype NONE is left out, rank -1 not known; data is not read. */
uint64_t qn_cost_of(const qn_node *n, const qn_tensor *in, const qn_tensor *out);

/* -- ready-made for qn_op.cost -------------------------------------------------------------------------------------------- */

/* Elements of all outputs and of all inputs but the first, of which only those that are asked for are read (Gather, Slice). */
qn_cost_fn qn_cost_selected;
/* Nothing: the steps of the node's subgraphs are counted as they run. */
qn_cost_fn qn_cost_none;
/* Elements of output 0 times the last dimension of input 0: products of matrices whose A is not transposed. */
qn_cost_fn qn_cost_product;

#endif
