/* server/batcher/batcher.c - queues, the turn of each version, and the workers that run batches.
 *
 * One mutex guards everything that waits: the lanes, their lists and their counters, and what runs cost. It is held for list
 * surgery only, never across a run, a copy of tensors, a callback or another lock. With batches of small models the run takes tens of
 * microseconds and the surgery well under one, so one lock is enough for the workers of one machine.
 *
 *   batch_form     under the lock: take the first call of the lane whose turn it is, then every call behind it in the same bucket
 *   batch_run      gather rows -> qn_session_run -> scatter rows; on failure halve and run again
 *   batch_scatter  copy each call's rows out and call done */
#include "server/batcher/batcher.h"

#include "quern/checked.h"
#include "server/batcher/cost.h"
#include "server/batcher/fair.h"
#include "server/batcher/profile.h"
#include "server/batcher/rows.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAKE_US 100    /* a run so short is not worth another worker */
#define LOOK_US 1000   /* for so long at most a wrong prediction keeps a call from an idle worker */
#define CALM_US 100000 /* nothing to do for so long: idle workers stop looking */

struct qn_queue {
    qn_lane lanes[QN_PRIORITY_COUNT];
    qn_cost cost;
    qn_profile profile;
    int64_t n_waiting; /* calls in all lanes */
    qn_queue_stats stats;
    qn_run_size sizes[QN_RUN_SIZES];
    int32_t n_sizes;
    pthread_mutex_t stats_mu; /* guards stats and sizes; innermost */
};

typedef struct qn_worker {
    pthread_t thread;
    qn_batcher *batcher;
    qn_team *team; /* NULL: one thread */
    void *gather;  /* input rows of a batch, grown on demand */
    size_t gather_bytes;
    qn_profile_watch watch;
    uint64_t busy_until_us; /* guarded by the batcher's mutex: when its run should end; 0: it has none */
    bool started;
} qn_worker;

struct qn_batcher {
    qn_batcher_options opt;
    pthread_mutex_t mu;  /* guards fair, every queue's lanes and cost, waiting_bytes, idle, stopping */
    pthread_cond_t wake; /* CLOCK_MONOTONIC */
    qn_fair fair;
    uint64_t waiting_bytes;
    int idle, active;   /* workers that wait, and that have taken something */
    int looking;        /* of the idle ones: those that look again every LOOK_US */
    uint64_t worked_us; /* when a worker took something last */
    bool stopping;
    qn_worker *workers; /* [n_workers] */
};

/* The calls of one run, in order, and what they share. */
typedef struct qn_batch {
    qn_call *first;
    int32_t n_calls;
    int64_t rows;
    size_t bytes;           /* of the inputs */
    qn_lane *lane;          /* whose turn it was: the time is charged to it */
    double charged;         /* us, as predicted */
    uint64_t latest_end_us; /* others that join must not make it end later */
    qn_left left;
} qn_batch;

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

qn_status qn_queue_create(qn_queue **out, qn_error *err)
{
    qn_queue *q = calloc(1, sizeof *q);

    *out = NULL;
    if (!q) return qn_error_set(err, QN_ERR_NOMEM, "queue of a version");
    for (int i = 0; i < QN_PRIORITY_COUNT; i++) qn_lane_init(&q->lanes[i], q, (qn_priority)i);
    qn_profile_init(&q->profile);
    pthread_mutex_init(&q->stats_mu, NULL);
    *out = q;
    return QN_OK;
}

void qn_queue_destroy(qn_queue *q)
{
    if (!q) return;
    qn_profile_release(&q->profile);
    pthread_mutex_destroy(&q->stats_mu);
    free(q);
}

struct qn_profile *qn_queue_profile(qn_queue *q) { return &q->profile; }

int32_t qn_queue_get_sizes(qn_queue *q, qn_run_size out[QN_RUN_SIZES])
{
    int32_t n;

    pthread_mutex_lock(&q->stats_mu);
    n = q->n_sizes;
    memcpy(out, q->sizes, (size_t)n * sizeof out[0]);
    pthread_mutex_unlock(&q->stats_mu);
    return n;
}

void qn_queue_get_stats(qn_queue *q, qn_queue_stats *out)
{
    pthread_mutex_lock(&q->stats_mu);
    *out = q->stats;
    pthread_mutex_unlock(&q->stats_mu);
}

