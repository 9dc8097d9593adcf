/* core/plan/frame.h - one graph of a model with memory to run in. Private to core/plan.
 *
 * A frame is bound to a plan and a number of rows: every operand of every step is then a finished qn_tensor, and a run is a walk over the
 * steps. Another number of rows within the plan's capacity rewrites the operands; another shape fetches another plan.
 * Slabs hold what the plan could not size. A slab belongs to one value, stays between runs and counts in the session's meter.
 *
 * A session is the frame of the main graph and what all its frames share. A step with subgraphs has frames of its own for them, two for
 * each graph: an iteration of a loop reads what the one before left in the other frame, so what is carried is never copied. Frames nest as
 * deep as graphs do, QN_GRAPH_MAX_DEPTH. */
#ifndef QUERN_PLAN_FRAME_H
#define QUERN_PLAN_FRAME_H

#include "core/plan/model.h"

typedef struct qn_frame qn_frame;

typedef struct qn_slab {
    void *data;
    size_t cap;
} qn_slab;

/* A dynamic step as it was lowered last. */
typedef struct qn_dynamic {
    qn_plan holder;    /* only blobs: what lower asked for; see qn_lower_blob() */
    qn_arena arena;    /* state */
    qn_tensor *shapes; /* [n_in + n_out] it was lowered for, data NULL; owned */
    bool lowered;
    void *state;
    size_t scratch_bytes;
    const char *kernel, *why;
    uint64_t skip_in;
    struct qn_child *children; /* [n_children] frames of its subgraphs, those that have run */
    int32_t n_children;
} qn_dynamic;

typedef struct qn_child {
    const qn_graph *graph;
    qn_frame *turn[2]; /* owned; NULL until it runs */
} qn_child;

struct qn_frame {
    qn_session *session;
    const qn_graph *graph;     /* lowered */
    int32_t n_inputs;          /* of the main graph: the model's ports; of a subgraph: its inputs, then its captures */
    const qn_value_id *inputs; /* [n_inputs] QN_NONE where the graph reads none; the model's, or own_inputs */
    qn_value_id *own_inputs;   /* owned, or NULL */
    qn_plan *plan;             /* one reference; NULL before the first run */
    int64_t rows;              /* operands are for this many; only if plan->capacity > 0 */
    uint64_t macs;             /* of the plan's steps that are not dynamic, for this many rows */
    qn_tensor *asked;          /* [n_inputs] shapes of the last run, data NULL */
    bool bound;                /* operands are right for plan, rows and arena */
    char *arena;
    size_t arena_cap;
    uint32_t n_small;    /* runs in a row that used less than a quarter of the arena */
    bool give_back;      /* enough of them: the next bind maps what its plan needs */
    qn_tensor *values;   /* [n_values of the graph] */
    qn_tensor *operands; /* [plan->n_operands] */
    int32_t cap_operands;
    struct qn_patch {
        int32_t operand;
        int32_t input;
    } * patches; /* operands in the caller's memory */
    int32_t n_patches, cap_patches;
    int32_t *input_values; /* [n_input_values] ids with home INPUT */
    int32_t n_input_values;
    /* values that are no tensors; NULL unless the plan has some */
    qn_items *items;              /* [n_values] what steps made; owned */
    const qn_items **items_given; /* [n_values] what to read: the caller's, or one of `items` */
    /* region boundaries */
    qn_slab *slabs;       /* [n_values], NULL until one is needed */
    qn_dynamic *dynamics; /* [plan->n_steps], NULL unless plan->dynamic */
    int32_t n_dynamics;
    char *scratch; /* of dynamic steps */
    size_t scratch_cap;
    int32_t step; /* running now */
};

struct qn_session {
    qn_model *model; /* one reference */
    qn_team *team;   /* the caller's */
    qn_meter meter;  /* arenas, slabs, scratch and boxes of all frames */
    qn_frame *main;
    qn_items *items_in; /* [n_inputs] of the model; what qn_session_set_items() left */
    bool *items_set;    /* [n_inputs] */
    /* of the run at hand */
    const qn_run_hooks *hooks;
    int64_t steps_left; /* of limits.loop_steps */
    uint64_t macs;      /* spent of limits.run_macs: by the plan of the main frame, dynamic steps, frames of subgraphs */
    uint64_t serial;    /* see qn_run */
};

/* -- frame.c -------------------------------------------------------------------------------------------------------------- */

/* A frame for graph with no plan yet. own: [n_inputs] on the heap, taken over, or NULL; then inputs is borrowed. */
qn_status qn_frame_create(qn_session *s, const qn_graph *graph, int32_t n_inputs, const qn_value_id *inputs, qn_value_id *own,
                          qn_frame **out, qn_error *err);
void qn_frame_destroy(qn_frame *f); /* NULL allowed */

/* True if the shapes are those of the last run and the frame is bound for them. */
bool qn_frame_same(const qn_frame *f, const qn_tensor *in);
/* The plan at hand serves these shapes with this many rows too. */
bool qn_frame_within(const qn_frame *f, const qn_tensor *in, int64_t rows);
/* Bind to p (takes over one reference; the plan at hand allowed) for `rows` rows of the shapes `in`. */
qn_status qn_frame_bind(qn_frame *f, qn_plan *p, const qn_tensor *in, int64_t rows, qn_error *err);
/* Run all steps. in [n_inputs], items [n_inputs] (entries NULL for tensors; NULL: no items at all). Bound for these shapes.
 * Afterwards qn_frame_output() reads what the graph gave, valid until the frame's next run. */
qn_status qn_frame_run(qn_frame *f, const qn_tensor *in, const qn_items *const *items, qn_error *err);
/* Output i: a tensor, or items (then the tensor has dtype NONE). An output that is an input was copied. */
void qn_frame_output(const qn_frame *f, int32_t i, qn_tensor *t, const qn_items **items);

/* The plan and memory for one run of a subgraph, then the run. */
qn_status qn_frame_run_sub(qn_frame *f, const qn_tensor *in, const qn_items *const *items, qn_error *err);

/* -- dynamic.c ------------------------------------------------------------------------------------------------------------ */

/* The slab of value id, at least bytes long. Fails with QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_frame_slab(qn_frame *f, qn_value_id id, size_t bytes, void **out, qn_error *err);
void qn_frame_drop_slabs(qn_frame *f);
void qn_frame_drop_dynamics(qn_frame *f);

/* sub.c: destroy the frames of subgraphs. */
void qn_dynamic_drop_children(qn_dynamic *d);

/* Infer, place, lower and run one dynamic step; its operands are filled in already. */
qn_status qn_frame_run_dynamic(qn_frame *f, int32_t step, qn_run *r, qn_error *err);

#endif
