/* core/graph/graph.h - the intermediate representation of every stage of a model.
 *
 * import -> canonical -> lowered are three qn_graphs; each is made from the one before by qn_graph_clone() and passes, and
 * checked by qn_graph_verify() before the next stage reads it. Weights are shared between the stages by reference.
 * Ids are stable inside one graph: a value or node that a pass removes leaves a hole (dead = true), never a renumbering.
 *
 * Ownership: a graph owns everything reachable from it through its arena, except weights, which are refcounted.
 * Threads: one at a time while it is built; read-only afterwards from any number. */
#ifndef QUERN_GRAPH_GRAPH_H
#define QUERN_GRAPH_GRAPH_H

#include "core/base/arena.h"
#include "core/base/digest.h"
#include "core/base/map.h"
#include "core/graph/dims.h"
#include "quern/model.h"

typedef int32_t qn_value_id; /* index into graph->values */
typedef int32_t qn_node_id;  /* index into graph->nodes */
#define QN_NONE (-1)         /* an optional input or output that is left out; no producer */

typedef struct qn_graph qn_graph;
typedef struct qn_op qn_op;             /* core/graph/op.h */
typedef struct qn_op_table qn_op_table; /* core/graph/op.h */
typedef struct qn_weight qn_weight;     /* core/graph/weight.h */

typedef enum qn_kind { QN_KIND_TENSOR = 0, QN_KIND_SEQUENCE, QN_KIND_OPTIONAL, QN_KIND_MAP } qn_kind;

/* Physical order of a tensor's elements; the logical shape never changes. Only kernels and the reorder op look at it. */
typedef enum qn_layout {
    QN_LAYOUT_PLAIN = 0, /* row-major */
} qn_layout;

/* How integers stand for reals: real = scale * (q - zero_point). On a value's type once lowering has absorbed its Q/DQ. */
typedef struct qn_quant {
    qn_value_id scale;      /* f32, scalar or [dims[axis]]; QN_NONE: the value is not quantized */
    qn_value_id zero_point; /* the value's dtype, shape of scale; QN_NONE means 0 */
    int32_t axis;           /* -1: one scale for the tensor */
    int64_t block;          /* elements along axis that share a scale; 0: all */
} qn_quant;

typedef struct qn_type {
    qn_kind kind;
    qn_kind of;     /* what an optional holds: TENSOR or SEQUENCE; TENSOR for every other kind */
    qn_dtype dtype; /* of the tensor, or of the elements of a sequence or optional; so are rank and dims, where all elements agree */
    int32_t rank;   /* -1: unknown */
    qn_dim dims[QN_MAX_RANK];
    qn_layout layout;
    qn_quant quant;
} qn_type;

/* A small integer tensor (or bool, as 0/1) whose elements are known as expressions: what shape arithmetic computes.
 * Carried beside the type by inference. At most QN_KNOWN_MAX elements, rank 0 or 1. */
#define QN_KNOWN_MAX 1024
typedef struct qn_known {
    int32_t rank; /* 0: one element; 1: n elements */
    int32_t n;
    qn_dim *elems; /* [n], in the graph's arena; an element may be QN_DIM_UNKNOWN */
} qn_known;

typedef struct qn_value {
    const char *name;    /* unique in its graph; never NULL */
    qn_type type;        /* declared by the file (import), inferred (later stages) */
    qn_known *known;     /* NULL: not known */
    qn_weight *weight;   /* initializer or constant, one reference held; NULL: computed or an input */
    qn_node_id producer; /* QN_NONE: graph input, initializer, or captured from the outer graph */
    bool is_input, is_output, dead;
} qn_value;

typedef enum qn_attr_type {
    QN_ATTR_FLOAT = 1,
    QN_ATTR_INT,
    QN_ATTR_STRING,
    QN_ATTR_TENSOR,
    QN_ATTR_GRAPH,
    QN_ATTR_FLOATS,
    QN_ATTR_INTS,
    QN_ATTR_STRINGS,
    QN_ATTR_TENSORS,
    QN_ATTR_GRAPHS,
    QN_ATTR_TYPE = 13,
} qn_attr_type;

