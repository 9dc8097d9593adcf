/* core/graph/op.h - what an op is: one row {infer, rows, lower, run, grad} over a range of opsets.
 *
 * infer   types and known small integers of the outputs from those of the inputs; dims may be symbols, and infer never
 *         needs numbers it does not have: an unknown size is QN_DIM_UNKNOWN and makes the node a region boundary.
 * rows    says which axis of each output carries the batch when given that of each input (row independence); sees in_known, never in_const.
 * lower   once per plan: choose kernels, pack weights, compute constants, ask for scratch. NULL: nothing to prepare.
 * run     on every run: read in[], write out[]. Allocates nothing, except outputs of unknown size by qn_run_output().
 * cost    the multiply-adds of one run, from sizes alone: what a plan certifies before it is lowered (core/graph/cost.h).
 * grad    emits the nodes of the gradient, in the canonical graph (core/graph/grad.h). */
#ifndef QUERN_GRAPH_OP_H
#define QUERN_GRAPH_OP_H

#include "core/graph/graph.h"
#include "core/graph/weight.h"
#include "core/tensor/items.h"

/* -- inference ------------------------------------------------------------------------------------------------------------ */

typedef struct qn_infer {
    qn_graph *graph;
    const qn_node *node;
    qn_dims *dims;
    qn_arena *arena;                  /* for known->elems */
    const qn_type *in;                /* [n_in]; for a left-out input kind TENSOR, dtype NONE */
    const qn_known *const *in_known;  /* [n_in]; NULL entries where not known */
    const qn_tensor *const *in_const; /* [n_in]; dense value where the input is a constant of <= 64 Ki elements (or bound), else NULL */
    qn_type *out;                     /* [n_out] preset to TENSOR, dtype NONE, rank -1 (an infer that cannot tell leaves rank -1) */
    qn_known **out_known;             /* [n_out] preset NULL */
} qn_infer;

typedef qn_status qn_infer_fn(qn_infer *c, qn_error *err);

/* True if input i is given. */
static inline bool qn_infer_has(const qn_infer *c, int32_t i) { return i < c->node->n_in && c->node->in[i] != QN_NONE; }

/* A qn_known of n elements (rank 0 when n < 0: one element), elements UNKNOWN; NULL when memory is out or n > QN_KNOWN_MAX. */
qn_known *qn_infer_known(qn_infer *c, int32_t n);
/* Elements of an integer input as dims: from known, or from a constant. n = -1 if not known at all. */
const qn_dim *qn_infer_ints(qn_infer *c, int32_t i, int32_t *n);
/* The same when all are plain numbers: copies up to cap numbers to vals and returns true. */
bool qn_infer_numbers(qn_infer *c, int32_t i, int64_t *vals, int32_t cap, int32_t *n);
/* axis in [-rank, rank-1] -> [0, rank-1]. Fails with QN_ERR_SHAPE naming node, axis, rank. */
qn_status qn_infer_axis(const qn_infer *c, int64_t axis, int32_t rank, int32_t *out, qn_error *err);
/* out = a broadcast with b (numpy rules). Provably different constants fail with QN_ERR_SHAPE; a symbol against 1, or against min(symbol, k), gives the symbol;
 * symbol against another symbol gives UNKNOWN. */
qn_status qn_infer_broadcast(const qn_infer *c, const qn_type *a, const qn_type *b, qn_type *out, qn_error *err);

/* -- lowering and running ------------------------------------------------------------------------------------------------- */

typedef struct qn_plan qn_plan;

