/* server/batcher/batcher.h - joins waiting calls for one model version into one run.
 *
 * A qn_call is one prediction from parsed to answered. Its owner fills it, submits it, and gets it back exactly once through `done`,
 * on a worker thread (or on the submitting thread if submit fails: then done is not called).
 *   owner --[qn_batcher_submit]--> WAITING --[batch_form]--> RUNNING --[batch_scatter]--> done
 *                                     |--[deadline, cancel, shutdown]--------------------> done
 * Work-conserving: an idle worker takes what is there at once (max_queue_delay_us 0), up to max_batch_rows rows of one shape bucket
 * (same dtypes and dims but for dimension 0). Calls of another shape go on waiting for their own batch; they never close one.
 * Fairness: models and priority classes share the workers' time, measured in microseconds of runs (fair.h).
 * Admission: a call that would be answered after its deadline, by the runs seen so far (cost.h), is refused when it comes. A batch is not
 * joined by calls that would make it end after the deadline of one in it, and what could not end in time any more is dropped unrun.
 * A failed batch is halved and run again, so that one bad row never fails its neighbours.
 * Threads: any thread may submit; the call belongs to the batcher until done. */
#ifndef QUERN_SERVER_BATCHER_H
#define QUERN_SERVER_BATCHER_H

#include "server/registry/registry.h"

#include <stdatomic.h>

typedef struct qn_batcher qn_batcher;
typedef struct qn_queue qn_queue;
typedef struct qn_call qn_call;

/* Classes of calls; while both wait, one gets four times the time of the next. */
typedef enum qn_priority {
    QN_PRIORITY_HIGH,
    QN_PRIORITY_NORMAL,
    QN_PRIORITY_LOW,
    QN_PRIORITY_COUNT,
} qn_priority;

/* Why a call was not taken. */
typedef enum qn_refused {
    QN_REFUSED_NOT,
    QN_REFUSED_FULL,     /* max_queued */
    QN_REFUSED_BYTES,    /* max_bytes */
    QN_REFUSED_DEADLINE, /* it could not be answered by then */
    QN_REFUSED_STOPPING,
} qn_refused;

/* Why a batch ran when it did. */
typedef enum qn_left {
    QN_LEFT_FULL,    /* max_batch_rows, or the next call would not have fitted */
    QN_LEFT_DRAINED, /* nothing else waited that could have joined */
    QN_LEFT_DELAY,   /* it had waited max_queue_delay_us for more */
    QN_LEFT_ALONE,   /* calls of this model are not joined */
} qn_left;

struct qn_call {
    /* filled by the owner before submit */
    qn_version *version;     /* one reference, the owner's */
    const qn_tensor *inputs; /* [n_inputs of the model], model order, owner's memory; checked against the ports already */
    int64_t rows;            /* dimension 0 of every input, or 1 when the model has no batch */
    qn_priority priority;
    uint64_t deadline_us;  /* CLOCK_MONOTONIC; 0: none. Passed while waiting or between nodes: QN_ERR_DEADLINE */
    atomic_bool cancelled; /* set from any thread: QN_ERR_CANCELLED at the next look */
    void (*done)(qn_call *call);
    void *user;
    /* filled by the batcher before done */
    qn_status status;
    qn_refused refused; /* when qn_batcher_submit() fails with QN_ERR_UNAVAILABLE */
    qn_error err;
    qn_tensor *outputs; /* [n_outputs] the call's own rows, owned by the call: qn_call_release() */
    int32_t n_outputs;
    uint64_t queued_us, started_us, finished_us; /* CLOCK_MONOTONIC */
    uint64_t predicted_us;                       /* when it should be answered, before any margin; 0: not predicted */
    int64_t batch_rows;                          /* rows of the run that answered it */
    /* the batcher's while it holds the call */
    qn_call *next;
};

/* Free outputs. The version reference stays the owner's. */
void qn_call_release(qn_call *call);

typedef struct qn_batcher_options {
    int n_workers;      /* threads that run batches, 1..256 */
    int team_size;      /* threads that share one big op, 1..256; 1: no teams */
    uint64_t max_bytes; /* input bytes of all waiting calls; beyond it QN_ERR_UNAVAILABLE; 0: none */
    /* observation hooks; may be NULL; called without locks */
    void (*on_batch)(void *user, qn_version *v, int64_t rows, int32_t n_calls, uint64_t run_us, qn_left left);
    void *user;
} qn_batcher_options;

qn_status qn_batcher_create(const qn_batcher_options *options, qn_batcher **out, qn_error *err);
/* Every waiting call is answered QN_ERR_UNAVAILABLE, running ones finish; then the workers are joined. NULL allowed. */
void qn_batcher_destroy(qn_batcher *batcher);

/* Fails with QN_ERR_UNAVAILABLE (max_queued or max_bytes reached, no chance to meet the deadline, or shutting down), QN_ERR_DEADLINE
 * (already passed). */
qn_status qn_batcher_submit(qn_batcher *batcher, qn_call *call, qn_error *err);

/* A version's queue, made by the registry with the version and destroyed with it (then it is empty). */
qn_status qn_queue_create(qn_queue **out, qn_error *err);
void qn_queue_destroy(qn_queue *queue);

/* What its next runs spend their time on: see profile.h. Owned by the queue. */
struct qn_profile *qn_queue_profile(qn_queue *queue);

typedef struct qn_queue_stats {
    int64_t waiting;                                                  /* calls now */
    uint64_t oldest_us;                                               /* since when the first of them waits, CLOCK_MONOTONIC; 0: none */
    uint64_t n_success, n_failed, n_rejected, n_cancelled, n_expired; /* calls, cumulative */
    uint64_t n_rows, n_batches;                                       /* rows answered, runs */
    uint64_t queue_us, run_us;                                        /* summed over calls, over runs */
    uint64_t gather_us, scatter_us; /* of runs that ended well: joining the inputs before, handing out the outputs after */
    uint64_t last_ms;               /* when the last one ended, since the epoch; 0: none */
} qn_queue_stats;
void qn_queue_get_stats(qn_queue *queue, qn_queue_stats *out);

#define QN_RUN_SIZES 64
/* Runs of one number of rows that ended well. */
typedef struct qn_run_size {
    int64_t rows;
    uint64_t n_runs, gather_us, run_us, scatter_us;
} qn_run_size;
/* By ascending rows, the first QN_RUN_SIZES sizes that occurred: later ones are in the totals only. Returns how many. */
int32_t qn_queue_get_sizes(qn_queue *queue, qn_run_size out[QN_RUN_SIZES]);

#endif
