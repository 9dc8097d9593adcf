/* server/routes/model_config.c - GET /v2/models/{m}[/versions/{v}]/config: how a model is served, as Triton's ModelConfig.
 * Source   Triton extension_model_configuration.md, model_config.proto: names of fields; int64 as JSON numbers.
 * max_batch_size is the rows that requests may be joined to, and 0 where they are not joined; above 0 dimension 0 is left out of dims. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <string.h>

static void put_text(qn_buf *out, const char *s) { qn_json_put_string(out, s, strlen(s)); }

/* TYPE_ and the name of Open Inference, but for strings. */
static void put_type(qn_buf *out, qn_dtype dtype)
{
    qn_buf_printf(out, "\"TYPE_%s\"", dtype == QN_STRING ? "STRING" : qn_dtype_oip_name(dtype));
}

static bool first_is_free(const qn_port *p) { return p->rank > 0 && p->dims[0] < 0; }

/* Rows of several requests go into one run. */
static bool is_batched(const qn_version *v)
{
    const qn_model_settings *s = qn_version_settings(v);
    const qn_model *m = qn_version_model(v);

    if (s->max_batch_rows <= 1 || s->batching == 0 || (s->batching < 0 && !qn_model_rows_independent(m))) return false;
    for (int32_t i = 0; i < qn_model_n_inputs(m); i++)
        if (!first_is_free(qn_model_input(m, i))) return false;
    for (int32_t i = 0; i < qn_model_n_outputs(m); i++)
        if (!first_is_free(qn_model_output(m, i))) return false;
    return true;
}

static void put_port(qn_buf *out, const qn_port *p, bool batched, bool input)
{
    bool begun = false;

    qn_buf_puts(out, "{\"name\":");
    put_text(out, p->name);
    qn_buf_puts(out, ",\"data_type\":");
    put_type(out, p->dtype);
    qn_buf_puts(out, ",\"dims\":[");
    for (int32_t i = batched ? 1 : 0; i < p->rank; i++) {
        qn_buf_printf(out, "%s%" PRId64, begun ? "," : "", p->dims[i]);
        begun = true;
    }
    qn_buf_puts(out, input && p->optional ? "],\"optional\":true}" : "]}");
}

/* As it was when this version was loaded; a version that was settled on by policy alone and one that is pinned look the same here. */
static void put_policy(qn_buf *out, const qn_version_policy *p)
{
    switch (p->rule) {
    case QN_VERSIONS_ALL: qn_buf_puts(out, "\"all\":{}"); break;
    case QN_VERSIONS_SPECIFIC:
        qn_buf_puts(out, "\"specific\":{\"versions\":[");
        for (int32_t i = 0; i < p->n_numbers; i++) qn_buf_printf(out, "%s%" PRId64, i ? "," : "", p->numbers[i]);
        qn_buf_puts(out, "]}");
        break;
    case QN_VERSIONS_LATEST: qn_buf_printf(out, "\"latest\":{\"num_versions\":%d}", p->n_latest > 0 ? (int)p->n_latest : 1); break;
    }
}

static void model_config(qn_exchange *x)
{
    qn_buf *out = &x->reply;
    qn_version *v = NULL;
    const qn_model_settings *s;
    const qn_model *m;
    bool batched;

    if (!qn_visit_version(x, &v)) return;
    m = qn_version_model(v);
    s = qn_version_settings(v);
    batched = is_batched(v);
    qn_buf_puts(out, "{\"name\":");
    put_text(out, qn_version_name(v));
    qn_buf_puts(out, ",\"platform\":\"onnx_onnxv1\",\"backend\":\"quern\",\"version_policy\":{");
    put_policy(out, &s->versions);
    qn_buf_printf(out, "},\"max_batch_size\":%d,\"input\":[", batched ? (int)s->max_batch_rows : 0);
    for (int32_t i = 0; i < qn_model_n_inputs(m); i++) {
        if (i) qn_buf_puts(out, ",");
        put_port(out, qn_model_input(m, i), batched, true);
    }
    qn_buf_puts(out, "],\"output\":[");
    for (int32_t i = 0; i < qn_model_n_outputs(m); i++) {
        if (i) qn_buf_puts(out, ",");
        put_port(out, qn_model_output(m, i), batched, false);
    }
    qn_buf_puts(out, "]");
    if (batched)
        qn_buf_printf(out,
                      ",\"dynamic_batching\":{\"max_queue_delay_microseconds\":%" PRId64
                      ",\"priority_levels\":%d,\"default_priority_level\":%d,"
                      "\"default_queue_policy\":{\"allow_timeout_override\":true,\"max_queue_size\":%" PRId32 "}}",
                      s->max_queue_delay_us, (int)QN_PRIORITY_COUNT, s->priority + 1, s->max_queued);
    qn_buf_puts(out, "}");
    qn_reply_json(x);
    qn_version_unref(v);
}

const qn_endpoint qn_endpoint_model_config = { .body = QN_BODY_NONE, .handler = { .end = model_config } };
