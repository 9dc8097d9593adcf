/* server/metrics/metrics.c - shards of counters, summed and printed at a scrape. */
#include "server/metrics/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_SHARDS    8
#define MAX_BUCKETS 20

/* Status codes that Quern sends; the last slot takes anything else. */
static const int codes[] = { 200, 204, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 429, 431, 499, 500, 503, 504, 505 };
#define N_CODES (sizeof codes / sizeof codes[0] + 1)

/* Upper bounds, in microseconds or in rows. */
static const uint64_t time_bounds[] = { 100,    250,    500,    1000,    2500,    5000,    10000,    25000,    50000,
                                        100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000 };
static const uint64_t row_bounds[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 };
#define N_TIMES (sizeof time_bounds / sizeof time_bounds[0])
#define N_ROWS  (sizeof row_bounds / sizeof row_bounds[0])
_Static_assert(N_TIMES < MAX_BUCKETS && N_ROWS < MAX_BUCKETS, "one more bucket is +Inf");

const char *const qn_time_names[QN_TIME_COUNT] = { "body", "queue", "run", "encode" };
static const char *const left_names[QN_METRICS_LEFT] = { "full", "drained", "delay", "alone" };
static const char *const refused_names[QN_METRICS_REFUSED] = { "", "queue_full", "bytes", "deadline", "stopping" };

typedef struct histogram {
    atomic_uint_fast64_t bucket[MAX_BUCKETS]; /* not cumulative; the last one used is +Inf */
    atomic_uint_fast64_t sum;
} histogram;

typedef struct route_counters {
    atomic_uint_fast64_t code[N_CODES];
    histogram duration;
} route_counters;

typedef struct shard {
    histogram queue, batch_run, batch_rows, times[QN_TIME_COUNT];
    atomic_uint_fast64_t left[QN_METRICS_LEFT], refused[QN_METRICS_REFUSED];
    atomic_uint_fast64_t loads[2]; /* [ok] */
    route_counters routes[];       /* [n_routes] */
} shard;

struct qn_metrics {
    const char *const *route_names;
    int32_t n_routes;
    time_t started;
    shard *shards[N_SHARDS]; /* each aligned to 64 bytes, so that two shards share no cache line */
};

static atomic_uint next_shard;

static shard *my_shard(qn_metrics *m)
{
    static _Thread_local unsigned mine; /* 1 + number of the shard */

    if (mine == 0) mine = 1 + atomic_fetch_add_explicit(&next_shard, 1, memory_order_relaxed) % N_SHARDS;
    return m->shards[mine - 1];
}

static void add(atomic_uint_fast64_t *counter, uint64_t n) { atomic_fetch_add_explicit(counter, n, memory_order_relaxed); }

static void observe(histogram *h, const uint64_t *bounds, size_t n_bounds, uint64_t value)
{
    size_t i = 0;

    while (i < n_bounds && value > bounds[i]) i++;
    add(&h->bucket[i], 1);
    add(&h->sum, value);
}

qn_status qn_metrics_create(const char *const *routes, int32_t n_routes, qn_metrics **out, qn_error *err)
{
    qn_status st = QN_OK;
    qn_metrics *m = NULL;
    size_t bytes = (sizeof(shard) + (size_t)n_routes * sizeof(route_counters) + 63) & ~(size_t)63;

    *out = NULL;
    m = calloc(1, sizeof *m);
    if (!m) {
        st = qn_error_set(err, QN_ERR_NOMEM, "metrics");
        goto done;
    }
    m->route_names = routes;
    m->n_routes = n_routes;
    m->started = time(NULL);
    for (int i = 0; i < N_SHARDS; i++) {
        m->shards[i] = aligned_alloc(64, bytes);
        if (!m->shards[i]) {
            st = qn_error_set(err, QN_ERR_NOMEM, "metrics");
            goto done;
        }
        memset(m->shards[i], 0, bytes);
    }
    *out = m;
    m = NULL;
done:
    qn_metrics_destroy(m);
    return st;
}

void qn_metrics_destroy(qn_metrics *m)
{
    if (!m) return;
    for (int i = 0; i < N_SHARDS; i++) free(m->shards[i]);
    free(m);
}

