/* core/plan/plan.h - a lowered graph bound to input shapes: what runs in which order, on which bytes.
 *
 *   types.c  shapes of every value: numbers, or c0 + c1 * rows when the batch is free up to a capacity
 *   constants.c  what of the graph needs no data once the shapes are numbers
 *   steps.c  which nodes run: none for what inference knows already, for views, for what nobody reads
 *   work.c   what that costs: refused here if it is beyond the limit
 *   place.c  which buffer a value lives in, and where that lies in the arena
 *   plan.c   the three in order, kernels chosen by each op's lower, references
 *   cache.c  plans of one model by key, least recently used first out
 *
 * A plan holds numbers and pointers to weights, no table of expressions and no activation: it is shared by sessions.
 * Threads: immutable once made; reference counts are atomic. */
#ifndef QUERN_PLAN_PLAN_H
#define QUERN_PLAN_PLAN_H

#include "core/graph/op.h"

#include <stdatomic.h>

#define QN_PLAN_ALIGN 64 /* bytes: a cache line and a zmm register, so tiles of two values never share a line */

/* Where the bytes of a value are while a session runs. */
typedef enum qn_home {
    QN_HOME_NONE = 0, /* nowhere: not computed in this plan */
    QN_HOME_INPUT,    /* the caller's memory */
    QN_HOME_CONST,    /* a weight */
    QN_HOME_ARENA,    /* at a fixed offset of the session's arena */
    QN_HOME_SLAB,     /* size known only at run time, or no tensor: memory of its own in the session */
} qn_home;

/* An integer tensor that inference knows: written once when a session is bound, never computed. */
typedef struct qn_plan_known {
    int32_t n;
    int64_t *c0, *c1; /* [n]: element = c0 + c1 * rows */
} qn_plan_known;

typedef struct qn_plan_value {
    qn_kind kind; /* what is no TENSOR is never fixed, and has no tensor at run time */
    qn_dtype dtype;
    int32_t rank;            /* -1: not known before the run */
    int64_t c0[QN_MAX_RANK]; /* dimension = c0 + c1 * rows; c0 -1 and c1 0: not known before the run */
    int64_t c1[QN_MAX_RANK];
    bool fixed; /* every dimension is known */
    qn_home home;
    int32_t input;        /* INPUT: index of the port */
    size_t offset;        /* ARENA */
    size_t max_bytes;     /* at capacity, fixed dtypes and shapes only */
    qn_tensor dense;      /* CONST: dims, and data unless nobody reads it dense */
    qn_plan_known *known; /* or NULL */
    bool computed;        /* CONST: no weight, but a result that needed no data; its bytes are in the plan's arena */
    int32_t first, last;  /* steps that write and last read it; last INT32_MAX: outlives the run */
} qn_plan_value;

typedef struct qn_plan_step {
    const qn_node *node;
    const char *op; /* "Conv", "quern.FusedConv" */
    const char *kernel, *why;
    void *state;
    size_t scratch_offset, scratch_bytes;
    int32_t operands; /* index of its inputs, then its outputs, in plan->operands */
    bool dynamic;     /* a shape is not known: inferred and lowered when it runs */
    bool refill;      /* reads or writes a slab: operands are looked up on each run */
    uint64_t skip_in;
    int64_t n_params;
    uint64_t weight_bytes;
    uint64_t macs; /* at capacity; 0 for a dynamic step, which is counted when it runs */
} qn_plan_step;

/* Packed weights that somebody keeps. */
typedef struct qn_blob_list {
    qn_store *store;       /* borrowed */
    const qn_blob **blobs; /* [n], one reference each; owned */
    int32_t n, cap;
} qn_blob_list;

void qn_blob_list_release(qn_blob_list *l);

/* What a plan is for: equal keys, equal plans. */
typedef struct qn_plan_key {
    int32_t n;            /* numbers in words */
    const int64_t *words; /* [n]: team size, capacity (-1: this exact shape), then rank and dims of every input, the batch as -1 */
} qn_plan_key;

struct qn_plan {
    qn_blob_list blobs; /* packed weights, kept as long as the plan */
    atomic_int refs;
    qn_arena arena;        /* everything below, and the state of ops */
    const qn_graph *graph; /* lowered; the model's */
    qn_plan_key key;
    int64_t capacity; /* rows; 0: shapes are exact, rows is not a variable */
    int team_size;
    unsigned cpu;
    qn_plan_value *values; /* [n_values] by id of the lowered graph */
    int32_t n_values;
    qn_plan_step *steps; /* [n_steps] */
    int32_t n_steps;
    qn_value_id *operands; /* [n_operands] */
    int32_t n_operands;
    int32_t max_io; /* most inputs or outputs of a step */
    bool dynamic;   /* some step is */
    bool has_items; /* some value is no tensor */
    size_t arena_bytes;
    uint64_t macs;        /* of all steps that are not dynamic, at capacity */
    uint64_t dense_bytes; /* weights read dense */
    /* links of the model's cache, guarded by its lock */
    struct qn_plan *newer, *older;
};