void qn_call_release(qn_call *call)
{
    for (int32_t i = 0; i < call->n_outputs; i++) qn_tensor_free(&call->outputs[i]);
    free(call->outputs);
    call->outputs = NULL;
    call->n_outputs = 0;
}

/* Under the lock: what the statistics show. */
static void queue_publish_waiting(qn_queue *q)
{
    uint64_t oldest = 0;

    for (int i = 0; i < QN_PRIORITY_COUNT; i++) {
        const qn_call *c = q->lanes[i].head;

        if (c && (!oldest || c->queued_us < oldest)) oldest = c->queued_us;
    }
    pthread_mutex_lock(&q->stats_mu);
    q->stats.waiting = q->n_waiting;
    q->stats.oldest_us = oldest;
    pthread_mutex_unlock(&q->stats_mu);
}

static void list_append(qn_call ***tail, qn_call *c)
{
    c->next = NULL;
    **tail = c;
    *tail = &c->next;
}

/* -- answering --------------------------------------------------------------------------------------------------------------- */

/* Count how a call ended, then hand it back. The version, and so the queue, lives until the owner drops its reference in done. */
static void call_answer(qn_call *c, qn_status status, const qn_error *why)
{
    qn_queue *q = qn_version_queue(c->version);

    c->status = status;
    if (status != QN_OK && why) c->err = *why;
    c->err.status = status;
    if (!c->finished_us) c->finished_us = now_us();
    pthread_mutex_lock(&q->stats_mu);
    switch (status) {
    case QN_OK:
        q->stats.n_success++;
        q->stats.n_rows += (uint64_t)c->rows;
        q->stats.queue_us += c->started_us - c->queued_us;
        break;
    case QN_ERR_CANCELLED: q->stats.n_cancelled++; break;
    case QN_ERR_DEADLINE: q->stats.n_expired++; break;
    case QN_ERR_UNAVAILABLE: q->stats.n_rejected++; break;
    default: q->stats.n_failed++; break;
    }
    pthread_mutex_unlock(&q->stats_mu);
    c->done(c);
}

/* A call that is no longer worth running: QN_OK if it still is. */
static qn_status call_lost(const qn_call *c, uint64_t now, qn_error *err)
{
    if (atomic_load_explicit(&c->cancelled, memory_order_relaxed)) return qn_error_set(err, QN_ERR_CANCELLED, "the client went away");
    if (c->deadline_us && now >= c->deadline_us)
        return qn_error_set(err, QN_ERR_DEADLINE, "deadline passed after %llu us in the queue", (unsigned long long)(now - c->queued_us));
    return QN_OK;
}

static void answer_list(qn_call *c, qn_status status, const char *text)
{
    while (c) {
        qn_call *next = c->next;
        qn_error err = { 0 };

        qn_error_set(&err, status, "%s", text);
        call_answer(c, status, &err);
        c = next;
    }
}

/* -- forming a batch ----------------------------------------------------------------------------------------------------------- */

static bool may_batch(const qn_call *c)
{
    const qn_model_settings *s = qn_version_settings(c->version);

    if (s->max_batch_rows <= 1 || s->batching == 0) return false;
    return s->batching == 1 || qn_version_padding(c->version) || qn_model_rows_independent(qn_version_model(c->version));
}

/* Under the lock: is a call at whose turn it is no longer worth running? It could have waited longer, but not run in time. */
static bool hopeless(qn_cost *cost, const qn_call *c, uint64_t now, size_t bytes)
{
    if (call_lost(c, now, NULL) != QN_OK) {
        if (c->predicted_us && c->deadline_us && now >= c->deadline_us)
            qn_cost_answered(cost, (double)(c->predicted_us - c->queued_us), (double)INFINITY);
        return true;
    }
    if (!c->predicted_us || (double)now + qn_cost_run(cost, bytes) <= (double)c->deadline_us || !qn_cost_doubt(cost)) return false;
    qn_cost_answered(cost, (double)(c->predicted_us - c->queued_us), (double)INFINITY);
    return true;
}

/* The end that a batch must not pass: the first deadline of its calls, and for those that come after a call half of that call's time, so
 * that there is room for a wait before the run. */
