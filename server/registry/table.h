/* server/registry/table.h - the table of models and its arrows, as the files of this room share them; private to it.
 *
 * Lock: registry.mu guards the table (models, their slots) and the queue of orders. It is never held across a load, a run or another
 *       lock; a lookup holds it for one search and one increment.
 * The loader thread is the only one that changes slots, so it may read them between two holds of the lock. */
#ifndef QUERN_SERVER_REGISTRY_TABLE_H
#define QUERN_SERVER_REGISTRY_TABLE_H

#include "server/registry/pins.h"
#include "server/registry/registry.h"
#include "server/registry/scan.h"
#include "server/registry/version.h"

/* One version number of one model. */
typedef struct qn_slot {
    int64_t number;
    qn_version_state state; /* FOUND, LOADING, READY, FAILED; after that the shell says DRAINING or GONE */
    qn_version *version;    /* READY: one ref. Else NULL */
    qn_version *shell;      /* of the version that was retired last, or NULL: one shell reference */
    qn_file_stamp stamp;    /* of the file `version` came from, or that failed */
    qn_file_stamp seen;     /* of the file at the last poll */
    bool chosen;            /* by the policy: may be served without a pin */
    char reason[192];
} qn_slot;

typedef enum qn_away { QN_AWAY_NO, QN_AWAY_UNLOADED, QN_AWAY_EVICTED } qn_away;

typedef struct qn_known_model {
    char *name;
    qn_slot *slots; /* [n] ascending by number */
    int32_t n, cap;
    qn_away away;             /* UNLOADED: by request, RELOAD leaves it alone; EVICTED: at the memory cap, until it is asked for */
    bool coming;              /* EVICTED: an order to load it waits */
    int64_t pin;              /* the version that is served, or 0: the highest that is chosen */
    qn_version_label *labels; /* [n_labels] in force */
    int32_t n_labels;
    uint64_t asked; /* registry.n_asked at the last lookup */
} qn_known_model;

typedef struct qn_waiting {
    qn_registry_order order; /* strings owned */
    qn_registry_done *done;
    void *user;
    struct qn_waiting *next;
} qn_waiting;

struct qn_registry {
    qn_registry_options opt;
    pthread_mutex_t mu;
    pthread_cond_t wake;    /* CLOCK_MONOTONIC */
    qn_known_model *models; /* [n_models] sorted by name */
    int32_t n_models, cap_models;
    qn_waiting *first, **last;
    int32_t n_waiting;
    bool stopping, scanned, started;
    uint64_t n_asked; /* lookups so far: the order in which models were asked for */
    uint64_t next_poll_us;
    pthread_t loader;
};

/* What an order has done so far. */
typedef struct qn_tally {
    qn_registry_report report;
    qn_error worst;
} qn_tally;

void qn_tally_fail(qn_tally *t, const qn_error *err);

/* -- table.c: all under mu, or on the loader thread ---------------------------------------------------------------------------------- */

qn_known_model *qn_table_find(const qn_registry *r, const char *name); /* NULL: none */
qn_known_model *qn_table_add(qn_registry *r, const char *name);        /* the one that is there, or a new one; NULL: no memory */
/* Take a model without READY versions out of the table and free it. Takes the lock itself. */
void qn_table_remove(qn_registry *r, qn_known_model *m);
qn_slot *qn_slot_find(const qn_known_model *m, int64_t number);
qn_slot *qn_slot_add(qn_known_model *m, int64_t number);
void qn_slot_remove(qn_known_model *m, qn_slot *s);
qn_slot *qn_slot_served(const qn_known_model *m);                                      /* what version 0 means; NULL: nothing now */
int64_t qn_label_version(const qn_version_label *labels, int32_t n, const char *name); /* 0: no such label */

/* -- sync.c: loader thread only ---------------------------------------------------------------------------------------------------- */

typedef enum qn_sync_mode {
    QN_SYNC_NAMED,  /* somebody asked for this model: what failed is tried again, others leave if there is no room */
    QN_SYNC_ASKED,  /* somebody asked for the whole folder: what failed is tried again */
    QN_SYNC_POLLED, /* just looking: what failed is left until it changes, what is new must be the same twice */
} qn_sync_mode;

/* A version that was loaded before its files stood in their place. */
typedef struct qn_preloaded {
    int64_t number;
    qn_version *version; /* taken when it is published */
} qn_preloaded;

/* Bring one model to what its folder says. pins NULL: those in the folder. pre may be NULL. */
void qn_sync_model(qn_registry *r, int model_fd, const char *name, qn_sync_mode mode, const qn_pins *pins, qn_preloaded *pre, qn_tally *t);
void qn_sync_all(qn_registry *r, qn_sync_mode mode, qn_tally *t);
void qn_sync_by_name(qn_registry *r, const char *name, qn_tally *t);
void qn_sync_unload(qn_registry *r, const char *name, qn_tally *t);
/* READY with the file that stands in the folder, or the error in *err. */
qn_status qn_sync_one(qn_registry *r, int model_fd, const char *name, const qn_scan_version *found, qn_tally *t, qn_error *err);
/* Retire everything and forget the model. */
void qn_sync_forget(qn_registry *r, qn_known_model *m, qn_tally *t);
uint64_t qn_registry_now_us(void);

/* -- lifecycle.c: loader thread only ----------------------------------------------------------------------------------------------- */

void qn_lifecycle_promote(qn_registry *r, const qn_registry_order *o, qn_tally *t);
void qn_lifecycle_rollback(qn_registry *r, const qn_registry_order *o, qn_tally *t);
void qn_lifecycle_install(qn_registry *r, const qn_registry_order *o, qn_tally *t);
void qn_lifecycle_remove(qn_registry *r, const qn_registry_order *o, qn_tally *t);
/* Remove what an earlier life left in <root>/.quern. */
void qn_lifecycle_sweep(qn_registry *r);

#endif
