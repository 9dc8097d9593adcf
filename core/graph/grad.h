/* core/graph/grad.h - what the grad slot of an op row is written with: gradients are nodes, emitted into the canonical graph.
 *
 * A rule is called once for a node through which a gradient flows. It reads the gradients of the outputs, emits ai.onnx nodes of opset 13 and
 * gives a gradient to each input that wants one. Errors stick: after the first one every call does nothing and gives QN_NONE, and the
 * caller of the rule reports it, so a rule needs no error path of its own. */
#ifndef QUERN_GRAPH_GRAD_H
#define QUERN_GRAPH_GRAD_H

#include "core/graph/op.h"

/* -- the node at hand ----------------------------------------------------------------------------------------------------- */

const qn_node *qn_grad_node(const qn_builder *b); /* until the next node is emitted */
qn_value_id qn_grad_in(const qn_builder *b, int32_t i);
qn_value_id qn_grad_out(const qn_builder *b, int32_t i);
const qn_type *qn_grad_type(const qn_builder *b, qn_value_id v);
bool qn_grad_wanted(const qn_builder *b, int32_t i);    /* input i is real and leads to what is asked for */
qn_value_id qn_grad_of(const qn_builder *b, int32_t i); /* gradient of output i; QN_NONE: nothing flows through it */

/* dx of input i. One of a larger shape is summed over the axes along which input i was broadcast; QN_ERR_UNSUPPORTED where the sizes that
 * decide it are not known. */
void qn_grad_give(qn_builder *b, int32_t i, qn_value_id dx);
/* This node has no gradient with these attributes. */
void qn_grad_refuse(qn_builder *b, const char *why);

/* -- emitting ------------------------------------------------------------------------------------------------------------- */

qn_value_id qn_grad_emit(qn_builder *b, const char *op_type, const qn_value_id *in, int32_t n_in, const qn_attr *attrs, int32_t n_attrs);
qn_value_id qn_grad_op1(qn_builder *b, const char *op_type, qn_value_id x);
qn_value_id qn_grad_op2(qn_builder *b, const char *op_type, qn_value_id x, qn_value_id y);
qn_value_id qn_grad_op3(qn_builder *b, const char *op_type, qn_value_id x, qn_value_id y, qn_value_id z);
/* A scalar with the dtype of v. */
qn_value_id qn_grad_number(qn_builder *b, double number, qn_value_id v);
qn_value_id qn_grad_ints(qn_builder *b, const int64_t *vals, int32_t n);
qn_value_id qn_grad_cast(qn_builder *b, qn_value_id v, qn_dtype to);
/* Plain integers of v, where they are known; false: they are not. */
bool qn_grad_numbers(const qn_builder *b, qn_value_id v, int64_t *vals, int32_t cap, int32_t *n);
/* The axes of the node: attribute `axes`, else input 1; false: neither is there. A refusal where they are not known. */
bool qn_grad_axes(qn_builder *b, int64_t *axes, int32_t *n);
/* v in the shape that `like` has; the elements are as many. */
qn_value_id qn_grad_reshape(qn_builder *b, qn_value_id v, qn_value_id like);

#endif
