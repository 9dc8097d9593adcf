/* server/registry/registry.h - name -> model -> versions: which loaded model a request means.
 *
 * A model version moves only along these arrows; [brackets] name the function in sync.c that moves it.
 *   FOUND --[load_version]--> LOADING --[version_publish]--> READY --[slot_retire]--> DRAINING
 *                                |                                                       |
 *                         [version_fail]                                   [qn_version_unref, last]
 *                                v                                                       v
 *                             FAILED                                                   GONE
 *   FOUND     seen in the folder, nothing read yet
 *   LOADING   the loader thread owns it; lookups cannot see it
 *   READY     lookups may ref it; each request in flight holds one ref
 *   DRAINING  no new refs; whoever drops the last one frees it
 *   FAILED    keeps its error for the index route; an older READY version goes on serving
 * Invariant: on a reload the newer version is READY before the older drains: a served name never goes dark.
 *
 * The folder   <root>/<name>/<integer>/model.onnx or model.onnx.zst
 *              <root>/<name>/<integer>/known_answer.json  optional: answers that must come out before the version is served
 *              <root>/<name>/quern.yaml                   optional: settings, see server/config
 *              <root>/<name>/pins.json                    what promote and rollback decided, see pins.h
 *              <root>/.quern/                             uploads on their way in, versions on their way out
 * Served is the pinned version, else the highest of those that the policy in quern.yaml names and that load.
 * Names match ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ without "..".
 *
 * Threads: every function may be called from any thread. Loading happens on one loader thread of low priority; the asynchronous calls
 * return at once and call `done` on that thread. */
#ifndef QUERN_SERVER_REGISTRY_H
#define QUERN_SERVER_REGISTRY_H

#include "quern/model.h"

typedef struct qn_registry qn_registry;
typedef struct qn_version qn_version;
struct qn_queue; /* server/batcher: one per version */

/* ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ and no "..": names of models and labels. */
bool qn_model_name_valid(const char *name);

typedef enum qn_version_state {
    QN_VERSION_FOUND,
    QN_VERSION_LOADING,
    QN_VERSION_READY,
    QN_VERSION_DRAINING,
    QN_VERSION_FAILED,
    QN_VERSION_GONE,
} qn_version_state;

/* Which versions of a model are loaded. The highest of them is served unless a pin says otherwise (pins.h). */
typedef enum qn_version_rule { QN_VERSIONS_LATEST, QN_VERSIONS_ALL, QN_VERSIONS_SPECIFIC } qn_version_rule;

typedef struct qn_version_label {
    char *name; /* like a model's name */
    int64_t version;
} qn_version_label;

/* All zeros: the highest one. Arrays are owned. */
typedef struct qn_version_policy {
    qn_version_rule rule;
    int32_t n_latest; /* LATEST: how many of the highest that load; 0 means 1 */
    int64_t *numbers; /* SPECIFIC: [n_numbers] */
    int32_t n_numbers;
    qn_version_label *labels; /* [n_labels] */
    int32_t n_labels;
} qn_version_policy;

/* An input that may be filled up along dimension 1, and with what. */
typedef struct qn_padded_input {
    char *name;
    double value;
} qn_padded_input;

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
    qn_version_policy versions;
    qn_padded_input *paddings; /* [n_paddings] owned */
    int32_t n_paddings;
    int64_t padding_multiple;
    bool no_warm_up;   /* do not run over zeros before a version is served */
    bool unload_first; /* at the memory cap: go dark for the time of a load rather than refuse it */
} qn_model_settings;

void qn_version_labels_release(qn_version_label *labels, int32_t n);
void qn_version_policy_release(qn_version_policy *p);
/* Frees what the settings own and leaves them empty. */
void qn_model_settings_release(qn_model_settings *s);

/* Reads <model dir>/quern.yaml over the defaults in *settings. dir_fd is the model's folder. Supplied by server/config so that the
 * registry knows no YAML. A missing file is QN_OK and changes nothing. */
typedef qn_status qn_settings_reader(int dir_fd, qn_model_settings *settings, qn_error *err);

/* Run the known answers of a version, `name` beneath dir_fd, which holds tensors as the protocols write them. Supplied by server/codec's
 * side so that the registry knows no JSON of tensors. A missing file is QN_OK with *n_checked 0.
 * Fails with QN_ERR_CONFLICT (an answer differs: says which and by how much), or as reading and running do. */
typedef qn_status qn_answer_checker(int dir_fd, const char *name, const qn_model *model, qn_session *session, int32_t *n_checked,
                                    qn_error *err);

typedef struct qn_registry_options {
    int root_fd;  /* folder of models, borrowed for the registry's life; AT_FDCWD is not allowed */
    unsigned cpu; /* QN_CPU_* */
    qn_limits limits;
    qn_store *store;            /* shared by all models; a reference is taken */
    qn_model_settings defaults; /* labels NULL */
    qn_settings_reader *read_settings;
    qn_answer_checker *check_answer; /* NULL: known answers are not looked at */
    int n_workers;                   /* sessions a version may need at once */
    uint64_t poll_us;                /* look at the folder this often; 0: only when asked to */
    uint64_t memory_bytes;           /* weights of all READY versions; 0: no cap */
    /* called when a version leaves LOADING, for metrics and logs; may be NULL */
    void (*on_load)(void *user, const char *model, int64_t version, qn_status status, const char *message, uint64_t load_us);
    /* called when a model leaves because of memory_bytes; may be NULL */
    void (*on_evict)(void *user, const char *model, uint64_t bytes);
    void *user;
} qn_registry_options;