int64_t qn_metrics_started(const qn_metrics *m) { return (int64_t)m->started; }

void qn_metrics_request(qn_metrics *m, int32_t route, int status, uint64_t duration_us)
{
    route_counters *r;
    size_t i = 0;

    if (route < 0 || route >= m->n_routes) route = m->n_routes - 1;
    r = &my_shard(m)->routes[route];
    while (i < N_CODES - 1 && codes[i] != status) i++;
    add(&r->code[i], 1);
    observe(&r->duration, time_bounds, N_TIMES, duration_us);
}

void qn_metrics_queued(qn_metrics *m, uint64_t queue_us) { observe(&my_shard(m)->queue, time_bounds, N_TIMES, queue_us); }

void qn_metrics_times(qn_metrics *m, const uint64_t us[QN_TIME_COUNT])
{
    shard *s = my_shard(m);

    for (int i = 0; i < QN_TIME_COUNT; i++) observe(&s->times[i], time_bounds, N_TIMES, us[i]);
}

void qn_metrics_refused(qn_metrics *m, int cause)
{
    if (cause > 0 && cause < QN_METRICS_REFUSED) add(&my_shard(m)->refused[cause], 1);
}

void qn_metrics_batch(qn_metrics *m, int64_t rows, uint64_t run_us, int left)
{
    shard *s = my_shard(m);

    observe(&s->batch_rows, row_bounds, N_ROWS, rows < 0 ? 0 : (uint64_t)rows);
    observe(&s->batch_run, time_bounds, N_TIMES, run_us);
    if (left >= 0 && left < QN_METRICS_LEFT) add(&s->left[left], 1);
}

void qn_metrics_load(qn_metrics *m, bool ok) { add(&my_shard(m)->loads[ok], 1); }

/* -- text ----------------------------------------------------------------------------------------------------------------- */

void qn_metrics_escape(qn_buf *out, const char *s, bool label)
{
    for (; *s; s++) {
        if (*s == '\\')
            qn_buf_puts(out, "\\\\");
        else if (*s == '\n')
            qn_buf_puts(out, "\\n");
        else if (*s == '"' && label)
            qn_buf_puts(out, "\\\"");
        else
            qn_buf_append(out, s, 1);
    }
}

/* Sum of one counter, at the same place in every shard. */
static uint64_t total(const qn_metrics *m, const atomic_uint_fast64_t *in_shard_0)
{
    size_t offset = (size_t)((const char *)in_shard_0 - (const char *)m->shards[0]);
    uint64_t sum = 0;

    for (int i = 0; i < N_SHARDS; i++)
        sum += atomic_load_explicit((atomic_uint_fast64_t *)(void *)((char *)m->shards[i] + offset), memory_order_relaxed);
    return sum;
}

static void label(qn_buf *out, char before, const char *key, const char *value)
{
    qn_buf_printf(out, "%c%s=\"", before, key);
    qn_metrics_escape(out, value, true);
    qn_buf_puts(out, "\"");
}

/* scale: 1 for rows, 1e-6 for microseconds printed as seconds. */
static void put_histogram(qn_buf *out, const qn_metrics *m, const char *name, const histogram *h, const uint64_t *bounds, size_t n_bounds,
                          double scale, const char *key, const char *value)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= n_bounds; i++) {
        char le[32] = "+Inf";

        count += total(m, &h->bucket[i]);
        if (i < n_bounds) snprintf(le, sizeof le, "%.9g", (double)bounds[i] * scale);
        qn_buf_printf(out, "%s_bucket", name);
        if (key) label(out, '{', key, value);
        label(out, key ? ',' : '{', "le", le);
        qn_buf_printf(out, "} %" PRIu64 "\n", count);
    }
    qn_buf_printf(out, "%s_sum", name);
    if (key) {
        label(out, '{', key, value);
        qn_buf_puts(out, "}");
    }
    qn_buf_printf(out, " %.9g\n%s_count", (double)total(m, &h->sum) * scale, name);
    if (key) {
        label(out, '{', key, value);
        qn_buf_puts(out, "}");
    }
    qn_buf_printf(out, " %" PRIu64 "\n", count); /* of the same loads as the buckets, so that they agree */
}