static uint64_t latest_end(const qn_call *c, uint64_t now)
{
    const uint64_t half = (c->deadline_us - c->queued_us) / 2;

    if (!c->deadline_us) return UINT64_MAX;
    return now + half < c->deadline_us ? now + half : c->deadline_us;
}

/* Under the lock: may c join a batch, which is not empty, without making somebody in it, or itself, late? */
static bool joins_in_time(const qn_cost *cost, const qn_batch *batch, const qn_call *c, uint64_t now, size_t bytes)
{
    const double end = (double)now + qn_cost_run(cost, batch->bytes + bytes);

    return end <= (double)batch->latest_end_us && (!c->deadline_us || end <= (double)c->deadline_us);
}

/* Under the lock: the calls of a lane that the batch has room for, in order; the head of an empty batch is its first. The others stay as
 * they are. Calls on the way that are cancelled, expired or hopeless are taken out as well, into *lost. The walk ends when the batch is
 * full. */
static void take(qn_batcher *b, qn_lane *lane, uint64_t now, qn_batch *batch, qn_call ***batch_tail, qn_call ***lost_tail)
{
    qn_call *c = lane->head, **keep_tail = &lane->head;
    qn_cost *cost = &lane->queue->cost;
    int64_t max_rows = batch->first && may_batch(batch->first) ? qn_version_settings(batch->first->version)->max_batch_rows : 0;

    lane->head = NULL;
    while (c && (!batch->first || batch->rows < max_rows)) {
        qn_call *next = c->next;
        const size_t bytes = qn_rows_input_bytes(c);

        if (hopeless(cost, c, now, bytes)) {
            list_append(lost_tail, c);
        } else if (!batch->first || (c->rows <= max_rows - batch->rows && qn_rows_same_bucket(batch->first, c) &&
                                     joins_in_time(cost, batch, c, now, bytes))) {
            const uint64_t end = latest_end(c, now);

            if (!batch->first || end < batch->latest_end_us) batch->latest_end_us = end;
            if (!batch->first) max_rows = may_batch(c) ? qn_version_settings(c->version)->max_batch_rows : 0;
            list_append(batch_tail, c);
            batch->rows += c->rows;
            batch->bytes += bytes;
            batch->n_calls++;
        } else {
            list_append(&keep_tail, c);
            c = next;
            continue;
        }
        lane->n_waiting--;
        lane->bytes_waiting -= bytes;
        lane->queue->n_waiting--;
        b->waiting_bytes -= bytes;
        c = next;
    }
    *keep_tail = c; /* what was not looked at, in one piece */
    if (!c) lane->tail = keep_tail;
    if (!lane->head) {
        lane->tail = &lane->head;
        qn_fair_remove(&b->fair, lane);
    }
}

static qn_left left_because(const qn_batch *batch, uint64_t now)
{
    const qn_model_settings *s = qn_version_settings(batch->first->version);

    if (!may_batch(batch->first)) return QN_LEFT_ALONE;
    if (batch->rows >= s->max_batch_rows) return QN_LEFT_FULL;
    return s->max_queue_delay_us > 0 && now >= batch->first->queued_us + (uint64_t)s->max_queue_delay_us ? QN_LEFT_DELAY : QN_LEFT_DRAINED;
}

/* Under the lock: a batch of the lane whose turn it is. What room it leaves goes to the other classes of the same model, for nothing. */
static void batch_form(qn_batcher *b, qn_lane *lane, uint64_t now, qn_batch *batch, qn_call **lost)
{
    qn_call **batch_tail = &batch->first, **lost_tail = lost;
    qn_queue *q = lane->queue;

    memset(batch, 0, sizeof *batch);
    *lost = NULL;
    take(b, lane, now, batch, &batch_tail, &lost_tail);
    for (int i = 0; i < QN_PRIORITY_COUNT && batch->first; i++)
        if (&q->lanes[i] != lane && q->lanes[i].head) take(b, &q->lanes[i], now, batch, &batch_tail, &lost_tail);
    if (!batch->first) return;
    batch->lane = lane;
    batch->left = left_because(batch, now);
    batch->charged = qn_cost_run(&q->cost, batch->bytes);
    qn_lane_charge(lane, batch->charged);
}

