/* The batcher over a fake model: what is joined, what is not, who is answered, and how a bad row is kept from its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/batcher/batcher.h"
#include "server/batcher/profile.h"
#include "tests/unit/server/fake_model.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -- a version whose model adds 1 to every element, and fails a run that holds a 13 ------------------------------------------------ */

struct qn_version {
    qn_model model;
    qn_model_settings settings;
    qn_queue *queue;
};
struct qn_session {
    float out[4096];
};

static atomic_int n_runs, n_rows_run, largest_batch, n_held;
static atomic_bool hold; /* runs wait while it is set */
static atomic_int sleep_us, n_seen;
static float seen[64]; /* first element of each run, in order */

qn_model *qn_version_model(const qn_version *v) { return (qn_model *)(uintptr_t)&v->model; }
const char *qn_version_name(const qn_version *v) { return v ? "fake" : ""; }
const qn_model_settings *qn_version_settings(const qn_version *v) { return &v->settings; }
struct qn_queue *qn_version_queue(const qn_version *v) { return v->queue; }
const struct qn_padding *qn_version_padding(const qn_version *v)
{
    (void)v;
    return NULL; /* tests/e2e/test_padding.py has models with one */
}
qn_version *qn_version_ref(qn_version *v) { return v; }
void qn_version_unref(qn_version *v) { (void)v; }

qn_status qn_version_acquire_session(qn_version *v, qn_team *team, qn_session **out, qn_error *err)
{
    (void)v;
    (void)team;
    *out = calloc(1, sizeof **out);
    return *out ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "session");
}

void qn_version_release_session(qn_version *v, qn_session *session)
{
    (void)v;
    free(session);
}

void qn_session_step(const qn_session *s, int32_t step, qn_step_info *out)
{
    (void)s;
    *out = (qn_step_info){ .node = step ? "second" : "first", .op = "Add", .kernel = "plain" };
}

qn_status qn_session_run(qn_session *s, const qn_tensor *inputs, qn_tensor *outputs, const qn_run_hooks *hooks, qn_error *err)
{
    const float *x = inputs[0].data;
    int64_t n = qn_tensor_count(&inputs[0]);

    for (int32_t i = 0; i < 4 && hooks->step; i++) hooks->step(hooks->user, i / 2, i % 2 == 1);
    atomic_fetch_add(&n_held, 1);
    while (atomic_load(&hold)) {
        if (hooks->cancelled(hooks->user)) return qn_error_set(err, QN_ERR_CANCELLED, "nobody waits");
        usleep(500);
    }
    if (atomic_load(&sleep_us)) usleep((useconds_t)atomic_load(&sleep_us));
    if (atomic_load(&n_seen) < 64) seen[atomic_fetch_add(&n_seen, 1)] = x[0];
    atomic_fetch_add(&n_runs, 1);
    atomic_fetch_add(&n_rows_run, (int)inputs[0].dims[0]);
    if (atomic_load(&largest_batch) < (int)inputs[0].dims[0]) atomic_store(&largest_batch, (int)inputs[0].dims[0]);
    for (int64_t i = 0; i < n; i++) {
        if (x[i] == 13.0f) return qn_error_set(err, QN_ERR_RANGE, "thirteen");
        s->out[i] = x[i] + 1;
    }
    outputs[0] = inputs[0];
    outputs[0].data = s->out;
    return QN_OK;
}