static void put_requests(qn_buf *out, const qn_metrics *m, const char *name)
{
    for (int32_t r = 0; r < m->n_routes; r++) {
        for (size_t c = 0; c < N_CODES; c++) {
            uint64_t n = total(m, &m->shards[0]->routes[r].code[c]);
            char code[16] = "other";

            if (n == 0) continue;
            if (c < N_CODES - 1) snprintf(code, sizeof code, "%d", codes[c]);
            qn_buf_puts(out, name);
            label(out, '{', "route", m->route_names[r]);
            label(out, ',', "code", code);
            qn_buf_printf(out, "} %" PRIu64 "\n", n);
        }
    }
}

static bool route_used(const qn_metrics *m, int32_t r)
{
    uint64_t n = 0;

    for (size_t c = 0; c < N_CODES; c++) n += total(m, &m->shards[0]->routes[r].code[c]);
    return n > 0;
}

static void put_u64(qn_buf *out, const char *name, const char *key, const char *value, uint64_t n)
{
    qn_buf_puts(out, name);
    if (key) {
        label(out, '{', key, value);
        qn_buf_puts(out, "}");
    }
    qn_buf_printf(out, " %" PRIu64 "\n", n);
}

/* The labels of a model version, left open for one more. */
static void put_model(qn_buf *out, const char *name, const qn_metrics_model *v)
{
    char number[24];

    snprintf(number, sizeof number, "%" PRId64, v->version);
    qn_buf_puts(out, name);
    label(out, '{', "model", v->name);
    label(out, ',', "version", number);
}

static void put_calls(qn_buf *out, const char *name, const qn_metrics_model *v)
{
    const struct {
        const char *result;
        uint64_t n;
    } rows[] = { { "success", v->n_success },
                 { "failed", v->n_failed },
                 { "rejected", v->n_rejected },
                 { "cancelled", v->n_cancelled },
                 { "expired", v->n_expired } };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_model(out, name, v);
        label(out, ',', "result", rows[i].result);
        qn_buf_printf(out, "} %" PRIu64 "\n", rows[i].n);
    }
}

static uint64_t count_open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!d) return 0;
    while (readdir(d)) n++;
    closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

typedef enum metric_id {
#define QN_METRIC(id, type, name, help) ID_##id,
#include "server/metrics/metrics.def"
#undef QN_METRIC
    N_METRICS
} metric_id;

enum { COUNTER, GAUGE, HISTOGRAM };
static const char *const type_names[] = { "counter", "gauge", "histogram" };
static const struct {
    int type;
    const char *name, *help;
} metrics[] = {
#define QN_METRIC(id, type, name, help) { type, name, help },
#include "server/metrics/metrics.def"
#undef QN_METRIC
};

static void put_model_samples(qn_buf *out, metric_id id, const char *name, const qn_metrics_view *view)
{
    for (int32_t i = 0; i < view->n_models; i++) {
        const qn_metrics_model *v = &view->models[i];

        if (id == ID_CALLS) {
            put_calls(out, name, v);
            continue;
        }
        put_model(out, name, v);
        if (id == ID_QUEUE_SUM || id == ID_RUN_SUM)
            qn_buf_printf(out, "} %.9g\n", (double)(id == ID_QUEUE_SUM ? v->queue_us : v->run_us) * 1e-6);
        else if (id == ID_QUEUE_AGE)
            qn_buf_printf(out, "} %.9g\n", (double)v->oldest_us * 1e-6);
        else if (id == ID_MODEL_WEIGHTS)
            qn_buf_printf(out, "} %" PRIu64 "\n", v->weight_bytes);
        else if (id == ID_WAITING)
            qn_buf_printf(out, "} %" PRId64 "\n", v->waiting);
        else
            qn_buf_printf(out, "} %" PRIu64 "\n", id == ID_ROWS ? v->n_rows : v->n_batches);
    }
}

