/* server/registry/registry.h - name -> model -> versions: which loaded model a request means.
 *
 * A model version moves only along these arrows; [brackets] name the function in registry.c that moves it.
 *   FOUND --[version_load]--> LOADING --[version_publish]--> READY --[version_retire]--> DRAINING
 *                                |                                                          |
 *                         [version_fail]                                      [qn_version_unref, last]
 *                                v                                                          v
 *                             FAILED                                                      GONE
 *   FOUND     seen in the folder, nothing read yet
 *   LOADING   the loader thread owns it; lookups cannot see it
 *   READY     lookups may ref it; each request in flight holds one ref
 *   DRAINING  no new refs; whoever drops the last one frees it
 *   FAILED    keeps its error for the index route; an older READY version goes on serving
 * Invariant: on a reload the newer version is READY before the older drains: a served name never goes dark.
 *
 * The folder: <root>/<name>/<integer>/model.onnx or model.onnx.zst; the highest integer that loads is served, the one before it only
 * until then. Optional <root>/<name>/quern.yaml: see server/config. Names match ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ without "..".
 *
 * Threads: every function may be called from any thread. Loading happens on one loader thread of low priority; the asynchronous calls
 * return at once and call `done` on that thread. */
#ifndef QUERN_SERVER_REGISTRY_H
#define QUERN_SERVER_REGISTRY_H

#include "quern/model.h"

typedef struct qn_registry qn_registry;
typedef struct qn_version qn_version;
struct qn_queue; /* server/batcher: one per version */

typedef enum qn_version_state {
    QN_VERSION_FOUND,
    QN_VERSION_LOADING,
    QN_VERSION_READY,
    QN_VERSION_DRAINING,
    QN_VERSION_FAILED,
    QN_VERSION_GONE,
} qn_version_state;

/* Per-model settings: the defaults of config/quern.yaml, overridden by the model's own quern.yaml. */
typedef struct qn_model_settings {
    int32_t max_batch_rows;     /* 1..65536; 1: never join requests */
    int64_t max_queue_delay_us; /* 0..10 s: how long an idle worker may wait for more rows; default 0 */
    int32_t max_queued;         /* 1..1000000 requests waiting; beyond it 503 */
    qn_bits bits;               /* exact, or fast (OpenBLAS allowed) */
    int batching;               /* -1: only if rows are proved independent; 0: never; 1: the operator vouches for it */
    int priority;               /* qn_priority of calls that name none: 0 high, 1 normal, 2 low */
    char **labels;              /* [n_labels] class names for people, or NULL; owned by the version */
    int32_t n_labels;
} qn_model_settings;

/* Reads <model dir>/quern.yaml over the defaults in *settings. dir_fd is the model's folder. Supplied by server/config so that the
 * registry knows no YAML. A missing file is QN_OK and changes nothing. */
typedef qn_status qn_settings_reader(int dir_fd, qn_model_settings *settings, qn_error *err);

typedef struct qn_registry_options {
    int root_fd;  /* folder of models, borrowed for the registry's life; AT_FDCWD is not allowed */
    unsigned cpu; /* QN_CPU_* */
    qn_limits limits;
    qn_store *store;            /* shared by all models; a reference is taken */
    qn_model_settings defaults; /* labels NULL */
    qn_settings_reader *read_settings;
    int n_workers; /* sessions a version may need at once */
    /* called when a version leaves LOADING, for metrics and logs; may be NULL */
    void (*on_load)(void *user, const char *model, int64_t version, qn_status status, const char *message, uint64_t load_us);
    void *user;
} qn_registry_options;

qn_status qn_registry_create(const qn_registry_options *options, qn_registry **out, qn_error *err);
/* Stop the loader, retire every version; they are freed by their last unref. NULL allowed. */
void qn_registry_destroy(qn_registry *registry);

typedef enum qn_registry_action {
    QN_REGISTRY_RELOAD, /* read the folder again: load new models and versions, reload changed files, retire what is gone */
    QN_REGISTRY_LOAD,   /* load (or load again if the file changed) one model by name */
    QN_REGISTRY_UNLOAD, /* retire all versions of one model; it stays unloaded through RELOAD until LOAD names it again */
} qn_registry_action;

/* What an action did. Strings are valid during `done` only. */
typedef struct qn_registry_report {
    qn_status status;    /* worst */
    const char *message; /* for the worst */
    int32_t n_loaded, n_failed, n_retired, n_unchanged;
} qn_registry_report;
typedef void qn_registry_done(void *user, const qn_registry_report *report);

/* Queue an action for the loader thread. Fails with QN_ERR_INVALID (bad name), QN_ERR_NOMEM, QN_ERR_UNAVAILABLE (shutting down, or more
 * than 1000 actions wait); else `done` is called exactly once. An unknown name reports QN_ERR_NOT_FOUND through done. */
qn_status qn_registry_submit(qn_registry *registry, qn_registry_action action, const char *name, qn_registry_done *done, void *user,
                             qn_error *err);

/* The version a request means: version 0 is the served one. Takes a reference.
 * Fails with QN_ERR_NOT_FOUND (names model or version, says what exists), QN_ERR_UNAVAILABLE (known, but not READY now). */
qn_status qn_registry_lookup(qn_registry *registry, const char *name, int64_t version, qn_version **out, qn_error *err);

qn_version *qn_version_ref(qn_version *v);
void qn_version_unref(qn_version *v);             /* NULL allowed */
qn_model *qn_version_model(const qn_version *v);  /* borrowed while the reference is held */
const char *qn_version_name(const qn_version *v); /* of the model */
int64_t qn_version_number(const qn_version *v);
const qn_model_settings *qn_version_settings(const qn_version *v);
struct qn_queue *qn_version_queue(const qn_version *v);

/* A session of this version for one run by the calling worker's team (NULL: one thread; every team has the same size), made on first use
 * and kept (at most n_workers); give it back after the run. */
qn_status qn_version_acquire_session(qn_version *v, qn_team *team, qn_session **out, qn_error *err);
void qn_version_release_session(qn_version *v, qn_session *session);

/* One row of the index. Strings are valid during the call only. */
typedef struct qn_index_entry {
    const char *model;
    int64_t version; /* 0: a folder without any version */
    qn_version_state state;
    bool served;        /* the one that version 0 means */
    const char *reason; /* "" or why it is not READY ("unloaded", the load error) */
    uint64_t weight_bytes;
} qn_index_entry;
/* Every known version, by model name and ascending version, under the registry's lock: `visit` must not call back into it. */
void qn_registry_index(qn_registry *registry, void (*visit)(void *user, const qn_index_entry *e), void *user);

/* True once the first RELOAD is done and every model in the folder that is not unloaded has a READY version. */
bool qn_registry_ready(qn_registry *registry);

#endif
