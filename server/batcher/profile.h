/* server/batcher/profile.h - where the next runs of a version spend their time, node by node, while it serves.
 *
 * Asking arms a count of runs; workers take the time of every step of those and add them up by (node, op, kernel), since plans for other
 * shapes number their steps differently. Other runs pay one look at a flag. What was gathered stays until the next start.
 * Threads: a qn_profile has a lock of its own, innermost. */
#ifndef QUERN_SERVER_BATCHER_PROFILE_H
#define QUERN_SERVER_BATCHER_PROFILE_H

#include "quern/model.h"

#include <pthread.h>
#include <stdatomic.h>

#define QN_PROFILE_MAX_RUNS 1000000

typedef struct qn_profile_row {
    char *node, *op, *kernel; /* owned by the profile */
    uint64_t ns, n;           /* summed over n executions */
} qn_profile_row;

typedef struct qn_profile {
    pthread_mutex_t mu;
    atomic_llong wanted; /* runs that are still to be watched */
    int64_t asked, n_runs, n_rows;
    uint64_t ns; /* of the runs, with what is between the steps */
    qn_profile_row *rows;
    int32_t n, cap;
} qn_profile;

void qn_profile_init(qn_profile *p);
void qn_profile_release(qn_profile *p);

/* Forget what was gathered and watch the next `runs` runs, 1..QN_PROFILE_MAX_RUNS. */
void qn_profile_start(qn_profile *p, int64_t runs);

/* One worker's watch over one run: use as hooks of qn_session_run(). */
typedef struct qn_profile_watch {
    uint64_t *ns; /* [cap] by step */
    int32_t cap, n;
    uint64_t step_began, began;
    bool failed; /* no memory: this run is not counted */
} qn_profile_watch;

/* True if the coming run is one to watch. */
bool qn_profile_take(qn_profile *p, qn_profile_watch *w);
void qn_profile_step(qn_profile_watch *w, int32_t step, bool finished);
/* The run is over; if it went well its times are added. */
void qn_profile_add(qn_profile *p, qn_profile_watch *w, const qn_session *session, int64_t rows, bool good);
void qn_profile_watch_release(qn_profile_watch *w);

/* A copy of the rows, slowest first, and the totals; the caller frees *rows with qn_profile_rows_free(). */
typedef struct qn_profile_sum {
    int64_t asked, n_runs, n_rows;
    uint64_t ns;
    qn_profile_row *rows;
    int32_t n;
} qn_profile_sum;
qn_status qn_profile_read(qn_profile *p, qn_profile_sum *out, qn_error *err);
void qn_profile_rows_free(qn_profile_row *rows, int32_t n);

#endif