/* -- calls ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct test_call {
    qn_call call;
    float x[64];
    qn_tensor in;
    atomic_int answered;
} test_call;

static void on_done(qn_call *c) { atomic_fetch_add(&((test_call *)c->user)->answered, 1); }

static void call_init(test_call *t, qn_version *v, int64_t rows, int64_t width, float value)
{
    memset(t, 0, sizeof *t);
    for (int64_t i = 0; i < rows * width; i++) t->x[i] = value + (float)i / 8;
    t->in = (qn_tensor){ .dtype = QN_F32, .rank = 2, .dims = { rows, width }, .data = t->x, .bytes = (size_t)(rows * width) * 4 };
    t->call = (qn_call){ .version = v, .inputs = &t->in, .rows = rows, .done = on_done, .user = t };
}

static void wait_answer(test_call *t)
{
    for (int i = 0; i < 20000 && !atomic_load(&t->answered); i++) usleep(1000);
    assert_int_equal(atomic_load(&t->answered), 1);
}

static void assert_plus_one(const test_call *t)
{
    assert_int_equal(t->call.status, QN_OK);
    for (int64_t i = 0; i < qn_tensor_count(&t->in); i++) assert_true(((const float *)t->call.outputs[0].data)[i] == t->x[i] + 1);
    assert_int_equal(t->call.outputs[0].dims[0], t->call.rows);
}

static qn_batcher *batcher;
static qn_version version;

static int set_up(void **state)
{
    qn_batcher_options o = { .n_workers = 2, .team_size = 1, .max_bytes = 1 << 20 };

    (void)state;
    version = (qn_version){ .model = { .inputs = { { .name = "x", .dtype = QN_F32, .rank = 2, .dims = { -1, -1 } } },
                                       .n_inputs = 1,
                                       .n_outputs = 1,
                                       .rows = true },
                            .settings = { .max_batch_rows = 8, .max_queued = 20, .batching = -1 } };
    atomic_store(&n_runs, 0);
    atomic_store(&n_rows_run, 0);
    atomic_store(&largest_batch, 0);
    atomic_store(&n_held, 0);
    atomic_store(&n_seen, 0);
    atomic_store(&sleep_us, 0);
    atomic_store(&hold, false);
    assert_int_equal(qn_queue_create(&version.queue, NULL), QN_OK);
    return qn_batcher_create(&o, &batcher, NULL) == QN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    qn_batcher_destroy(batcher);
    qn_queue_destroy(version.queue);
    return 0;
}

/* Both workers hold a call, so that what is submitted next waits. */
static void occupy_workers(test_call *two)
{
    atomic_store(&hold, true);
    for (int i = 0; i < 2; i++) {
        call_init(&two[i], &version, 1, 3, 100);
        assert_int_equal(qn_batcher_submit(batcher, &two[i].call, NULL), QN_OK);
        for (int k = 0; k < 20000 && atomic_load(&n_held) < i + 1; k++) usleep(1000);
    }
    assert_int_equal(atomic_load(&n_held), 2);
}

static void release_all(test_call *t, int n)
{
    for (int i = 0; i < n; i++) qn_call_release(&t[i].call);
}

static void waiting_calls_of_one_shape_share_a_run(void **state)
{
    test_call busy[2], t[8];

    (void)state;
    occupy_workers(busy);
    for (int i = 0; i < 8; i++) {
        call_init(&t[i], &version, 1, 4, (float)i * 20);
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&hold, false);
    for (int i = 0; i < 8; i++) {
        wait_answer(&t[i]);
        assert_plus_one(&t[i]);
    }
    assert_true(atomic_load(&largest_batch) > 1);
    assert_true(atomic_load(&largest_batch) <= 8);
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    release_all(t, 8);
    release_all(busy, 2);
}

static void another_shape_neither_joins_nor_closes_a_batch(void **state)
{
    test_call busy[2], t[6];

    (void)state;
    occupy_workers(busy);
    for (int i = 0; i < 6; i++) {
        call_init(&t[i], &version, 1, i % 2 ? 5 : 4, (float)i * 20);
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&hold, false);
    for (int i = 0; i < 6; i++) {
        wait_answer(&t[i]);
        assert_plus_one(&t[i]);
    }
    assert_int_equal(atomic_load(&largest_batch), 3); /* three of each, past one another */
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    release_all(t, 6);
    release_all(busy, 2);
}

static void a_model_without_proof_runs_each_call_alone(void **state)
{
    test_call busy[2], t[4];

    (void)state;
    version.model.rows = false;
    occupy_workers(busy);
    for (int i = 0; i < 4; i++) {
        call_init(&t[i], &version, 1, 4, (float)i * 20);
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&hold, false);
    for (int i = 0; i < 4; i++) wait_answer(&t[i]);
    assert_int_equal(atomic_load(&largest_batch), 1);
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    release_all(t, 4);
    release_all(busy, 2);
}

static void one_bad_row_fails_alone(void **state)
{
    test_call busy[2], t[8];

    (void)state;
    occupy_workers(busy);
    for (int i = 0; i < 8; i++) {
        call_init(&t[i], &version, 1, 4, i == 5 ? 13.0f : 200 + (float)i * 20);
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&hold, false);
    for (int i = 0; i < 8; i++) {
        wait_answer(&t[i]);
        if (i == 5)
            assert_int_equal(t[i].call.status, QN_ERR_RANGE);
        else
            assert_plus_one(&t[i]);
    }
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    release_all(t, 8);
    release_all(busy, 2);
}