typedef struct qn_lower {
    qn_arena *arena; /* the plan's: step state lives here */
    qn_store *store;
    unsigned cpu; /* QN_CPU_* the plan may use */
    qn_bits bits;
    int team_size; /* threads that may run tiles: per-thread scratch is team_size times */
    const qn_node *node;
    const qn_tensor
        *in; /* [n_in] dtype, rank and largest dims (at the plan's batch capacity); data NULL unless constant and already dense */
    const qn_tensor *out;     /* [n_out] the same; rank -1 where not known before the run */
    qn_weight *const *weight; /* [n_in] the constant behind an input, or NULL */
    qn_plan *plan;            /* for qn_lower_blob() */
    /* results */
    void *state; /* handed to run */
    size_t scratch_bytes;
    const char *kernel; /* for inspect; preset "plain" */
    const char *why;    /* why not a better kernel; preset "" */
    uint64_t skip_in;   /* bit i: run does not read in[i].data (it was packed), so the plan need not hold it dense */
} qn_lower;

typedef qn_status qn_lower_fn(qn_lower *lo, qn_error *err);

/* A packed form of weight w, kept as long as the plan. */
qn_status qn_lower_blob(qn_lower *lo, qn_weight *w, const char *form, size_t bytes, qn_pack_fn *pack, void *ctx, const void **data,
                        qn_error *err);

typedef struct qn_run {
    const qn_node *node;
    const qn_tensor *in; /* [n_in]; dtype NONE for one left out */
    qn_tensor *out;      /* [n_out]; dims set and data placed, unless the size was not known (data NULL): see qn_run_output(); dtype
                             NONE for one left out */
    void *state;
    void *scratch; /* 64-byte aligned, scratch_bytes */
    qn_team *team; /* may be NULL */
    unsigned cpu;
    uint64_t serial;        /* different in every run of the session, and in every iteration of a loop: what random ops count with */
    struct qn_frame *frame; /* who runs it; for the functions below */
} qn_run;

typedef qn_status qn_run_fn(qn_run *r, qn_error *err);

/* Give output i its shape and memory at run time (region boundary; also for QN_STRING, then `bytes` is the whole offsets + blob,
 * otherwise it is ignored). Fails with QN_ERR_LIMIT beyond the session's arena limit, QN_ERR_NOMEM. */
qn_status qn_run_output(qn_run *r, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes, qn_error *err);

/* Operands whose kind is not TENSOR; their qn_tensor has dtype NONE.
 * Input i; NULL if it is left out. */
const qn_items *qn_run_items(const qn_run *r, int32_t i);
/* Output i, emptied, for the op to fill (present too). It is never an input of the same node. */
qn_items *qn_run_new_items(qn_run *r, int32_t i);
/* What boxes are made with. */
qn_meter *qn_run_meter(qn_run *r);

/* -- work ----------------------------------------------------------------------------------------------------------------- */

/* Multiply-adds of one run of n on in [n_in] to out [n_out], or elements where there are none; saturating: see core/graph/cost.h.
 * dtype NONE is left out, rank -1 not known yet; data is not read. Exact within a small factor, never too small by more. */
typedef uint64_t qn_cost_fn(const qn_node *n, const qn_tensor *in, const qn_tensor *out);

/* -- control flow --------------------------------------------------------------------------------------------------------- */

/* A node with subgraphs has, once lowered, the values they capture as further inputs behind its own: those of the first graph attribute
 * in the order of qn_graph.captures, then those of the second. */

/* Set the types of the inputs of `sub`, a subgraph of c->node, from c->in. exact: sizes as they come in the first time; otherwise
 * only what every iteration keeps: kind, dtype and rank of what is carried. */
typedef qn_status qn_enter_fn(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err);

/* How many values an iteration of n's body hands to the next: inputs *in, *in + 1, .. of the body are its outputs *out, *out + 1, .. */
typedef int32_t qn_carried_fn(const qn_node *n, int32_t *in, int32_t *out);
/* True if everything carried is inferred to leave the body with the sizes it came in with. */
bool qn_op_carried_hold(const qn_node *n);

/* Run `sub` on its inputs (captures are found by the runner). in [n_inputs of sub], items [n_inputs] or NULL where all are tensors.
 * turn, 0 or 1: which of two memories it runs in, so that one iteration can read what the other left.
 * Fails with what its steps fail with, or QN_ERR_LIMIT: too many steps. */