qn_status qn_registry_create(const qn_registry_options *options, qn_registry **out, qn_error *err);
/* Stop the loader, retire every version; they are freed by their last unref. NULL allowed. */
void qn_registry_destroy(qn_registry *registry);

typedef enum qn_registry_action {
    QN_REGISTRY_RELOAD,  /* read the folder again: load new models and versions, reload changed files, retire what is gone */
    QN_REGISTRY_LOAD,    /* load (or load again if the file changed) one model by name */
    QN_REGISTRY_UNLOAD,  /* retire all versions of one model; it stays unloaded through RELOAD until LOAD names it again */
    QN_REGISTRY_PROMOTE, /* serve this version, durably, whatever stands beside it; version 0: what the policy says. With a label: move it */
    QN_REGISTRY_ROLLBACK, /* serve what was served before, durably */
    QN_REGISTRY_INSTALL,  /* a staged folder becomes this version, if it loads and answers */
    QN_REGISTRY_REMOVE,   /* delete the files of a version that nobody means */
} qn_registry_action;

typedef struct qn_registry_order {
    qn_registry_action action;
    const char *name;   /* of the model; NULL for RELOAD */
    int64_t version;    /* PROMOTE, INSTALL, REMOVE */
    const char *label;  /* PROMOTE: NULL for the served version; with version 0 the label is taken away */
    const char *staged; /* INSTALL: from qn_registry_stage(); gone when `done` is called, whatever came of it */
} qn_registry_order;

/* What an action did. Strings are valid during `done` only. */
typedef struct qn_registry_report {
    qn_status status;    /* worst */
    const char *message; /* for the worst */
    int32_t n_loaded, n_failed, n_retired, n_unchanged;
    int64_t served, before; /* of the named model: the served version now and when the action began; 0: none */
    bool ready;             /* INSTALL: the policy wants the new version, and it is READY */
} qn_registry_report;
typedef void qn_registry_done(void *user, const qn_registry_report *report);

/* Queue an action for the loader thread. Fails with QN_ERR_INVALID (bad name), QN_ERR_NOMEM, QN_ERR_UNAVAILABLE (shutting down, or more
 * than 1000 actions wait); else `done` is called exactly once. An unknown name reports QN_ERR_NOT_FOUND through done; QN_ERR_CONFLICT is
 * a version that is there already, or one that must not go. Strings are copied. */
qn_status qn_registry_order_submit(qn_registry *registry, const qn_registry_order *order, qn_registry_done *done, void *user,
                                   qn_error *err);
/* The same for actions that take a name at most. */
qn_status qn_registry_submit(qn_registry *registry, qn_registry_action action, const char *name, qn_registry_done *done, void *user,
                             qn_error *err);

#define QN_STAGED_NAME 40
/* An empty folder for the files of a version that is on its way in: <root>/.quern/<name>. *fd is the caller's to close, after the order
 * that installs it is done or qn_registry_unstage(): the descriptor holds a lock by which the next start tells leftovers.
 * Fails with QN_ERR_IO (disk full and read-only say so), QN_ERR_NOMEM. */
qn_status qn_registry_stage(qn_registry *registry, char name[QN_STAGED_NAME], int *fd, qn_error *err);
/* Remove a staged folder that will not be installed. */
void qn_registry_unstage(qn_registry *registry, const char *name);

/* The version a request means: version 0 is the served one. Takes a reference.
 * Fails with QN_ERR_NOT_FOUND (names model or version, says what exists), QN_ERR_UNAVAILABLE (known, but not READY now). */
qn_status qn_registry_lookup(qn_registry *registry, const char *name, int64_t version, qn_version **out, qn_error *err);
/* The same for who only looks around: it does not count as asking for the model. */
qn_status qn_registry_peek(qn_registry *registry, const char *name, int64_t version, qn_version **out, qn_error *err);
/* The version that bears a label. */
qn_status qn_registry_lookup_label(qn_registry *registry, const char *name, const char *label, qn_version **out, qn_error *err);

qn_version *qn_version_ref(qn_version *v);
void qn_version_unref(qn_version *v);             /* NULL allowed */
qn_model *qn_version_model(const qn_version *v);  /* borrowed while the reference is held */
const char *qn_version_name(const qn_version *v); /* of the model */
int64_t qn_version_number(const qn_version *v);
const qn_model_settings *qn_version_settings(const qn_version *v);
struct qn_queue *qn_version_queue(const qn_version *v);
struct qn_padding;
const struct qn_padding *qn_version_padding(const qn_version *v); /* NULL: none was declared */

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
    bool pinned;        /* by promote or rollback */
    const char *reason; /* "" or why it is not READY ("unloaded", the load error) */
    uint64_t weight_bytes;
} qn_index_entry;
/* Every known version, by model name and ascending version, under the registry's lock: `visit` must not call back into it. */
void qn_registry_index(qn_registry *registry, void (*visit)(void *user, const qn_index_entry *e), void *user);

/* The labels of one model. Under the lock, like qn_registry_index(). */
void qn_registry_labels(qn_registry *registry, const char *name, void (*visit)(void *user, const char *label, int64_t version), void *user);

/* True once the first RELOAD is done and no model that should be loaded lacks a version to serve. A model whose first version is just on
 * its way in, or that left because of memory_bytes, does not count. */
bool qn_registry_ready(qn_registry *registry);

#endif