static void put_samples(qn_buf *out, const qn_metrics *m, metric_id id, const char *name, const qn_metrics_view *view)
{
    const shard *s = m->shards[0];

    switch (id) {
    case ID_BATCH_ROWS: put_histogram(out, m, name, &s->batch_rows, row_bounds, N_ROWS, 1.0, NULL, NULL); break;
    case ID_BATCH_RUN: put_histogram(out, m, name, &s->batch_run, time_bounds, N_TIMES, 1e-6, NULL, NULL); break;
    case ID_QUEUE: put_histogram(out, m, name, &s->queue, time_bounds, N_TIMES, 1e-6, NULL, NULL); break;
    case ID_STAGES:
        for (int i = 0; i < QN_TIME_COUNT; i++)
            put_histogram(out, m, name, &s->times[i], time_bounds, N_TIMES, 1e-6, "stage", qn_time_names[i]);
        break;
    case ID_BATCHES_LEFT:
        for (int i = 0; i < QN_METRICS_LEFT; i++) put_u64(out, name, "reason", left_names[i], total(m, &s->left[i]));
        break;
    case ID_REFUSED:
        for (int i = 1; i < QN_METRICS_REFUSED; i++) put_u64(out, name, "cause", refused_names[i], total(m, &s->refused[i]));
        break;
    case ID_REQUEST_DURATION:
        for (int32_t r = 0; r < m->n_routes; r++) {
            if (route_used(m, r))
                put_histogram(out, m, name, &s->routes[r].duration, time_bounds, N_TIMES, 1e-6, "route", m->route_names[r]);
        }
        break;
    case ID_REQUESTS: put_requests(out, m, name); break;
    case ID_BATCHES:
    case ID_CALLS:
    case ID_ROWS:
    case ID_QUEUE_SUM:
    case ID_RUN_SUM:
    case ID_QUEUE_AGE:
    case ID_MODEL_WEIGHTS:
    case ID_WAITING: put_model_samples(out, id, name, view); break;
    case ID_BUILD:
        qn_buf_puts(out, name);
        label(out, '{', "version", view->version);
        label(out, ',', "isa", view->isa);
        qn_buf_puts(out, "} 1\n");
        break;
    case ID_BYTES_IN_FLIGHT: put_u64(out, name, NULL, NULL, view->bytes_in_flight); break;
    case ID_CONNECTIONS: qn_buf_printf(out, "%s %" PRId64 "\n", name, view->connections); break;
    case ID_CONNECTIONS_TOTAL: put_u64(out, name, NULL, NULL, view->connections_total); break;
    case ID_TIMEOUTS:
        put_u64(out, name, "stage", "header", view->timeouts_header);
        put_u64(out, name, "stage", "body", view->timeouts_body);
        put_u64(out, name, "stage", "idle", view->timeouts_idle);
        put_u64(out, name, "stage", "write", view->timeouts_write);
        break;
    case ID_MODEL_LOADS:
        put_u64(out, name, "result", "ok", total(m, &s->loads[1]));
        put_u64(out, name, "result", "failed", total(m, &s->loads[0]));
        break;
    case ID_OPEN_FILES: put_u64(out, name, NULL, NULL, count_open_fds()); break;
    case ID_START: qn_buf_printf(out, "%s %" PRId64 "\n", name, (int64_t)m->started); break;
    case ID_READY: put_u64(out, name, NULL, NULL, view->ready); break;
    case ID_SHED:
        put_u64(out, name, "reason", "connections", view->shed_connections);
        put_u64(out, name, "reason", "bytes", view->shed_bytes);
        break;
    case ID_WEIGHT_BYTES: put_u64(out, name, NULL, NULL, view->weight_bytes); break;
    case N_METRICS: break;
    }
}

void qn_metrics_render(qn_metrics *m, const qn_metrics_view *view, qn_buf *out)
{
    for (int id = 0; id < N_METRICS; id++) {
        size_t start = out->len, samples;

        qn_buf_printf(out, "# HELP %s ", metrics[id].name);
        qn_metrics_escape(out, metrics[id].help, false);
        qn_buf_printf(out, "\n# TYPE %s %s\n", metrics[id].name, type_names[metrics[id].type]);
        samples = out->len;
        put_samples(out, m, (metric_id)id, metrics[id].name, view);
        if (out->len == samples && !out->failed) out->len = start; /* no samples: no family */
    }
}