qn_status qn_run_sub(qn_run *r, const qn_graph *sub, int32_t turn, const qn_tensor *in, const qn_items *const *items, qn_error *err);
/* Output i of its last run in `turn`, valid until the next one there: a tensor, or items (then the tensor has dtype NONE). */
void qn_run_sub_output(const qn_run *r, const qn_graph *sub, int32_t turn, int32_t i, qn_tensor *t, const qn_items **items);

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

#define QN_ROWS_NONE  (-1) /* the value does not depend on the rows: the same for every batch */
#define QN_ROWS_MIXED (-2) /* rows cannot be told apart: the proof fails */

/* in_axis[n_in], out_axis[n_out]: the axis of each value that carries the batch, or one of the above. in[] are types with
 * inferred ranks. Called only when some input has a batch axis and none is MIXED. Preset: out_axis all MIXED. */
typedef void qn_rows_fn(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis);

/* Ready-made: element-wise with broadcasting. */
void qn_rows_elementwise(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis);
/* Ready-made: the batch is axis 0 of input 0 and of every output; no other input depends on the rows (Conv, pools, Gemm with transA = 0). */
void qn_rows_leading(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis);
/* Ready-made: works along attribute `axis` or other non-batch axes and keeps rank and order; fails (MIXED) if it would mix the batch
 * axis (Softmax, LayerNormalization from `axis` on). Reads the attribute "axis", default -1. */
void qn_rows_along_axis(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis);

/* -- the row -------------------------------------------------------------------------------------------------------------- */

#define QN_OP_INPLACE  0x1u  /* output 0 may use the memory of input 0 when shapes and dtypes agree and nobody else reads it */
#define QN_OP_RANDOM   0x2u  /* never folded, never shared */
#define QN_OP_VARIADIC 0x4u  /* max_in is not a limit */
#define QN_OP_CONTROL  0x10u /* runs its subgraphs: never folded */
#define QN_OP_VIEW     0x8u  /* output 0 has the bytes of input 0 in the same order: the plan may alias them and skip run */

typedef struct qn_builder qn_builder;   /* the training engine's: emits gradient nodes */
typedef void qn_grad_fn(qn_builder *b); /* see core/graph/grad.h */

struct qn_op {
    const char *domain; /* "" is ai.onnx */
    const char *name;
    int64_t since, until; /* opsets it covers, both inclusive; until 0 means no end */
    int32_t min_in, max_in, min_out, max_out;
    unsigned flags;
    qn_infer_fn *infer;
    qn_enter_fn *enter;     /* QN_OP_CONTROL only */
    qn_carried_fn *carried; /* QN_OP_CONTROL only; NULL: nothing is carried */
    qn_rows_fn *rows;       /* NULL: never proved independent */
    qn_lower_fn *lower;     /* NULL: nothing to prepare */
    qn_run_fn *run;
    qn_cost_fn *cost;    /* NULL: elements read and written */
    qn_grad_fn *grad;    /* NULL: no gradient yet */
    const char *kernels; /* kernel families it uses, for docs: "gemm", "eltwise", ... or NULL */
};

struct qn_op_table {
    const qn_op *const *rows; /* [n] */
    int32_t n;
};

/* The row for (domain, name) that covers `opset`, or NULL. "ai.onnx" and "" are the same domain. *known_name (may be NULL) says
 * whether the name exists at another opset. */
const qn_op *qn_op_find(const qn_op_table *t, const char *domain, const char *name, int64_t opset, bool *known_name);

/* The same by hash, for a pass that looks up every node of a large graph. Borrows the table; create and release around the pass. */
typedef struct qn_op_index {
    const qn_op_table *table;
    qn_map first;  /* op name -> first row */
    int32_t *next; /* [n] the next row with that name, or -1 */
} qn_op_index;

qn_status qn_op_index_init(qn_op_index *x, const qn_op_table *t, qn_error *err);
const qn_op *qn_op_index_find(const qn_op_index *x, const char *domain, const char *name, int64_t opset, bool *known_name);
void qn_op_index_release(qn_op_index *x);

#endif