typedef struct holding {
    uint64_t now, until; /* until: the earliest time at which a lane that is held will not be; 0: none is held */
    bool stopping;
} holding;

/* Under the lock: may an idle worker take from this lane, or should it wait for more rows? */
static bool may_take(void *user, qn_lane *lane)
{
    holding *h = user;
    const qn_call *c = lane->head;
    const qn_model_settings *s = qn_version_settings(c->version);
    uint64_t until;
    int64_t rows = 0;

    if (h->stopping || s->max_queue_delay_us <= 0 || !may_batch(c)) return true;
    until = c->queued_us + (uint64_t)s->max_queue_delay_us;
    if (h->now >= until || (c->deadline_us && c->deadline_us < until)) return true;
    for (; c && rows < s->max_batch_rows; c = c->next) rows += c->rows;
    if (rows >= s->max_batch_rows) return true;
    if (!h->until || until < h->until) h->until = until;
    return false;
}

/* -- running ------------------------------------------------------------------------------------------------------------------- */

typedef struct qn_run_watch {
    const qn_batch *batch;
    qn_profile_watch *profile;
} qn_run_watch;

static void on_step(void *user, int32_t step, bool finished) { qn_profile_step(((qn_run_watch *)user)->profile, step, finished); }

/* A run stops between nodes when no call of the batch wants its answer any more. */
static bool all_lost(void *user)
{
    const qn_batch *batch = ((const qn_run_watch *)user)->batch;
    uint64_t now = now_us();
    const qn_call *c = batch->first;

    for (int32_t i = 0; i < batch->n_calls; i++, c = c->next) {
        if (call_lost(c, now, NULL) == QN_OK) return false;
    }
    return true;
}

/* Under stats_mu: the row for this size; NULL: there are too many others. */
static qn_run_size *size_of(qn_queue *q, int64_t rows)
{
    int32_t at = 0;

    while (at < q->n_sizes && q->sizes[at].rows < rows) at++;
    if (at < q->n_sizes && q->sizes[at].rows == rows) return &q->sizes[at];
    if (q->n_sizes == QN_RUN_SIZES) return NULL;
    memmove(&q->sizes[at + 1], &q->sizes[at], (size_t)(q->n_sizes++ - at) * sizeof q->sizes[0]);
    q->sizes[at] = (qn_run_size){ .rows = rows };
    return &q->sizes[at];
}

/* A run ended well and its calls have what is theirs. */
static void count_size(qn_queue *q, int64_t rows, uint64_t gather_us, uint64_t run_us, uint64_t scatter_us)
{
    struct timespec wall;
    qn_run_size *s;

    clock_gettime(CLOCK_REALTIME_COARSE, &wall);
    pthread_mutex_lock(&q->stats_mu);
    q->stats.gather_us += gather_us;
    q->stats.scatter_us += scatter_us;
    q->stats.last_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
    s = size_of(q, rows);
    if (s) {
        s->n_runs++;
        s->gather_us += gather_us;
        s->run_us += run_us;
        s->scatter_us += scatter_us;
    }
    pthread_mutex_unlock(&q->stats_mu);
}

/* A run ended: the prediction learns from it, and its lane pays what it took. */
static void count_run(qn_worker *w, qn_version *v, const qn_batch *batch, uint64_t ended, uint64_t took, bool whole)
{
    const qn_call *c = batch->first;
    qn_queue *q = qn_version_queue(v);
    qn_batcher *b = w->batcher;

    pthread_mutex_lock(&q->stats_mu);
    q->stats.n_batches++;
    q->stats.run_us += took;
    pthread_mutex_unlock(&q->stats_mu);
    pthread_mutex_lock(&b->mu);
    qn_cost_learn(&q->cost, batch->bytes, took, whole);
    for (int32_t i = 0; i < batch->n_calls; i++, c = c->next)
        if (c->predicted_us) qn_cost_answered(&q->cost, (double)(c->predicted_us - c->queued_us), (double)(ended - c->queued_us));
    qn_lane_charge(batch->lane, (double)took - batch->charged);
    pthread_mutex_unlock(&b->mu);
}