static void a_full_queue_refuses_at_once(void **state)
{
    test_call busy[2], t[21];
    qn_error err = { 0 };

    (void)state;
    occupy_workers(busy);
    for (int i = 0; i < 21; i++) {
        call_init(&t[i], &version, 1, 4, 1);
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, &err), i < 20 ? QN_OK : QN_ERR_UNAVAILABLE);
    }
    assert_non_null(strstr(err.message, "max_queued is 20"));
    atomic_store(&hold, false);
    for (int i = 0; i < 20; i++) wait_answer(&t[i]);
    assert_int_equal(atomic_load(&t[20].answered), 0);
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    release_all(t, 20);
    release_all(busy, 2);
}

static void cancelled_and_expired_calls_are_not_run(void **state)
{
    test_call busy[2], t[3];
    struct timespec now;
    int rows_before;

    (void)state;
    occupy_workers(busy);
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int i = 0; i < 3; i++) {
        call_init(&t[i], &version, 1, 4, 1);
        if (i == 1) t[i].call.deadline_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 20000;
        assert_int_equal(qn_batcher_submit(batcher, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&t[0].call.cancelled, true);
    usleep(30000);
    rows_before = atomic_load(&n_rows_run);
    atomic_store(&hold, false);
    for (int i = 0; i < 3; i++) wait_answer(&t[i]);
    wait_answer(&busy[0]);
    wait_answer(&busy[1]);
    assert_int_equal(t[0].call.status, QN_ERR_CANCELLED);
    assert_int_equal(t[1].call.status, QN_ERR_DEADLINE);
    assert_int_equal(t[2].call.status, QN_OK);
    assert_int_equal(atomic_load(&n_rows_run) - rows_before, 3); /* two that held the workers, and t[2] */
    release_all(t, 3);
    release_all(busy, 2);
}

static void a_run_nobody_waits_for_stops(void **state)
{
    test_call busy[2];

    (void)state;
    occupy_workers(busy);
    atomic_store(&busy[0].call.cancelled, true);
    wait_answer(&busy[0]); /* while hold is still set: the run saw it */
    assert_int_equal(busy[0].call.status, QN_ERR_CANCELLED);
    atomic_store(&hold, false);
    wait_answer(&busy[1]);
    release_all(busy, 2);
}

static void shutting_down_answers_everybody(void **state)
{
    qn_batcher_options o = { .n_workers = 1, .team_size = 1 };
    qn_batcher *b = NULL;
    test_call t[5];

    (void)state;
    assert_int_equal(qn_batcher_create(&o, &b, NULL), QN_OK);
    for (int i = 0; i < 5; i++) {
        call_init(&t[i], &version, 1, 4, 1);
        assert_int_equal(qn_batcher_submit(b, &t[i].call, NULL), QN_OK);
    }
    qn_batcher_destroy(b);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(atomic_load(&t[i].answered), 1);
        assert_true(t[i].call.status == QN_OK || t[i].call.status == QN_ERR_UNAVAILABLE);
    }
    release_all(t, 5);
}

/* One worker, held by a call; what is queued behind it runs in order. */
static qn_batcher *one_worker(test_call *busy)
{
    qn_batcher_options o = { .n_workers = 1, .team_size = 1 };
    qn_batcher *b = NULL;

    assert_int_equal(qn_batcher_create(&o, &b, NULL), QN_OK);
    atomic_store(&hold, true);
    call_init(busy, &version, 1, 3, 100);
    busy->call.priority = QN_PRIORITY_LOW; /* whose turns it costs */
    assert_int_equal(qn_batcher_submit(b, &busy->call, NULL), QN_OK);
    for (int k = 0; k < 20000 && atomic_load(&n_held) < 1; k++) usleep(1000);
    return b;
}