typedef struct qn_attr {
    const char *name;
    const char *ref;   /* in the body of a function: the attribute of the call whose value this takes, and no value here; else NULL */
    qn_attr_type type; /* 0 with a ref: whatever that is */
    int64_t n;         /* elements of a list; bytes of a STRING */
    union {
        float f;
        int64_t i;
        const char *s; /* terminated too */
        qn_weight *t;  /* one reference held */
        qn_graph *g;   /* owned */
        const float *floats;
        const int64_t *ints;
        const char **strings;
        qn_weight **tensors;
        qn_graph **graphs;
        const qn_type *ty;
    };
} qn_attr;

typedef struct qn_node {
    const char *name;   /* as in the file, or made from the first output; never NULL, for messages */
    const char *domain; /* "" is ai.onnx; "quern" holds what lowering makes */
    const char *op_type;
    const qn_op *op;  /* the row that runs it; NULL in the import graph, set by canonicalisation */
    int64_t opset;    /* version of its domain that the model, or the function around it, declares */
    int32_t function; /* the model's own function that it calls, an index of the outermost graph's; QN_NONE: an op */
    int32_t n_in, n_out;
    qn_value_id *in;  /* [n_in], QN_NONE where left out */
    qn_value_id *out; /* [n_out], QN_NONE where left out */
    int32_t n_attrs;
    qn_attr *attrs;
    bool dead;
} qn_node;

/* A function of the model's own: what a node may call in place of an op. Only the import graph has any; canonicalisation puts their
 * nodes in place of each call. */
typedef struct qn_function {
    const char *label; /* "domain:name", for messages */
    qn_graph *body;    /* owned, nested in the outermost graph but without captures; its opsets are the function's own */
    qn_attr *defaults; /* [n_defaults] values of attributes that a call may leave out */
    int32_t n_defaults;
} qn_function;

typedef enum qn_stage { QN_STAGE_IMPORT, QN_STAGE_CANONICAL, QN_STAGE_LOWERED } qn_stage;

struct qn_graph {
    qn_stage stage;
    const char *name;
    const qn_op_table *ops; /* the rows this graph's nodes may use */
    qn_arena arena;         /* everything below and the structs it points to */
    qn_dims *dims;          /* owned by the outermost graph, borrowed by subgraphs */
    qn_store *store;        /* borrowed: where inference and folding read weights; NULL: they read a copy. Set by passes, kept by clones */
    qn_graph *outer;        /* the graph this one is nested in, or NULL */
    qn_value *values;       /* [n_values], grows */
    int32_t n_values, cap_values;
    qn_node *nodes; /* [n_nodes], grows; `order` is the order to run them in */
    int32_t n_nodes, cap_nodes;
    qn_node_id *order; /* [n_order] live nodes, producers before consumers; set by qn_graph_sort() */
    int32_t n_order;
    qn_value_id *inputs; /* [n_inputs] as the file lists them, initializers included */
    int32_t n_inputs;
    qn_value_id *outputs; /* [n_outputs] */
    int32_t n_outputs;
    qn_map by_name; /* value name -> id */
    struct qn_capture {
        qn_value_id inner, outer;
    } * captures; /* [n_captures] values a subgraph reads from `outer` */
    int32_t n_captures;
    struct qn_opset {
        const char *domain;
        int64_t version;
    } * opsets; /* [n_opsets]; outermost graph and bodies of functions only */
    int32_t n_opsets;
    struct qn_meta {
        const char *key, *value;
    } * metadata; /* [n_metadata]; outermost graph only */
    int32_t n_metadata;
    qn_function *functions; /* [n_functions] those that are called; outermost graph at the import stage only */
    int32_t n_functions;
    int64_t max_nodes; /* that inlining functions may come to, subgraphs included; 0: 100000 */
    int32_t n_temps;   /* fresh names handed out, for qn_graph_add_temp() */
};

/* Subgraphs nest at most this deep, so functions that follow them may recurse. */
#define QN_GRAPH_MAX_DEPTH 32

/* -- building ------------------------------------------------------------------------------------------------------------- */

qn_status qn_graph_create(const qn_op_table *ops, qn_graph *outer, const char *name, qn_graph **out, qn_error *err);
void qn_graph_destroy(qn_graph *g); /* NULL allowed; subgraphs in attributes are destroyed too */
/* A deep copy (weights shared) with the given stage. Ids are kept; functions stay behind. */
qn_status qn_graph_clone(const qn_graph *g, qn_stage stage, qn_graph **out, qn_error *err);