/* Run calls [batch] once. On success every call has its outputs. */
static qn_status batch_run_once(qn_worker *w, const qn_batch *batch, qn_session *session, qn_error *err)
{
    qn_version *v = batch->first->version;
    qn_model *model = qn_version_model(v);
    qn_run_watch watch = { batch, &w->watch };
    bool watched;
    qn_run_hooks hooks = { .cancelled = all_lost, .user = &watch };
    qn_tensor inputs_few[QN_ROWS_FEW], outputs_few[QN_ROWS_FEW];
    int32_t n_in = qn_model_n_inputs(model), n_out = qn_model_n_outputs(model);
    qn_tensor *inputs = inputs_few, *outputs = outputs_few;
    qn_status st;
    uint64_t gathered_from = now_us(), began, took;

    if (n_in > QN_ROWS_FEW) inputs = calloc((size_t)n_in, sizeof *inputs);
    if (n_out > QN_ROWS_FEW) outputs = calloc((size_t)n_out, sizeof *outputs);
    if (!inputs || !outputs) {
        st = qn_error_set(err, QN_ERR_NOMEM, "a batch of %d inputs and %d outputs", n_in, n_out);
        goto done;
    }
    st = qn_rows_gather(batch->first, batch->n_calls, batch->rows, n_in, &w->gather, &w->gather_bytes, inputs, err);
    if (st != QN_OK) goto done;
    began = now_us();
    qn_call *c = batch->first;
    for (int32_t i = 0; i < batch->n_calls; i++, c = c->next) {
        if (!c->started_us) c->started_us = began;
    }
    watched = qn_profile_take(&qn_version_queue(v)->profile, &w->watch);
    if (watched) hooks.step = on_step;
    st = qn_session_run(session, inputs, outputs, &hooks, err);
    if (watched) qn_profile_add(&qn_version_queue(v)->profile, &w->watch, session, batch->rows, st == QN_OK);
    took = now_us() - began;
    if (w->batcher->opt.on_batch) w->batcher->opt.on_batch(w->batcher->opt.user, v, batch->rows, batch->n_calls, took, batch->left);
    count_run(w, v, batch, began + took, took, st == QN_OK);
    if (st == QN_OK) st = qn_rows_scatter(batch->first, batch->n_calls, batch->rows, outputs, n_out, err);
    if (st == QN_OK) count_size(qn_version_queue(v), batch->rows, began - gathered_from, took, now_us() - began - took);
done:
    if (inputs != inputs_few) free(inputs);
    if (outputs != outputs_few) free(outputs);
    return st;
}

/* Split after half of the calls. */
static void batch_halve(const qn_batch *batch, qn_batch *a, qn_batch *b)
{
    qn_call *c = batch->first;

    *a = (qn_batch){ .first = batch->first, .n_calls = batch->n_calls / 2, .lane = batch->lane, .left = batch->left };
    for (int32_t i = 0; i < a->n_calls; i++, c = c->next) {
        a->rows += c->rows;
        a->bytes += qn_rows_input_bytes(c);
    }
    *b = (qn_batch){ .first = c,
                     .n_calls = batch->n_calls - a->n_calls,
                     .rows = batch->rows - a->rows,
                     .bytes = batch->bytes - a->bytes,
                     .lane = batch->lane };
}

static void batch_answer(qn_batch batch, qn_status st, const qn_error *err)
{
    qn_call *c = batch.first;

    for (int32_t i = 0; i < batch.n_calls; i++) {
        qn_call *next = c->next; /* done may free c */
        qn_error lost = { 0 };
        qn_status why;

        c->batch_rows = batch.rows;
        /* A run that was stopped because nobody waits any more: each call has its own reason. */
        why = st == QN_ERR_CANCELLED ? call_lost(c, now_us(), &lost) : QN_OK;
        if (why != QN_OK)
            call_answer(c, why, &lost);
        else
            call_answer(c, st, err);
        c = next;
    }
}

