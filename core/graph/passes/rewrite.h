/* core/graph/passes/rewrite.h - what every pass is given, and the few moves they are made of. Private to passes/. */
#ifndef QUERN_GRAPH_REWRITE_H
#define QUERN_GRAPH_REWRITE_H

#include "core/graph/infer.h"
#include "core/graph/passes/passes.h"
#include "core/graph/passes/uses.h"
#include "core/graph/weight.h"

typedef struct qn_pass {
    qn_graph *g;
    qn_store *store;
    unsigned cpu;
    qn_bits bits;
    qn_op_index ops;
    qn_inferer infer;
    qn_uses uses;
} qn_pass;

/* One rewrite. It sees a sorted graph with every live value inferred, and leaves the sorting and sweeping to its caller. */
typedef qn_status qn_pass_fn(qn_pass *p, qn_error *err);

/* Fresh uses and inference, run, sweep, sort. */
qn_status qn_pass_run(qn_pass *p, qn_pass_fn *fn, qn_error *err);

/* functions.c: calls in g, a clone of import, become the nodes of import's functions. Before everything else: g is not sorted yet, and not
 * afterwards. Fails with QN_ERR_INVALID (recursion, arity, types of attributes; names the function), QN_ERR_LIMIT (import->max_nodes, or 512
 * MiB), QN_ERR_UNSUPPORTED (a graph handed in as an attribute). */
qn_status qn_pass_functions(qn_graph *g, const qn_graph *import, qn_error *err);

/* gradient.c: the values that Gradient nodes name become inputs of theirs. Before sorting. Fails with QN_ERR_INVALID naming node and value. */
qn_status qn_pass_bind_gradients(qn_graph *g, qn_error *err);

/* attributes.c: the type of every attribute that ops read. Fails with QN_ERR_INVALID naming node and attribute. */
qn_status qn_pass_check_attributes(const qn_node *n, qn_error *err);

/* canonical, in this order */
qn_status qn_pass_normalise(qn_pass *p, qn_error *err); /* normalise.c: opsets, rows, Constant; infers as it goes */
qn_status qn_pass_gradient(qn_pass *p, qn_error *err);  /* gradient.c: Gradient becomes what computes it */
qn_status qn_pass_identity(qn_pass *p, qn_error *err);  /* identity.c: Identity, Dropout */
qn_status qn_pass_layernorm(qn_pass *p, qn_error *err); /* layernorm.c */
qn_status qn_pass_gelu(qn_pass *p, qn_error *err);      /* gelu.c */
qn_status qn_pass_attention(qn_pass *p, qn_error *err); /* attention.c */
/* lowered, in this order */
qn_status qn_pass_dq_transpose(qn_pass *p, qn_error *err); /* dq_transpose.c: a weight is transposed before it is dequantized */
qn_status qn_pass_fold_keep_dq(qn_pass *p, qn_error *err); /* fold.c: constants, but a weight's DequantizeLinear stays for qlinear.c */
qn_status qn_pass_clip_quant(qn_pass *p, qn_error *err);   /* clip_quant.c: Relu, Clip that the next Q does anyway */
qn_status qn_pass_qdq_move(qn_pass *p, qn_error *err);     /* qdq_move.c: Q(DQ(x)), and ops that only move integers */
qn_status qn_pass_qlinear(qn_pass *p, qn_error *err);      /* qlinear.c: Conv, MatMul, Gemm between DQ and Q */
qn_status qn_pass_fold(qn_pass *p, qn_error *err);         /* fold.c: the rest */
qn_status qn_pass_batchnorm(qn_pass *p, qn_error *err);    /* batchnorm.c: into Conv */
qn_status qn_pass_epilogue(qn_pass *p, qn_error *err);     /* epilogue.c: bias, Relu, Clip into Conv, Gemm, MatMul */

/* subgraphs.c */
/* Captured constants of g become constants of the subgraphs of n. */
void qn_pass_sink_constants(qn_graph *g, const qn_node *n);
/* Captures become inputs of the node, behind its own. */
qn_status qn_pass_open_captures(qn_graph *g, qn_error *err);
/* passes.c: every canonical pass on one graph nested in another, whose types are set from outside. */
qn_status qn_pass_canonical_sub(const qn_pass *outer, qn_graph *sub, qn_error *err);

/* -- looking -------------------------------------------------------------------------------------------------------------- */

