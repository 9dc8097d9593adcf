/* quern/model.h - an ONNX file, read, checked and ready to run; and the sessions that run it.
 *
 *   file -> import -> canonical -> lowered  (once, at load)     -> plan (per shape, cached)  -> session (plan + arena)
 *
 * Threads: a qn_model is immutable after load and may be shared by any number of threads; ref/unref are atomic.
 *          A qn_session is used by one thread at a time; sessions of one model share weights and plans.
 * err:     NULL or the caller's own, in every function here. */
#ifndef QUERN_MODEL_H
#define QUERN_MODEL_H

#include "quern/cpu.h"
#include "quern/error.h"
#include "quern/team.h"
#include "quern/tensor.h"

typedef struct qn_store qn_store;     /* weight blobs by digest, shared by models */
typedef struct qn_model qn_model;     /* one version of a model: immutable, refcounted */
typedef struct qn_session qn_session; /* a model with room to run in: one thread at a time */

/* What a file may cost. Every field has a default (0 means the default). */
typedef struct qn_limits {
    uint64_t file_bytes;   /* the file as read, and a .zst after decompression; default 8 GiB */
    uint64_t weight_bytes; /* all initializers after decoding; default 8 GiB */
    uint64_t arena_bytes;  /* activations of one session; default 4 GiB */
    uint64_t plan_bytes;   /* cached plans of one model; default 64 MiB */
    int64_t n_nodes;       /* nodes, subgraphs included; default 100000 */
    int32_t depth;         /* nesting of protobuf messages and subgraphs; default 32 */
    int64_t loop_steps;    /* steps of subgraphs (If, Loop, Scan) in one run; default 5000000 */
    uint64_t run_macs;     /* multiply-adds of one run (elements moved, where an op has none); default 10^14: half an hour of one core */
} qn_limits;

typedef enum qn_bits {
    QN_BITS_EXACT = 0, /* Quern's own kernels: same bits on every instruction set, batch size and team */
    QN_BITS_FAST = 1,  /* may also use OpenBLAS, whose bits depend on the batch and on the CPU */
} qn_bits;

typedef struct qn_model_options {
    unsigned cpu; /* QN_CPU_* flags that plans may use; see qn_cpu_detect() */
    qn_bits bits;
    qn_limits limits;
    qn_store *store; /* where weights live; NULL: a store of this model's own */
    bool all_values; /* keep every value of the lowered graph readable after a run (no arena reuse) */
} qn_model_options;

typedef enum qn_port_kind {
    QN_PORT_TENSOR = 0,
    QN_PORT_SEQUENCE,          /* of tensors of dtype; rank and dims where all have them */
    QN_PORT_OPTIONAL,          /* a tensor or none */
    QN_PORT_OPTIONAL_SEQUENCE, /* a sequence or none */
} qn_port_kind;

/** One input or output as the file declares it. */
typedef struct qn_port {
    const char *name; /* UTF-8, owned by the model */
    qn_port_kind kind;
    qn_dtype dtype;
    int32_t rank;                     /* -1: the file does not say */
    int64_t dims[QN_MAX_RANK];        /* -1: not fixed */
    const char *symbols[QN_MAX_RANK]; /* name of a dimension that is not fixed, or NULL */
    bool optional;                    /* an input with a default (it is also an initializer), may be left out */
} qn_port;

/** A store for weights; refcounted. */
qn_status qn_store_create(qn_store **out, qn_error *err);
qn_store *qn_store_ref(qn_store *store);
void qn_store_unref(qn_store *store);
/** Bytes the store holds now, each blob counted once. */
uint64_t qn_store_bytes(const qn_store *store);

/** Read, check and lower `name` (model.onnx or model.onnx.zst by its ending) inside the folder dir_fd (AT_FDCWD allowed).
 *  The file is opened beneath dir_fd without following links, read, and never mapped; dir_fd stays the caller's.
 *  Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_FORMAT, QN_ERR_LIMIT, QN_ERR_UNSUPPORTED (names the op), QN_ERR_SHAPE,
 *  QN_ERR_DTYPE, QN_ERR_INVALID (names the node), QN_ERR_NOMEM; then nothing is left behind. */
qn_status qn_model_load(int dir_fd, const char *name, const qn_model_options *options, qn_model **out, qn_error *err);

qn_model *qn_model_ref(qn_model *model);
/** Drop a reference; the last one frees the model. NULL is allowed. */
void qn_model_unref(qn_model *model);

int32_t qn_model_n_inputs(const qn_model *model);
int32_t qn_model_n_outputs(const qn_model *model);
const qn_port *qn_model_input(const qn_model *model, int32_t i);
const qn_port *qn_model_output(const qn_model *model, int32_t i);

/** Metadata (metadata_props) of the file: the value for key, or NULL. Owned by the model. */
const char *qn_model_metadata(const qn_model *model, const char *key);

/** True if it is proved that output row r depends on row r of every input only, rows being dimension 0 of every input and output:
 *  requests may then share a batch. */
bool qn_model_rows_independent(const qn_model *model);

/** sha256 of the file as stored (compressed bytes of a .zst), lower-case hex, 64 characters. */
const char *qn_model_digest(const qn_model *model);

/** Bytes of weights this model refers to in the store. */
uint64_t qn_model_weight_bytes(const qn_model *model);