/* Run, and bisect on failure with an explicit stack: at most 32 halvings of up to 2^31 calls. */
static void batch_run(qn_worker *w, const qn_batch *whole)
{
    qn_batch stack[40];
    int depth = 0;
    qn_session *session = NULL;
    qn_version *v = qn_version_ref(whole->first->version); /* calls may be gone before the session is given back */
    qn_error err = { 0 };
    qn_status st = qn_version_acquire_session(v, w->team, &session, &err);

    if (st != QN_OK) {
        batch_answer(*whole, st, &err);
        qn_version_unref(v);
        return;
    }
    stack[depth++] = *whole;
    while (depth > 0) {
        qn_batch batch = stack[--depth];

        err = (qn_error){ 0 };
        st = batch_run_once(w, &batch, session, &err);
        if (st == QN_OK || st == QN_ERR_CANCELLED || batch.n_calls == 1) {
            batch_answer(batch, st, &err);
        } else {
            qn_batch a, b;

            batch_halve(&batch, &a, &b);
            stack[depth++] = b;
            stack[depth++] = a;
        }
    }
    qn_version_release_session(v, session);
    qn_version_unref(v);
}

static void wait_until(qn_batcher *b, uint64_t until_us)
{
    struct timespec ts = { .tv_sec = (time_t)(until_us / 1000000u), .tv_nsec = (long)(until_us % 1000000u) * 1000 };

    pthread_cond_timedwait(&b->wake, &b->mu, &ts);
}

/* Under the lock: find something to run. *until: when to look again, 0 if only a wake-up helps. */
static bool next_batch(qn_batcher *b, qn_batch *batch, qn_call **lost, uint64_t *until)
{
    holding h = { .now = now_us(), .stopping = b->stopping };
    qn_lane *lane = qn_fair_next(&b->fair, may_take, &h);

    *lost = NULL;
    *until = h.until;
    if (!lane) return false;
    batch_form(b, lane, h.now, batch, lost);
    queue_publish_waiting(lane->queue);
    return true;
}

/* Under the lock: should an idle worker be woken for what waits in q? Not for less work than waking takes, while another one is about to
 * end a run just as short: it takes all of it along in one batch. Should that run take longer, a worker that looks by itself finds it. */
static bool worth_waking(const qn_batcher *b, const qn_queue *q, uint64_t now)
{
    uint64_t bytes = 0, soonest = UINT64_MAX;

    if (b->idle == 0) return false;
    if (b->active == 0 || b->looking == 0 || q->cost.n_runs < QN_COST_ENOUGH || (b->fair.ready && b->fair.ready->next)) return true;
    for (int i = 0; i < QN_PRIORITY_COUNT; i++) bytes += q->lanes[i].bytes_waiting;
    if (qn_cost_work(&q->cost, bytes) > WAKE_US) return true;
    for (int i = 0; i < b->opt.n_workers; i++)
        if (b->workers[i].busy_until_us && b->workers[i].busy_until_us < soonest) soonest = b->workers[i].busy_until_us;
    return soonest > now + WAKE_US || soonest + WAKE_US < now;
}

/* Under the lock: until somebody wakes this worker, `until` if it is not 0, or the next look while there is work now and then. */
static void wait_for_work(qn_batcher *b, uint64_t until)
{
    const uint64_t now = now_us(), look = now + LOOK_US;
    const bool looks = b->active > 0 || now < b->worked_us + CALM_US;

    b->idle++;
    b->looking += looks;
    if (looks || until)
        wait_until(b, looks && (!until || look < until) ? look : until);
    else
        pthread_cond_wait(&b->wake, &b->mu);
    b->looking -= looks;
    b->idle--;
}

static void *worker_main(void *arg)
{
    qn_worker *w = arg;
    qn_batcher *b = w->batcher;

    pthread_mutex_lock(&b->mu);
    for (;;) {
        qn_batch batch = { 0 };
        qn_call *lost = NULL;
        uint64_t until = 0;

        if (!next_batch(b, &batch, &lost, &until)) {
            if (b->stopping) break;
            wait_for_work(b, until);
            continue;
        }
        b->worked_us = now_us();
        if (batch.first) w->busy_until_us = b->worked_us + (uint64_t)batch.charged;
        b->active++;
        if (b->fair.ready && worth_waking(b, b->fair.ready->queue, now_us()))
            pthread_cond_signal(&b->wake); /* more than this worker takes */
        pthread_mutex_unlock(&b->mu);
        while (lost) {
            qn_call *next = lost->next;
            qn_error err = { 0 };
            qn_status st = call_lost(lost, now_us(), &err);

            if (st == QN_OK)
                st = qn_error_set(&err, QN_ERR_DEADLINE, "too late for a run that ends before the deadline, after %llu us in the queue",
                                  (unsigned long long)(now_us() - lost->queued_us));
            call_answer(lost, st, &err);
            lost = next;
        }
        if (batch.first) batch_run(w, &batch);
        pthread_mutex_lock(&b->mu);
        w->busy_until_us = 0; /* also of a batch that never ran */
        b->active--;
    }
    pthread_mutex_unlock(&b->mu);
    return NULL;
}