/* What a plan is made from; borrowed from the model. */
typedef struct qn_plan_request {
    const qn_graph *graph;
    qn_store *store;
    unsigned cpu;
    qn_bits bits;
    bool all_values;
    uint64_t arena_limit, macs_limit;
    int team_size;
    int64_t capacity; /* 0: exact shapes */
    qn_plan_key key;
    int32_t n_inputs;
    const qn_value_id *inputs; /* [n_inputs] values of the graph, QN_NONE where it reads none */
    const qn_tensor *shapes;   /* [n_inputs] dtype, rank, dims; dims[0] is the batch if capacity > 0 */
} qn_plan_request;

/* Make a plan with one reference.
 *  batch_free  set to false, with QN_OK and *out NULL, when capacity > 0 and some shape is not c0 + c1 * rows: ask again with exact shapes.
 *  Fails with QN_ERR_LIMIT (arena, multiply-adds), QN_ERR_UNSUPPORTED, QN_ERR_SHAPE, QN_ERR_DTYPE, QN_ERR_INVALID, QN_ERR_RANGE, QN_ERR_NOMEM, QN_ERR_IO. */
qn_status qn_plan_make(const qn_plan_request *rq, qn_plan **out, bool *batch_free, qn_error *err);
qn_plan *qn_plan_ref(qn_plan *p);
void qn_plan_unref(qn_plan *p); /* NULL allowed */
/* Bytes of the plan itself, weights not counted. */
uint64_t qn_plan_bytes(const qn_plan *p);

/* Dims and bytes of a fixed value for this many rows. Data is left alone. False if they do not fit: only beyond the capacity. */
bool qn_plan_shape(const qn_plan_value *v, int64_t rows, qn_tensor *out);

/* Element i of a known tensor (i64, i32 or bool). */
void qn_plan_store_int(qn_dtype dtype, void *at, int32_t i, int64_t v);

/* -- parts of qn_plan_make() ---------------------------------------------------------------------------------------------- */

/* While a plan is made. */
typedef struct qn_planner {
    const qn_plan_request *rq;
    qn_plan *plan;
    qn_arena tmp; /* types, known elements */
    qn_dims *dims;
    qn_dim rows;      /* the batch symbol; QN_DIM_UNKNOWN for exact shapes */
    qn_type *types;   /* [n_values] */
    qn_known **known; /* [n_values] */
    uint8_t *role;    /* [n_nodes] QN_ROLE_* */
    int32_t *buffer;  /* [n_values] buffer the value lives in, or -1 */
    bool batch_free;
    uint64_t constant_work; /* that constants.c may still do */
} qn_planner;

/* What becomes of a node. DROP: nothing to do for it. */
enum { QN_ROLE_DROP = 0, QN_ROLE_RUN, QN_ROLE_DYNAMIC, QN_ROLE_VIEW };

qn_status qn_plan_types(qn_planner *pl, qn_error *err);   /* types.c */
qn_status qn_plan_roles(qn_planner *pl, qn_error *err);   /* steps.c: roles, then plan->steps and lifetimes */
qn_status qn_plan_certify(qn_planner *pl, qn_error *err); /* work.c: what the steps cost, before anything is packed or placed */
qn_status qn_plan_lower(qn_planner *pl, qn_error *err);   /* steps.c: kernels, packed and dense weights */
qn_status qn_plan_place(qn_planner *pl, qn_error *err);   /* place.c */

/* The dense tensor of the constant v, for inference: small integers, or anything tiny; NULL for others. Fails like qn_weight_dense(). */
qn_status qn_plan_small_const(const qn_plan_request *rq, qn_plan_value *v, qn_value_id id, const qn_tensor **out, qn_error *err);

/* constants.c: n was just inferred. If all its inputs are constants of this plan and its outputs are small, compute them now: they are constants
 * too, and shapes made of them are known. Fails with QN_ERR_NOMEM; what cannot be computed is left to the run. */
qn_status qn_plan_compute(qn_planner *pl, const qn_node *n, const qn_tensor *const *in_const, qn_error *err);
/* A tensor of the elements that inference knows as numbers of value id, in pl->tmp; NULL if some is not a number. */
qn_status qn_plan_known_tensor(qn_planner *pl, qn_value_id id, const qn_tensor **out, qn_error *err);

/* Add `macs` to *spent, the multiply-adds of a run so far. Fails with QN_ERR_LIMIT: more than `limit`; the message says what was added,
 * what it came to and the limit, the caller says where. */
qn_status qn_macs_spend(uint64_t *spent, uint64_t macs, uint64_t limit, qn_error *err);

/* "node NAME (Op)" for messages, cut to fit. */
const char *qn_node_label(const qn_node *n, char *buf, size_t cap);

/* Sizes that inference looks into: values with more elements are never shapes. */
#define QN_PLAN_CONST_INTS 65536
#define QN_PLAN_CONST_ANY  1024

#endif