bool qn_pass_is(const qn_node *n, const char *op_type); /* an ai.onnx op of that name, alive */
/* The node that gives v if it is an ai.onnx op of that name, else QN_NONE. */
qn_node_id qn_pass_producer(const qn_pass *p, qn_value_id v, const char *op_type);
/* Input i of node, QN_NONE if left out. */
static inline qn_value_id qn_node_in(const qn_node *n, int32_t i) { return i < n->n_in ? n->in[i] : QN_NONE; }
static inline qn_value_id qn_node_out(const qn_node *n, int32_t i) { return i < n->n_out ? n->out[i] : QN_NONE; }
/* The weight of a constant value, else NULL. */
qn_weight *qn_pass_weight(const qn_pass *p, qn_value_id v);
/* True if v is a constant float with one element; then *out is it. */
bool qn_pass_scalar(const qn_pass *p, qn_value_id v, float *out);
/* True if v is a constant within a relative 1e-4 of `want`: an exporter rounds sqrt(2) in its own way. */
bool qn_pass_about(const qn_pass *p, qn_value_id v, float want);
/* Small integers of a constant or known value; false if they are not plain numbers. */
bool qn_pass_ints(const qn_pass *p, qn_value_id v, int64_t *vals, int32_t cap, int32_t *n);
/* Dense f32 copy of a constant f32, [count] the caller frees; NULL if it is something else or memory is out. */
float *qn_pass_floats(const qn_pass *p, qn_value_id v, int64_t *count);
/* True if both are the same value, or constants with equal bytes. */
bool qn_pass_equal(const qn_pass *p, qn_value_id a, qn_value_id b);
qn_type *qn_pass_type(const qn_pass *p, qn_value_id v);
/* A dimension that is a number, else -1. */
int64_t qn_pass_dim(const qn_pass *p, qn_value_id v, int32_t d);

/* -- changing ------------------------------------------------------------------------------------------------------------- */

/* Input i becomes v; the list grows as needed. */
qn_status qn_pass_set_input(qn_pass *p, qn_node_id id, int32_t i, qn_value_id v, qn_error *err);
void qn_pass_drop_attr(qn_node *n, const char *name);
/* A constant from raw bytes; type set. */
qn_status qn_pass_const(qn_pass *p, const char *stem, const qn_tensor *t, qn_value_id *out, qn_error *err);

/* What a rewrite would put in place of the node that gives `out`. */
typedef struct qn_patch {
    const char *domain, *op_type;
    int64_t opset;
    const qn_value_id *in;
    int32_t n_in;
    const qn_attr *attrs;
    int32_t n_attrs;
    qn_value_id out;
    const char *name; /* NULL: that of the present producer */
} qn_patch;

/* Put it there if a row exists and infers the type `out` has: kills the present producer of `out`, emits the new node under its
 * name. *done says whether it was; if not, nothing changed. Nodes that nothing reads any more are left to the sweep. */
qn_status qn_pass_patch(qn_pass *p, const qn_patch *patch, bool *done, qn_error *err);

/* The same for an op that multiplies a matrix, input 0: where that has a higher rank, its leading dimensions are folded into one by a
 * Reshape before and unfolded by one after. Both are views: they cost nothing at run time. */
qn_status qn_pass_patch_matrix(qn_pass *p, const qn_patch *patch, bool *done, qn_error *err);

/* There is a row for this ai.onnx op at opset 13. */
bool qn_pass_has_row(const qn_pass *p, const char *op_type);

/* Emit an ai.onnx node that gives one fresh value, count and infer it. */
qn_status qn_pass_emit(qn_pass *p, const char *op_type, int64_t opset, const char *name, const qn_value_id *in, int32_t n_in,
                       const qn_attr *attrs, int32_t n_attrs, qn_value_id *out, qn_error *err);
/* widen.c: infer node `id` into its outputs; where its op refuses 16-bit floats, it gets a Cast to f32 before and one back after. */
qn_status qn_pass_infer(qn_pass *p, qn_node_id id, qn_error *err);
/* A constant of n integers (rank 1), inferred. */
qn_status qn_pass_const_ints(qn_pass *p, const char *stem, const int64_t *vals, int32_t n, qn_value_id *out, qn_error *err);

/* Take out `id`, whose output 0 has the value of x. Where output 0 is a graph output, the producer of x takes over the name, if
 * nothing else forbids it. Returns false if the node has to stay. */
bool qn_pass_alias(qn_pass *p, qn_node_id id, qn_value_id x);
/* The same where x is input 0. */
static inline bool qn_pass_bypass(qn_pass *p, qn_node_id id) { return qn_pass_alias(p, id, p->g->nodes[id].in[0]); }

#endif