/* -- life ------------------------------------------------------------------------------------------------------------------------ */

/* Under the lock: when a call of this lane that comes now should be answered; 0: nothing is known. */
static uint64_t predicted_end(const qn_batcher *b, const qn_call *call, const qn_lane *lane, size_t bytes)
{
    const qn_cost *cost = &lane->queue->cost;
    const uint64_t now = call->queued_us;
    const double rate = qn_fair_share(&b->fair, lane) * (double)b->opt.n_workers;
    double wait = 0, most = 0, half = (double)(call->deadline_us - now) / 2;

    if (cost->n_runs < QN_COST_ENOUGH) return 0;
    if (b->idle == 0) {
        uint64_t free_us = UINT64_MAX;

        for (int i = 0; i < b->opt.n_workers; i++)
            if (b->workers[i].busy_until_us < free_us) free_us = b->workers[i].busy_until_us;
        wait = free_us > now ? (double)(free_us - now) : 0;
    }
    if (may_batch(call)) {
        const double full = (double)qn_version_settings(call->version)->max_batch_rows / (double)(call->rows > 0 ? call->rows : 1);

        most = qn_cost_run(cost, full > 1 && full * (double)bytes < 0x1p62 ? (size_t)(full * (double)bytes) : bytes);
    }
    return now + (uint64_t)qn_cost_answer(cost, wait, lane->bytes_waiting, bytes, most < half ? most : half, rate);
}

/* Under the lock: waiting calls that this one would stand behind, or beside. */
static int64_t waiting_before(const qn_queue *q, qn_priority priority)
{
    int64_t n = 0;

    for (int i = 0; i <= (int)priority; i++) n += q->lanes[i].n_waiting;
    return n;
}

/* Under the lock: may this call wait? */
static qn_status admit(qn_batcher *b, qn_call *call, qn_lane *lane, size_t bytes, qn_error *err)
{
    const qn_model_settings *s = qn_version_settings(call->version);
    const char *name = qn_version_name(call->version);
    const int64_t waiting = waiting_before(lane->queue, call->priority);
    double takes;

    if (b->stopping) {
        call->refused = QN_REFUSED_STOPPING;
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "the server is shutting down");
    }
    if (waiting >= s->max_queued) {
        call->refused = QN_REFUSED_FULL;
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "queue of model %s is full: %lld requests wait, max_queued is %d", name,
                            (long long)waiting, s->max_queued);
    }
    if (b->opt.max_bytes && bytes > b->opt.max_bytes - b->waiting_bytes) {
        call->refused = QN_REFUSED_BYTES;
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "waiting requests hold %llu bytes, %zu more would pass the limit %llu",
                            (unsigned long long)b->waiting_bytes, bytes, (unsigned long long)b->opt.max_bytes);
    }
    if (!call->deadline_us || (b->idle > 0 && lane->n_waiting == 0)) return QN_OK; /* what nobody is before is tried */
    call->predicted_us = predicted_end(b, call, lane, bytes);
    if (!call->predicted_us) return QN_OK;
    takes = qn_cost_late(&lane->queue->cost, (double)(call->predicted_us - call->queued_us));
    if ((double)call->queued_us + takes <= (double)call->deadline_us || !qn_cost_doubt(&lane->queue->cost)) return QN_OK;
    call->refused = QN_REFUSED_DEADLINE;
    return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s is busy: an answer would take %.0f us and the deadline is in %llu us", name,
                        takes, (unsigned long long)(call->deadline_us - call->queued_us));
}

