/* server/routes/predict.c - TensorFlow Serving's REST: POST /v1/models/{m}[/versions/{v}]:predict, :classify, :regress, GET its status and /metadata.
 * Source   tensorflow_serving api_rest.md. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void begin(qn_exchange *x) { qn_prediction_begin(x, QN_BODY_TFS_JSON); }
static void begin_classify(qn_exchange *x) { qn_prediction_begin(x, QN_BODY_TFS_CLASSIFY); }
static void begin_regress(qn_exchange *x) { qn_prediction_begin(x, QN_BODY_TFS_REGRESS); }

static void put_text(qn_buf *out, const char *s) { qn_json_put_string(out, s, strlen(s)); }

static const char *state_name(qn_version_state state)
{
    switch (state) {
    case QN_VERSION_FOUND: return "START";
    case QN_VERSION_LOADING: return "LOADING";
    case QN_VERSION_READY: return "AVAILABLE";
    case QN_VERSION_DRAINING: return "UNLOADING";
    case QN_VERSION_FAILED:
    case QN_VERSION_GONE: return "END";
    }
    return "END";
}

static void status(qn_exchange *x)
{
    qn_visit *v = qn_visit_of(x);
    qn_entry *e = NULL;
    int32_t n = 0, shown = 0;
    qn_error err = { 0 };

    if (v->path.label[0]) { /* the version that bears it, and no other */
        qn_version *labelled = NULL;

        if (!qn_visit_version(x, &labelled)) return;
        v->path.version = qn_version_number(labelled);
        qn_version_unref(labelled);
    }
    if (qn_entries(v->app->registry, v->path.model, &e, &n, &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        return;
    }
    qn_buf_puts(&x->reply, "{\"id\":"); /* OpenAI's keys beside TensorFlow Serving's: their clients ask the same path */
    put_text(&x->reply, v->path.model);
    qn_buf_printf(&x->reply, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"quern\",\"model_version_status\":[",
                  qn_metrics_started(v->app->metrics));
    for (int32_t i = 0; i < n; i++) {
        if (e[i].version == 0 || (v->path.version && v->path.version != e[i].version)) continue;
        qn_buf_printf(&x->reply, "%s{\"version\":\"%" PRId64 "\",\"state\":\"%s\",\"status\":{\"error_code\":\"%s\",\"error_message\":",
                      shown ? "," : "", e[i].version, state_name(e[i].state), e[i].state == QN_VERSION_FAILED ? "UNKNOWN" : "OK");
        put_text(&x->reply, e[i].reason);
        qn_buf_puts(&x->reply, "}}");
        shown++;
    }
    qn_buf_puts(&x->reply, "]}");
    free(e);
    if (shown)
        qn_reply_json(x);
    else if (v->path.version)
        qn_exchange_error(x, 404, "model '%s' has no version %" PRId64, v->path.model, v->path.version);
    else
        qn_exchange_error(x, 404, "no model '%s'", v->path.model);
}

static const char *dtype_name(qn_dtype dtype)
{
    switch (dtype) {
    case QN_F32: return "DT_FLOAT";
    case QN_F64: return "DT_DOUBLE";
    case QN_F16: return "DT_HALF";
    case QN_BF16: return "DT_BFLOAT16";
    case QN_I8: return "DT_INT8";
    case QN_I16: return "DT_INT16";
    case QN_I32: return "DT_INT32";
    case QN_I64: return "DT_INT64";
    case QN_U8: return "DT_UINT8";
    case QN_U16: return "DT_UINT16";
    case QN_U32: return "DT_UINT32";
    case QN_U64: return "DT_UINT64";
    case QN_BOOL: return "DT_BOOL";
    case QN_STRING: return "DT_STRING";
    case QN_I4:
    case QN_U4: /* no such model is served, see version.c */
    case QN_DTYPE_NONE:
    case QN_DTYPE_COUNT: break;
    }
    return "DT_INVALID";
}

static void put_port(qn_buf *out, const qn_port *p, bool first)
{
    if (!first) qn_buf_puts(out, ",");
    put_text(out, p->name);
    qn_buf_printf(out, ":{\"dtype\":\"%s\",\"tensor_shape\":{\"dim\":[", dtype_name(p->dtype));
    for (int32_t i = 0; i < p->rank; i++) {
        qn_buf_printf(out, "%s{\"size\":\"%" PRId64 "\",\"name\":", i ? "," : "", p->dims[i]);
        put_text(out, p->symbols[i] ? p->symbols[i] : "");
        qn_buf_puts(out, "}");
    }
    qn_buf_printf(out, "],\"unknown_rank\":%s},\"name\":", p->rank < 0 ? "true" : "false");
    put_text(out, p->name);
    qn_buf_puts(out, "}");
}

static void metadata(qn_exchange *x)
{
    qn_version *v = NULL;
    const qn_model *m;

    if (!qn_visit_version(x, &v)) return;
    m = qn_version_model(v);
    qn_buf_puts(&x->reply, "{\"model_spec\":{\"name\":");
    put_text(&x->reply, qn_version_name(v));
    qn_buf_printf(&x->reply,
                  ",\"signature_name\":\"\",\"version\":\"%" PRId64
                  "\"},\"metadata\":{\"signature_def\":{\"signature_def\":{\"serving_default\":{\"inputs\":{",
                  qn_version_number(v));
    for (int32_t i = 0; i < qn_model_n_inputs(m); i++) put_port(&x->reply, qn_model_input(m, i), i == 0);
    qn_buf_puts(&x->reply, "},\"outputs\":{");
    for (int32_t i = 0; i < qn_model_n_outputs(m); i++) put_port(&x->reply, qn_model_output(m, i), i == 0);
    qn_buf_puts(&x->reply, "},\"method_name\":\"tensorflow/serving/predict\"}}}}}");
    qn_reply_json(x);
    qn_version_unref(v);
}

const qn_endpoint qn_endpoint_predict = { .body = QN_BODY_TENSORS,
                                          .handler = { begin, qn_prediction_body, qn_prediction_end, qn_prediction_release } };
const qn_endpoint qn_endpoint_classify = { .body = QN_BODY_TENSORS,
                                           .handler = { begin_classify, qn_prediction_body, qn_prediction_end, qn_prediction_release } };
const qn_endpoint qn_endpoint_regress = { .body = QN_BODY_TENSORS,
                                          .handler = { begin_regress, qn_prediction_body, qn_prediction_end, qn_prediction_release } };
const qn_endpoint qn_endpoint_tfs_status = { .body = QN_BODY_NONE, .handler = { .end = status } };
const qn_endpoint qn_endpoint_tfs_metadata = { .body = QN_BODY_NONE, .handler = { .end = metadata } };
