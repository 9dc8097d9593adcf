/* core/plan/model.h - what a qn_model is made of. Private to core/plan. */
#ifndef QUERN_PLAN_MODEL_H
#define QUERN_PLAN_MODEL_H

#include "core/onnx/import.h"
#include "core/plan/plan.h"
#include "quern/model.h"

#include <pthread.h>

/* Plans by key, most recently used first. */
typedef struct qn_plan_cache {
    pthread_mutex_t mu; /* guards all below and the links of the plans; nothing is locked inside it */
    qn_plan *newest, *oldest;
    uint64_t bytes, limit_bytes;
} qn_plan_cache;

struct qn_model {
    atomic_int refs;
    unsigned cpu;
    qn_bits bits;
    qn_limits limits; /* no field is 0 */
    bool all_values;
    qn_store *store;                        /* one reference */
    qn_graph *import, *canonical, *lowered; /* owned; read-only after load */
    qn_onnx_info info;
    char digest[65];
    qn_arena arena; /* ports and the lists below */
    qn_port *inputs, *outputs;
    int32_t n_inputs, n_outputs;
    qn_value_id *input_values; /* [n_inputs] in the lowered graph, QN_NONE where it reads none */
    int32_t *symbol_home; /* [n_inputs * QN_MAX_RANK] first place of the dimension's symbol, as input * QN_MAX_RANK + axis; -1: no symbol */
    qn_weight **input_default; /* [n_inputs] of an optional port, borrowed from the import graph; else NULL */
    qn_value_id *kept;         /* [n_kept] values to show after a run, all_values only */
    int32_t n_kept;
    bool has_items; /* some port is no tensor */
    bool rows_independent;
    atomic_bool batch_free; /* false once a plan was found that only numbers settle */
    qn_plan_cache cache;
    /* strings given out by qn_model_steps() */
    pthread_mutex_t strings_mu; /* guards the four below */
    qn_arena strings;
    const char **texts; /* [n_texts] in strings, each text once; owned */
    int32_t n_texts;
    qn_map text_index;
};

/* Fill in ports, defaults and the list of kept values from the three graphs. Fails with QN_ERR_NOMEM, QN_ERR_UNSUPPORTED. */
qn_status qn_model_make_ports(qn_model *m, qn_error *err);

/* Check dtype and shape of inputs against the ports; *rows is the batch, or -1 if it is not free. */
qn_status qn_model_check_inputs(const qn_model *m, const qn_tensor *inputs, int64_t *rows, qn_error *err);

/* The plan for these shapes (data is not looked at), one reference for the caller, from the cache or new. */
qn_status qn_model_plan(qn_model *m, const qn_tensor *shapes, int64_t rows, int team_size, qn_plan **out, qn_error *err);

/* The same for a subgraph of the lowered graph: exact shapes of its inputs and captures, values `ids`; dtype NONE for what is no tensor. */
qn_status qn_model_plan_sub(qn_model *m, const qn_graph *g, int32_t n, const qn_value_id *ids, const qn_tensor *shapes, int team_size,
                            qn_plan **out, qn_error *err);

/* Shapes of the ports with every free dimension set to free_dim. False if a rank is not known. */
bool qn_model_default_shapes(const qn_model *m, int64_t free_dim, qn_tensor *shapes);

void qn_plan_cache_init(qn_plan_cache *c, uint64_t limit_bytes);
void qn_plan_cache_release(qn_plan_cache *c);
/* A reference to the plan for key, or NULL. */
qn_plan *qn_plan_cache_find(qn_plan_cache *c, const qn_plan_key *key);
/* Put p in, unless an equal one came first; returns the one that is in the cache, with a reference for the caller; takes over the caller's
 * reference to p. */
qn_plan *qn_plan_cache_add(qn_plan_cache *c, qn_plan *p);

#endif