static void count_refusal(qn_queue *q, qn_status st)
{
    pthread_mutex_lock(&q->stats_mu);
    if (st == QN_ERR_UNAVAILABLE)
        q->stats.n_rejected++;
    else if (st == QN_ERR_DEADLINE)
        q->stats.n_expired++;
    else
        q->stats.n_cancelled++;
    pthread_mutex_unlock(&q->stats_mu);
}

qn_status qn_batcher_submit(qn_batcher *b, qn_call *call, qn_error *err)
{
    qn_queue *q = qn_version_queue(call->version);
    qn_lane *lane = &q->lanes[call->priority];
    const size_t bytes = qn_rows_input_bytes(call);
    qn_status st;

    call->queued_us = now_us();
    call->started_us = call->finished_us = call->predicted_us = 0;
    call->refused = QN_REFUSED_NOT;
    call->outputs = NULL;
    call->n_outputs = 0;
    st = call_lost(call, call->queued_us, err);
    if (st == QN_OK) {
        pthread_mutex_lock(&b->mu);
        st = admit(b, call, lane, bytes, err);
        if (st == QN_OK) {
            b->waiting_bytes += bytes;
            list_append(&lane->tail, call);
            lane->n_waiting++;
            lane->bytes_waiting += bytes;
            q->n_waiting++;
            queue_publish_waiting(q);
            qn_fair_add(&b->fair, lane);
            if (worth_waking(b, q, call->queued_us)) pthread_cond_signal(&b->wake);
        }
        pthread_mutex_unlock(&b->mu);
    }
    if (st != QN_OK) count_refusal(q, st);
    return st;
}

static qn_status worker_start(qn_worker *w, qn_error *err)
{
    pthread_attr_t attr;
    int rc;
    qn_status st = QN_OK;

    if (w->batcher->opt.team_size > 1) st = qn_team_create(w->batcher->opt.team_size, &w->team, err);
    if (st != QN_OK) return st;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    rc = pthread_create(&w->thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    if (rc) return qn_error_set(err, QN_ERR_IO, "cannot start a worker thread: %s", strerror(rc));
    w->started = true;
    return QN_OK;
}

qn_status qn_batcher_create(const qn_batcher_options *options, qn_batcher **out, qn_error *err)
{
    qn_status st = QN_OK;
    qn_batcher *b = NULL;
    pthread_condattr_t ca;

    *out = NULL;
    if (options->n_workers < 1 || options->n_workers > 256)
        return qn_error_set(err, QN_ERR_INVALID, "n_workers is %d, expected 1..256", options->n_workers);
    b = calloc(1, sizeof *b);
    if (b) b->workers = calloc((size_t)options->n_workers, sizeof *b->workers);
    if (!b || !b->workers) {
        free(b);
        return qn_error_set(err, QN_ERR_NOMEM, "batcher with %d workers", options->n_workers);
    }
    b->opt = *options;
    pthread_mutex_init(&b->mu, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &ca);
    pthread_condattr_destroy(&ca);
    for (int i = 0; i < options->n_workers && st == QN_OK; i++) {
        b->workers[i].batcher = b;
        st = worker_start(&b->workers[i], err);
    }
    if (st != QN_OK) {
        qn_batcher_destroy(b);
        return st;
    }
    *out = b;
    return QN_OK;
}

void qn_batcher_destroy(qn_batcher *b)
{
    qn_call *left = NULL, **tail = &left;

    if (!b) return;
    pthread_mutex_lock(&b->mu);
    b->stopping = true;
    while (b->fair.ready) {
        qn_lane *l = b->fair.ready;

        *tail = l->head;
        tail = l->tail;
        l->head = NULL;
        l->tail = &l->head;
        l->queue->n_waiting -= l->n_waiting;
        l->n_waiting = 0;
        l->bytes_waiting = 0;
        qn_fair_remove(&b->fair, l);
        queue_publish_waiting(l->queue);
    }
    *tail = NULL;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->mu);
    answer_list(left, QN_ERR_UNAVAILABLE, "the server is shutting down");
    for (int i = 0; i < b->opt.n_workers; i++) {
        if (b->workers[i].started) pthread_join(b->workers[i].thread, NULL);
        qn_team_destroy(b->workers[i].team);
        free(b->workers[i].gather);
        qn_profile_watch_release(&b->workers[i].watch);
    }
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->mu);
    free(b->workers);
    free(b);
}
