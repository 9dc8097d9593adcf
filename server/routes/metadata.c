/* server/routes/metadata.c - GET /v2, /v2/models/{m}[/versions/{v}] and /ready: what the server and its models are.
 * Source   Open Inference Protocol v2, inference_rest.md. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void server_metadata(qn_exchange *x)
{
    qn_buf_puts(&x->reply, "{\"name\":\"quern\",\"version\":\"" QUERN_VERSION "\","
                           "\"extensions\":[\"binary_tensor_data\",\"classification\",\"model_configuration\",\"model_repository\","
                           "\"schedule_policy\",\"statistics\"]}");
    qn_reply_json(x);
}

static void put_text(qn_buf *out, const char *s) { qn_json_put_string(out, s, strlen(s)); }

static void put_port(qn_buf *out, const qn_port *p)
{
    qn_buf_puts(out, "{\"name\":");
    put_text(out, p->name);
    qn_buf_printf(out, ",\"datatype\":\"%s\",\"shape\":[", qn_dtype_oip_name(p->dtype));
    for (int32_t i = 0; i < p->rank; i++) qn_buf_printf(out, "%s%" PRId64, i ? "," : "", p->dims[i]);
    qn_buf_puts(out, "]}");
}

/* The versions that can be asked for. */
static qn_status put_versions(qn_buf *out, qn_registry *registry, const char *model, qn_error *err)
{
    qn_entry *e = NULL;
    int32_t n = 0;
    bool first = true;
    qn_status st = qn_entries(registry, model, &e, &n, err);

    for (int32_t i = 0; i < n; i++) {
        if (e[i].state != QN_VERSION_READY) continue;
        qn_buf_printf(out, "%s\"%" PRId64 "\"", first ? "" : ",", e[i].version);
        first = false;
    }
    free(e);
    return st;
}

static void model_metadata(qn_exchange *x)
{
    qn_version *v = NULL;
    const qn_model *m;
    qn_error err = { 0 };

    if (!qn_visit_version(x, &v)) return;
    m = qn_version_model(v);
    qn_buf_puts(&x->reply, "{\"name\":");
    put_text(&x->reply, qn_version_name(v));
    qn_buf_puts(&x->reply, ",\"versions\":[");
    if (put_versions(&x->reply, qn_visit_of(x)->app->registry, qn_version_name(v), &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        goto done;
    }
    qn_buf_puts(&x->reply, "],\"platform\":\"onnx_onnxv1\",\"inputs\":[");
    for (int32_t i = 0; i < qn_model_n_inputs(m); i++) {
        if (i) qn_buf_puts(&x->reply, ",");
        put_port(&x->reply, qn_model_input(m, i));
    }
    qn_buf_puts(&x->reply, "],\"outputs\":[");
    for (int32_t i = 0; i < qn_model_n_outputs(m); i++) {
        if (i) qn_buf_puts(&x->reply, ",");
        put_port(&x->reply, qn_model_output(m, i));
    }
    qn_buf_puts(&x->reply, "]}");
    qn_reply_json(x);
done:
    qn_version_unref(v);
}

static void model_ready(qn_exchange *x)
{
    qn_version *v = NULL;

    if (!qn_visit_version(x, &v)) return;
    qn_buf_puts(&x->reply, "{\"name\":");
    put_text(&x->reply, qn_version_name(v));
    qn_buf_puts(&x->reply, ",\"ready\":true}");
    qn_reply_json(x);
    qn_version_unref(v);
}

const qn_endpoint qn_endpoint_server_metadata = { .body = QN_BODY_NONE, .handler = { .end = server_metadata } };
const qn_endpoint qn_endpoint_model_metadata = { .body = QN_BODY_NONE, .handler = { .end = model_metadata } };
const qn_endpoint qn_endpoint_model_ready = { .body = QN_BODY_NONE, .handler = { .end = model_ready } };