/** One line of `quern inspect`: a step of the plan for the model's default shapes. Strings are owned by the model. */
typedef struct qn_step_info {
    const char *node;   /* name of the node, or of its first output */
    const char *op;     /* "Conv", "QLinearConv", "quern.FusedConv" */
    const char *kernel; /* "f32_14x32__avx512"; "plain" where there is only one way */
    const char *why;    /* why not a better kernel, or "" */
    int64_t n_params;   /* weights it reads */
    uint64_t weight_bytes;
    uint64_t macs; /* multiply-adds of one run; 0 where sizes are known only when it runs */
} qn_step_info;

/** Plan with every free dimension set to `free_dim` (1 is usual) and report its steps.
 *  *steps is an array of *n the caller frees with free(); the strings in it live as long as the model. */
qn_status qn_model_steps(qn_model *model, int64_t free_dim, qn_step_info **steps, int32_t *n, qn_error *err);

/** What a run takes, from shapes alone: qn_limits refuses what is beyond them before anything is allocated. */
typedef struct qn_certificate {
    uint64_t macs;        /* multiply-adds, or elements moved where an op has none */
    uint64_t arena_bytes; /* working memory: activations and scratch */
    int32_t n_dynamic;    /* steps whose sizes depend on data, If, Loop and Scan among them: metered while they run, not counted here */
} qn_certificate;

/** The certificate with every free dimension set to `free_dim`. Fails with QN_ERR_LIMIT, or as qn_model_steps() does. */
qn_status qn_model_certify(qn_model *model, int64_t free_dim, qn_certificate *out, qn_error *err);

/** Counts for `quern inspect`: parameters (elements of initializers), bytes in the file and bytes as held, by form. */
typedef struct qn_model_stats {
    int64_t n_params, n_nodes_import, n_nodes_canonical, n_nodes_lowered;
    int64_t opset;         /* of ai.onnx */
    uint64_t file_bytes;   /* as stored */
    uint64_t import_bytes; /* initializers as written */
    uint64_t held_bytes;   /* in the store, for this model */
} qn_model_stats;
void qn_model_get_stats(const qn_model *model, qn_model_stats *out);

/** An op of the file and how many nodes (subgraphs left out) use it: "Conv", "com.example.Foo". Strings are owned by the model. */
typedef struct qn_op_count {
    const char *op;
    int64_t n_nodes;
} qn_op_count;
/** Ops as the file has them, most frequent first; *counts is an array of *n the caller frees with free(). Fails with QN_ERR_NOMEM. */
qn_status qn_model_op_counts(qn_model *model, qn_op_count **counts, int32_t *n, qn_error *err);

/* What happens around a step; set before a run, called on the running thread. */
typedef struct qn_run_hooks {
    bool (*cancelled)(void *user);                         /* asked between steps; NULL: never */
    void (*step)(void *user, int32_t step, bool finished); /* before and after each step; NULL: none */
    void *user;
} qn_run_hooks;

/** A session; team may be NULL (one thread) and stays the caller's. The session holds a reference to the model. */
qn_status qn_session_create(qn_model *model, qn_team *team, qn_session **out, qn_error *err);
void qn_session_destroy(qn_session *session);
/** Run on another team from now on; it must have the size of the first one (NULL counts as 1). */
void qn_session_set_team(qn_session *session, qn_team *team);

/** Run.
 *  inputs   [n_inputs] in the model's order; data == NULL and dtype QN_DTYPE_NONE leaves out an optional one. Borrowed for the call.
 *           dtype and shape are checked against the ports before anything runs.
 *  outputs  [n_outputs] filled with views into the session, valid until its next run or destroy.
 *  hooks    NULL or see above.
 *  The same shapes again allocate nothing in static regions.
 *  Fails with QN_ERR_DTYPE, QN_ERR_SHAPE, QN_ERR_RANGE, QN_ERR_LIMIT, QN_ERR_NOMEM, QN_ERR_CANCELLED, QN_ERR_INVALID. */
qn_status qn_session_run(qn_session *session, const qn_tensor *inputs, qn_tensor *outputs, const qn_run_hooks *hooks, qn_error *err);

/** Give input `input`, whose kind is no tensor, its elements for the runs that follow: copied. In qn_session_run() its place in `inputs`
 *  has dtype NONE. A sequence is always present; an optional that is not has no elements.
 *  Fails with QN_ERR_INVALID (no such input, a wrong number of elements), QN_ERR_DTYPE, QN_ERR_SHAPE, QN_ERR_RANGE, QN_ERR_LIMIT,
 *  QN_ERR_NOMEM; then the input is missing. */
qn_status qn_session_set_items(qn_session *session, int32_t input, bool present, const qn_tensor *elems, int64_t n, qn_error *err);
/** Elements of output `output`, whose kind is no tensor, after a run; then element i, a view valid as outputs are (NULL: there is none). */
qn_status qn_session_items(const qn_session *session, int32_t output, bool *present, int64_t *n, qn_error *err);
const qn_tensor *qn_session_item(const qn_session *session, int32_t output, int64_t i);

/** Number of values kept by `all_values`, and the i-th one after a run: its name in the file and its tensor (dtype NONE if it has
 *  none: a sequence, or in a branch not taken). */
int32_t qn_session_n_values(const qn_session *session);
void qn_session_value(const qn_session *session, int32_t i, const char **name, qn_tensor *out);

/** Name of a step of the plan that ran last, for profiles; step as in qn_run_hooks. Strings are owned by the session. */
void qn_session_step(const qn_session *session, int32_t step, qn_step_info *out);

/** Bytes of the session's arena and slabs now. */
uint64_t qn_session_bytes(const qn_session *session);

#endif
