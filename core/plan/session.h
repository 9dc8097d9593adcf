/* core/plan/session.h - what a qn_session is made of. Private to core/plan.
 *
 * A session is bound to a plan and a number of rows: every operand of every step is then a finished qn_tensor, and a run is a walk over the
 * steps. Another number of rows within the plan's capacity rewrites the operands; another shape fetches another plan.
 * Slabs hold what the plan could not size. A slab belongs to one value, stays between runs and counts against limits.arena_bytes. */
#ifndef QUERN_PLAN_SESSION_H
#define QUERN_PLAN_SESSION_H

#include "core/plan/model.h"

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
} qn_dynamic;

struct qn_session {
    qn_model *model;  /* one reference */
    qn_team *team;    /* the caller's */
    qn_plan *plan;    /* one reference; NULL before the first run */
    int64_t rows;     /* operands are for this many; only if plan->capacity > 0 */
    qn_tensor *asked; /* [n_inputs] shapes of the last run, data NULL */
    bool bound;       /* operands are right for plan, rows and arena */
    char *arena;
    size_t arena_cap;
    uint32_t n_small;    /* runs in a row that used less than a quarter of the arena */
    bool give_back;      /* enough of them: the next bind maps what its plan needs */
    qn_tensor *values;   /* [n_values of the lowered graph] */
    qn_tensor *operands; /* [plan->n_operands] */
    int32_t cap_operands;
    struct qn_patch {
        int32_t operand;
        int32_t input;
    } * patches; /* operands in the caller's memory */
    int32_t n_patches, cap_patches;
    int32_t *input_values; /* [n_input_values] ids with home INPUT */
    int32_t n_input_values;
    /* region boundaries */
    qn_slab *slabs; /* [n_values], NULL until one is needed */
    uint64_t slab_bytes;
    qn_dynamic *dynamics; /* [plan->n_steps], NULL unless plan->dynamic */
    int32_t n_dynamics;
    char *scratch; /* of dynamic steps */
    size_t scratch_cap;
    int32_t step; /* running now */
};

/* The slab of value id, at least bytes long. Fails with QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_session_slab(qn_session *s, qn_value_id id, size_t bytes, void **out, qn_error *err);
void qn_session_drop_slabs(qn_session *s);
void qn_session_drop_dynamics(qn_session *s);

/* Infer, place, lower and run one dynamic step; its operands are filled in already. */
qn_status qn_session_run_dynamic(qn_session *s, int32_t step, qn_run *r, qn_error *err);

#endif