static void a_higher_class_overtakes_and_its_batch_takes_others_along(void **state)
{
    test_call busy, t[5];
    const qn_priority class[5] = { QN_PRIORITY_LOW, QN_PRIORITY_NORMAL, QN_PRIORITY_LOW, QN_PRIORITY_HIGH, QN_PRIORITY_LOW };
    const int64_t width[5] = { 4, 5, 6, 7, 7 }; /* the last one fits the batch of the high one */
    qn_batcher *b = one_worker(&busy);

    (void)state;
    for (int i = 0; i < 5; i++) {
        call_init(&t[i], &version, 1, width[i], (float)(20 * i));
        t[i].call.priority = class[i];
        assert_int_equal(qn_batcher_submit(b, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&hold, false);
    for (int i = 0; i < 5; i++) {
        wait_answer(&t[i]);
        assert_plus_one(&t[i]);
    }
    wait_answer(&busy);
    assert_int_equal(atomic_load(&n_seen), 5);
    assert_true(seen[1] == 60 && t[3].call.batch_rows == 2 && t[4].call.batch_rows == 2);
    assert_true(seen[2] == 20 && seen[3] == 0 && seen[4] == 40);
    release_all(t, 5);
    release_all(&busy, 1);
    qn_batcher_destroy(b);
}

static void what_cannot_meet_its_deadline_is_refused_when_it_comes(void **state)
{
    test_call busy, t[12];
    qn_batcher *b = one_worker(&busy);
    qn_status st = QN_OK;
    qn_error err = { 0 };

    (void)state;
    atomic_store(&sleep_us, 5000); /* so long does a run take, at least */
    atomic_store(&hold, false);
    for (int i = 0; i < 10; i++) {
        call_init(&t[i], &version, 1, 4, 20);
        assert_int_equal(qn_batcher_submit(b, &t[i].call, NULL), QN_OK);
        wait_answer(&t[i]);
        qn_call_release(&t[i].call);
    }
    atomic_store(&n_held, 0);
    atomic_store(&hold, true);
    for (int i = 0; i < 11; i++) {
        call_init(&t[i], &version, 1, 4 + i, 20); /* each a run of its own */
        assert_int_equal(qn_batcher_submit(b, &t[i].call, NULL), QN_OK);
        while (atomic_load(&n_held) == 0) usleep(100);
    }
    for (int try = 0; try < 100 && st != QN_ERR_UNAVAILABLE; try++) { /* once without being held up for 20 ms in between */
        struct timespec now;

        call_init(&t[11], &version, 1, 4, 20);
        clock_gettime(CLOCK_MONOTONIC, &now);
        t[11].call.deadline_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 20000; /* ten runs are before it */
        st = qn_batcher_submit(b, &t[11].call, &err);
        assert_int_not_equal(st, QN_OK);
    }
    assert_int_equal(st, QN_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "deadline"));
    assert_int_equal(atomic_load(&t[11].answered), 0);
    atomic_store(&sleep_us, 0);
    atomic_store(&hold, false);
    for (int i = 0; i < 11; i++) wait_answer(&t[i]);
    wait_answer(&busy);
    release_all(t, 11);
    release_all(&busy, 1);
    qn_batcher_destroy(b);
}

/* 8 runs of 5 ms at least teach what a run takes. */
static void teach(qn_batcher *b)
{
    test_call t;

    atomic_store(&sleep_us, 5000);
    for (int i = 0; i < 10; i++) {
        call_init(&t, &version, 1, 4, 20);
        assert_int_equal(qn_batcher_submit(b, &t.call, NULL), QN_OK);
        wait_answer(&t);
        qn_call_release(&t.call);
    }
}

static void a_call_that_cannot_end_in_time_any_more_is_not_run(void **state)
{
    test_call busy, held, late;
    struct timespec now;
    qn_batcher *b = one_worker(&busy);
    int runs;

    (void)state;
    atomic_store(&hold, false);
    teach(b);
    atomic_store(&n_held, 0);
    atomic_store(&hold, true);
    call_init(&held, &version, 1, 5, 20);
    assert_int_equal(qn_batcher_submit(b, &held.call, NULL), QN_OK);
    while (atomic_load(&n_held) == 0) usleep(100);
    runs = atomic_load(&n_runs);
    call_init(&late, &version, 1, 4, 20);
    clock_gettime(CLOCK_MONOTONIC, &now);
    late.call.deadline_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 1000000;
    assert_int_equal(qn_batcher_submit(b, &late.call, NULL), QN_OK);
    do { /* until 2 ms are left, less than a run takes */
        usleep(200);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 2000 < late.call.deadline_us);
    atomic_store(&hold, false);
    wait_answer(&held);
    wait_answer(&late);
    assert_int_equal(late.call.status, QN_ERR_DEADLINE);
    assert_int_equal(atomic_load(&n_runs), runs + 1);
    wait_answer(&busy);
    release_all(&held, 1);
    release_all(&busy, 1);
    qn_batcher_destroy(b);
}

static void a_batch_does_not_grow_beyond_the_deadline_of_one_in_it(void **state)
{
    test_call busy, held, t[8];
    struct timespec now;
    qn_batcher *b = one_worker(&busy);

    (void)state;
    atomic_store(&hold, false);
    teach(b); /* 16 bytes take 5 ms: 8 rows of it 40 ms, as far as is known */
    atomic_store(&n_held, 0);
    atomic_store(&hold, true);
    call_init(&held, &version, 1, 5, 20);
    assert_int_equal(qn_batcher_submit(b, &held.call, NULL), QN_OK);
    while (atomic_load(&n_held) == 0) usleep(100);
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int i = 0; i < 8; i++) {
        call_init(&t[i], &version, 1, 4, 20);
        /* half of 50 ms is room for 5 rows at most, on a quick machine */
        if (i == 0) t[i].call.deadline_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + 50000;
        assert_int_equal(qn_batcher_submit(b, &t[i].call, NULL), QN_OK);
    }
    atomic_store(&largest_batch, 0);
    atomic_store(&hold, false);
    for (int i = 0; i < 8; i++) {
        wait_answer(&t[i]);
        if (i > 0) assert_plus_one(&t[i]);
    }
    /* In time the first one ran with 5 rows at most; on a machine that slept it was dropped, and then the others are one batch. */
    if (t[0].call.status == QN_OK) assert_true(t[0].call.batch_rows <= 5);
    wait_answer(&held);
    wait_answer(&busy);
    release_all(t, 8);
    release_all(&held, 1);
    release_all(&busy, 1);
    qn_batcher_destroy(b);
}