/* A new value; the name is copied and must be new. Fails with QN_ERR_INVALID (duplicate), QN_ERR_NOMEM. */
qn_status qn_graph_add_value(qn_graph *g, const char *name, qn_value_id *out, qn_error *err);
/* A value with a fresh name made from `stem`, for passes. */
qn_status qn_graph_add_temp(qn_graph *g, const char *stem, qn_value_id *out, qn_error *err);
/* A value that holds a constant; takes over one reference of w. */
qn_status qn_graph_add_const(qn_graph *g, const char *stem, qn_weight *w, qn_value_id *out, qn_error *err);
/* Convenience: a constant int64 [n] (rank 1), or scalar when n < 0 (then vals[0]). */
qn_status qn_graph_add_ints(qn_graph *g, const char *stem, const int64_t *vals, int32_t n, qn_value_id *out, qn_error *err);

/* A new node with room for n_in, n_out ids (all QN_NONE) and n_attrs attributes (zeroed). op_type and domain are copied.
 * The caller fills in/out/attrs through the returned id and sets values[out].producer. */
qn_status qn_graph_add_node(qn_graph *g, const char *domain, const char *op_type, const char *name, int32_t n_in, int32_t n_out,
                            int32_t n_attrs, qn_node_id *out, qn_error *err);
/* The same for passes: fills ids, sets producers, finds the op row for `opset`. Fails with QN_ERR_UNSUPPORTED if there is no row. */
qn_status qn_graph_emit(qn_graph *g, const char *domain, const char *op_type, int64_t opset, const char *name, const qn_value_id *in,
                        int32_t n_in, const qn_value_id *out, int32_t n_out, const qn_attr *attrs, int32_t n_attrs, qn_node_id *id,
                        qn_error *err);

/* Copy an attribute of a node of another graph with the same dims into `to`, which was zeroed, in a node of g. Graphs are copied whole; what
 * they capture are ids of the other graph still. On failure `to` holds what may be released with its node. */
qn_status qn_graph_copy_attr(qn_graph *g, const qn_attr *from, qn_attr *to, qn_error *err);

/* Make every reader of `from` read `to`: nodes, and captures by their subgraphs. Graph outputs stay as they are, because an output
 * keeps its name: see qn_pass_bypass() in passes/rewrite.h for taking out a node that writes one. */
void qn_graph_replace_uses(qn_graph *g, qn_value_id from, qn_value_id to);
/* Mark a node dead and clear the producer of its outputs. */
void qn_graph_kill_node(qn_graph *g, qn_node_id id);
/* Remove nodes and values nothing needs. */
void qn_graph_sweep(qn_graph *g);
/* Number of live readers of v (a graph output and a capture by a subgraph count as readers). */
int32_t qn_graph_n_uses(const qn_graph *g, qn_value_id v);
/* The only live reader of v, or QN_NONE. */
qn_node_id qn_graph_only_user(const qn_graph *g, qn_value_id v);

/* Topological order into g->order, iteratively; ties in file order. Fails with QN_ERR_INVALID naming a node on the cycle, or the
 * missing producer. */
qn_status qn_graph_sort(qn_graph *g, qn_error *err);

/* Structural check of one graph and its subgraphs: ids in range, one producer per value, producers before consumers, outputs
 * produced, ops set and arities right from the canonical stage on, layouts accepted by the op. Fails with QN_ERR_INVALID. */
qn_status qn_graph_verify(const qn_graph *g, qn_error *err);

/* Infer types of every value in g->order from the inputs and weights. Fails with what an op's infer fails with, prefixed
 * "node NAME (Op): ". */
qn_status qn_graph_infer(qn_graph *g, qn_error *err);

/* True if v holds a constant: a weight that no caller can override (an initializer that is also an input is only a default). */
static inline bool qn_value_is_const(const qn_value *v) { return v->weight && !v->is_input; }

/* -- reading a node ------------------------------------------------------------------------------------------------------- */

const qn_attr *qn_node_attr(const qn_node *n, const char *name); /* NULL: absent */
int64_t qn_node_int(const qn_node *n, const char *name, int64_t fallback);
float qn_node_float(const qn_node *n, const char *name, float fallback);
const char *qn_node_str(const qn_node *n, const char *name, const char *fallback);
/* The list and its length, or NULL with *len = 0 if absent. */
const int64_t *qn_node_ints(const qn_node *n, const char *name, int64_t *len);
const float *qn_node_floats(const qn_node *n, const char *name, int64_t *len);

#endif
