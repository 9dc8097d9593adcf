/* server/routes/stats.c - GET /v2/models/stats and /v2/models/{m}[/versions/{v}]/stats in Triton's shape.
 * Counters are of this process and this load of a version; durations are cumulative nanoseconds. inference_count counts rows and
 * execution_count runs, as in Triton. compute_input is the joining of requests into one input, compute_output the handing out of its rows;
 * decoding and encoding of bodies are on other threads and in /metrics. There is no cache of answers, so cache_hit and cache_miss are 0. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put_duration(qn_buf *out, const char *name, uint64_t n, uint64_t us, const char *after)
{
    qn_buf_printf(out, "\"%s\":{\"count\":%" PRIu64 ",\"ns\":%" PRIu64 "}%s", name, n, us * 1000, after);
}

static void put_sizes(qn_buf *out, qn_queue *queue)
{
    qn_run_size sizes[QN_RUN_SIZES];
    const int32_t n = qn_queue_get_sizes(queue, sizes);

    for (int32_t i = 0; i < n; i++) {
        const qn_run_size *s = &sizes[i];

        qn_buf_printf(out, "%s{\"batch_size\":%" PRId64 ",", i ? "," : "", s->rows);
        put_duration(out, "compute_input", s->n_runs, s->gather_us, ",");
        put_duration(out, "compute_infer", s->n_runs, s->run_us, ",");
        put_duration(out, "compute_output", s->n_runs, s->scatter_us, "}");
    }
}

static void put_version(qn_buf *out, qn_version *v)
{
    qn_queue_stats s = { 0 };

    qn_queue_get_stats(qn_version_queue(v), &s);
    qn_buf_puts(out, "{\"name\":");
    qn_json_put_string(out, qn_version_name(v), strlen(qn_version_name(v)));
    qn_buf_printf(out,
                  ",\"version\":\"%" PRId64 "\",\"last_inference\":%" PRIu64 ",\"inference_count\":%" PRIu64 ",\"execution_count\":%" PRIu64
                  ",\"inference_stats\":{",
                  qn_version_number(v), s.last_ms, s.n_rows, s.n_batches);
    put_duration(out, "success", s.n_success, s.queue_us + s.run_us, ",");
    put_duration(out, "fail", s.n_failed + s.n_rejected + s.n_cancelled + s.n_expired, 0, ",");
    put_duration(out, "queue", s.n_success + s.n_failed, s.queue_us, ",");
    put_duration(out, "compute_input", s.n_batches, s.gather_us, ",");
    put_duration(out, "compute_infer", s.n_batches, s.run_us, ",");
    put_duration(out, "compute_output", s.n_batches, s.scatter_us, ",");
    put_duration(out, "cache_hit", 0, 0, ",");
    put_duration(out, "cache_miss", 0, 0, "},\"response_stats\":{},\"batch_stats\":[");
    put_sizes(out, qn_version_queue(v));
    qn_buf_printf(out,
                  "],\"queue_stats\":{\"waiting\":%" PRId64 ",\"rejected\":%" PRIu64 ",\"cancelled\":%" PRIu64 ",\"expired\":%" PRIu64
                  "},\"memory_usage\":[{\"type\":\"CPU\",\"id\":0,\"byte_size\":%" PRIu64 "}]}",
                  s.waiting, s.n_rejected, s.n_cancelled, s.n_expired, qn_model_weight_bytes(qn_version_model(v)));
}

static void stats_all(qn_exchange *x)
{
    qn_registry *registry = qn_visit_of(x)->app->registry;
    qn_entry *e = NULL;
    int32_t n = 0;
    bool first = true;
    qn_error err = { 0 };

    if (qn_entries(registry, NULL, &e, &n, &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        return;
    }
    qn_buf_puts(&x->reply, "{\"model_stats\":[");
    for (int32_t i = 0; i < n; i++) {
        qn_version *v = NULL;

        if (e[i].state != QN_VERSION_READY || qn_registry_peek(registry, e[i].model, e[i].version, &v, NULL) != QN_OK) continue;
        if (!first) qn_buf_puts(&x->reply, ",");
        put_version(&x->reply, v);
        qn_version_unref(v);
        first = false;
    }
    qn_buf_puts(&x->reply, "]}");
    free(e);
    qn_reply_json(x);
}

static void stats_model(qn_exchange *x)
{
    qn_version *v = NULL;

    if (!qn_visit_version(x, &v)) return;
    qn_buf_puts(&x->reply, "{\"model_stats\":[");
    put_version(&x->reply, v);
    qn_buf_puts(&x->reply, "]}");
    qn_reply_json(x);
    qn_version_unref(v);
}

const qn_endpoint qn_endpoint_stats_all = { .body = QN_BODY_NONE, .handler = { .end = stats_all } };
const qn_endpoint qn_endpoint_stats_model = { .body = QN_BODY_NONE, .handler = { .end = stats_model } };