static void a_profile_watches_the_runs_it_was_asked_for(void **state)
{
    qn_profile *p = qn_queue_profile(version.queue);
    qn_profile_sum sum;

    (void)state;
    for (int round = 0; round < 2; round++) {
        qn_profile_start(p, 3);
        for (int i = 0; i < 5; i++) {
            test_call t;

            call_init(&t, &version, 2, 4, i == 1 ? 13 : 20); /* the second one fails: another is watched instead */
            assert_int_equal(qn_batcher_submit(batcher, &t.call, NULL), QN_OK);
            wait_answer(&t);
            qn_call_release(&t.call);
        }
        assert_int_equal(qn_profile_read(p, &sum, NULL), QN_OK);
        assert_true(sum.asked == 3 && sum.n_runs == 3 && sum.n_rows == 6 && sum.n == 2);
        for (int i = 0; i < 2; i++) assert_true(sum.rows[i].n == 3 && sum.rows[i].ns <= sum.ns);
        assert_true(sum.rows[0].ns >= sum.rows[1].ns && strcmp(sum.rows[0].node, sum.rows[1].node) != 0);
        qn_profile_rows_free(sum.rows, sum.n);
    }
}

static void *submit_many(void *arg)
{
    test_call *t = arg;

    for (int i = 0; i < 500; i++) {
        call_init(t, &version, 1 + i % 3, 4, (float)i);
        for (int64_t k = 0; k < 12; k++) {
            if (t->x[k] == 13.0f) t->x[k] = 14.0f;
        }
        if (qn_batcher_submit(batcher, &t->call, NULL) != QN_OK) continue;
        while (!atomic_load(&t->answered)) usleep(20);
        if (t->call.status != QN_OK || ((float *)t->call.outputs[0].data)[0] != t->x[0] + 1) return t;
        qn_call_release(&t->call);
    }
    return NULL;
}

static void many_clients_get_their_own_rows(void **state)
{
    pthread_t threads[6];
    test_call *calls = calloc(6, sizeof *calls);
    void *bad;

    (void)state;
    assert_non_null(calls);
    for (int i = 0; i < 6; i++) assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &calls[i]), 0);
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    free(calls);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(waiting_calls_of_one_shape_share_a_run),
        T(another_shape_neither_joins_nor_closes_a_batch),
        T(a_model_without_proof_runs_each_call_alone),
        T(one_bad_row_fails_alone),
        T(a_full_queue_refuses_at_once),
        T(cancelled_and_expired_calls_are_not_run),
        T(a_run_nobody_waits_for_stops),
        T(shutting_down_answers_everybody),
        T(a_higher_class_overtakes_and_its_batch_takes_others_along),
        T(what_cannot_meet_its_deadline_is_refused_when_it_comes),
        T(a_call_that_cannot_end_in_time_any_more_is_not_run),
        T(a_batch_does_not_grow_beyond_the_deadline_of_one_in_it),
        T(a_profile_watches_the_runs_it_was_asked_for),
        T(many_clients_get_their_own_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
