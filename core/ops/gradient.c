/* core/ops/gradient.c - ai.onnx.preview.training Gradient: the row that names it and gives its types.
 * Spec   ai.onnx.preview.training 1. Attributes xs, zs, y are names of values of the graph around it.
 * Shapes output i is shaped like input i.
 * Run    never: core/graph/passes/gradient.c has put the nodes that compute it in its place before anything is planned. */
#include "core/ops/ops.h"

#include <inttypes.h>

static qn_status gradient_infer(qn_infer *c, qn_error *err)
{
    const qn_attr *xs = qn_node_attr(c->node, "xs"), *zs = qn_node_attr(c->node, "zs");
    const int64_t given = (xs ? xs->n : 0) + (zs ? zs->n : 0);

    /* only the outermost graph's are bound to what they name */
    if (c->node->n_in != 2 * given + 1)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "Gradient inside a function or subgraph is unsupported");
    for (int32_t i = 0; i < c->node->n_out; i++) c->out[i] = c->in[i];
    return QN_OK;
}

static qn_status gradient_run(qn_run *r, qn_error *err)
{
    return qn_error_set(err, QN_ERR_INTERNAL, "node %.60s: Gradient was not replaced", r->node->name);
}

const qn_op qn_op_gradient = {
    .domain = "ai.onnx.preview.training",
    .name = "Gradient",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VARIADIC | QN_OP_RANDOM,
    .infer = gradient_infer,
    .run = gradient_run,
};
