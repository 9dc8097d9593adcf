/* server/routes/profile.c - POST /v2/models/{m}[/versions/{v}]/profile {"runs": N} watches the next N runs (100), GET shows what was seen:
 *   {"model_name","model_version","asked","runs","rows","ms_per_run","nodes":[{"node","op","kernel","runs","ms_per_run","share"}]}
 * Slowest node first; share is of the time of the runs, what is left over is between the nodes. Times in milliseconds. */
#include "server/batcher/profile.h"
#include "server/routes/routes.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define RUNS 100

static void put_text(qn_buf *out, const char *key, const char *value)
{
    qn_buf_printf(out, "\"%s\":", key);
    qn_json_put_string(out, value, strlen(value));
}

static double ms(uint64_t ns, uint64_t n) { return n ? (double)ns * 1e-6 / (double)n : 0; }

static void show(qn_exchange *x, qn_version *v)
{
    qn_profile_sum sum;
    qn_error err = { 0 };
    qn_buf *out = &x->reply;

    if (qn_profile_read(qn_queue_profile(qn_version_queue(v)), &sum, &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        return;
    }
    qn_buf_puts(out, "{");
    put_text(out, "model_name", qn_version_name(v));
    qn_buf_printf(out,
                  ",\"model_version\":\"%" PRId64 "\",\"asked\":%" PRId64 ",\"runs\":%" PRId64 ",\"rows\":%" PRId64
                  ",\"ms_per_run\":%.6g,\"nodes\":[",
                  qn_version_number(v), sum.asked, sum.n_runs, sum.n_rows, ms(sum.ns, (uint64_t)sum.n_runs));
    for (int32_t i = 0; i < sum.n; i++) {
        const qn_profile_row *r = &sum.rows[i];

        qn_buf_puts(out, i ? ",{" : "{");
        put_text(out, "node", r->node);
        qn_buf_puts(out, ",");
        put_text(out, "op", r->op);
        qn_buf_puts(out, ",");
        put_text(out, "kernel", r->kernel);
        qn_buf_printf(out, ",\"runs\":%" PRIu64 ",\"ms_per_run\":%.6g,\"share\":%.4f}", r->n, ms(r->ns, r->n),
                      sum.ns ? (double)r->ns / (double)sum.ns : 0.0);
    }
    qn_buf_puts(out, "]}");
    qn_profile_rows_free(sum.rows, sum.n);
    qn_reply_json(x);
}

static void profile_show(qn_exchange *x)
{
    qn_version *v = NULL;

    if (!qn_visit_version(x, &v)) return;
    show(x, v);
    qn_version_unref(v);
}

static void profile_start(qn_exchange *x)
{
    json_t *doc = NULL, *runs;
    const char *key;
    qn_version *v = NULL;
    json_t *value;
    int64_t n = RUNS;

    if (!qn_control_body(x, &doc)) return;
    json_object_foreach(doc, key, value) if (!x->status && strcmp(key, "runs") != 0)
        qn_exchange_error(x, 400, "unknown field \"%.40s\", expected \"runs\"", key);
    runs = doc ? json_object_get(doc, "runs") : NULL;
    if (runs) n = json_is_integer(runs) ? (int64_t)json_integer_value(runs) : 0;
    json_decref(doc);
    if (!x->status && (n < 1 || n > QN_PROFILE_MAX_RUNS))
        qn_exchange_error(x, 400, "runs: a whole number expected, 1..%d", QN_PROFILE_MAX_RUNS);
    if (x->status || !qn_visit_version(x, &v)) return;
    qn_profile_start(qn_queue_profile(qn_version_queue(v)), n);
    show(x, v);
    qn_version_unref(v);
}

const qn_endpoint qn_endpoint_profile_start = { .body = QN_BODY_CONTROL, .handler = { .end = profile_start } };
const qn_endpoint qn_endpoint_profile_show = { .body = QN_BODY_NONE, .handler = { .end = profile_show } };
