/* server/routes/prediction.c - the way of a prediction, the same for both families:
 *   begin  look up the version (a reference until release), make a decoder        HTTP thread
 *   body   feed the decoder; no tree, no second copy                              HTTP thread
 *   end    finish, suspend, submit to the batcher                                 HTTP thread
 *   done   encode the reply, give the call's outputs back, resume                 worker
 * Deadline the smallest of the body's `timeout`, X-Request-Timeout-Ms and server.request_timeout_ms, counted from the end of the head. */
#include "server/routes/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(QN_LEFT_ALONE + 1 == QN_METRICS_LEFT && QN_REFUSED_STOPPING + 1 == QN_METRICS_REFUSED, "a label for each");

typedef struct prediction {
    qn_call call;
    qn_exchange *x;
    qn_body_kind kind;
    qn_decoder *decoder;
    qn_decoded decoded;
    uint64_t timeout_us; /* of the header, or of the configuration */
    int priority;        /* of the header; 0: none */
    bool timing;         /* the client wants Server-Timing */
} prediction;

static prediction *prediction_of(const qn_exchange *x) { return qn_visit_of(x)->state; }

/* X-Request-Timeout-Ms, if it is there: 1 ms to a day. */
static bool header_timeout(qn_exchange *x, uint64_t *timeout_us)
{
    int n = 0;
    const qn_http_field *f = qn_http_find(x->head, "X-Request-Timeout-Ms", &n);
    uint64_t ms = 0;

    if (n == 0) return true;
    if (n > 1 || !qn_http_number(f, &ms) || ms < 1 || ms > 86400000) {
        qn_exchange_error(x, 400, "X-Request-Timeout-Ms: one number of milliseconds expected, 1..86400000");
        return false;
    }
    if (ms * 1000 < *timeout_us) *timeout_us = ms * 1000;
    return true;
}

/* X-Request-Priority, if it is there; *priority as the v2 parameter. */
static bool header_priority(qn_exchange *x, int *priority)
{
    static const char *const names[] = { "high", "normal", "low" };
    int n = 0;
    const qn_http_field *f = qn_http_find(x->head, "X-Request-Priority", &n);

    for (int i = 0; i < 3 && n == 1; i++) {
        if (f->value_len != strlen(names[i]) || memcmp(f->value, names[i], f->value_len) != 0) continue;
        *priority = i + 1;
        return true;
    }
    if (n > 0) qn_exchange_error(x, 400, "X-Request-Priority: high, normal or low expected, once");
    return n == 0;
}

/* Length of the JSON part of a body with binary tensors; -1 when the header is not there. */
static bool header_length(qn_exchange *x, int64_t *out)
{
    int n = 0;
    const qn_http_field *f = qn_http_find(x->head, "Inference-Header-Content-Length", &n);
    uint64_t bytes = 0;

    *out = -1;
    if (n == 0) return true;
    if (n > 1 || !qn_http_number(f, &bytes) || bytes > INT64_MAX || (x->framing.has_length && bytes > x->framing.length)) {
        qn_exchange_error(x, 400, "Inference-Header-Content-Length: one number of bytes expected, at most the length of the body");
        return false;
    }
    *out = (int64_t)bytes;
    return true;
}

void qn_prediction_begin(qn_exchange *x, qn_body_kind kind)
{
    qn_visit *v = qn_visit_of(x);
    uint64_t max = (uint64_t)v->app->config->max_body_bytes, timeout_us = (uint64_t)v->app->config->request_timeout_ms * 1000;
    const qn_codec_limits limits = { .body_bytes = max, .tensor_bytes = 4 * max, .text_bytes = max, .depth = 64 };
    int64_t header_bytes = -1;
    qn_error err = { 0 };
    prediction *p;

    if (!header_timeout(x, &timeout_us) || (kind == QN_BODY_V2_JSON && !header_length(x, &header_bytes))) return;
    p = calloc(1, sizeof *p);
    if (!p) {
        qn_exchange_error(x, 503, "no memory for a prediction");
        return;
    }
    v->state = p;
    p->x = x;
    p->kind = kind;
    p->timeout_us = timeout_us;
    p->timing = qn_exchange_field(x, "X-Server-Timing") != NULL;
    if (!header_priority(x, &p->priority)) return;
    if (!qn_visit_version(x, &p->call.version)) return;
    if (qn_decoder_create(kind, qn_version_model(p->call.version), header_bytes, &limits, &p->decoder, &err) != QN_OK)
        qn_reply_error(x, &err, false);
}

void qn_prediction_body(qn_exchange *x, const char *data, size_t n)
{
    qn_error err = { 0 };

    if (qn_decoder_feed(prediction_of(x)->decoder, data, n, &err) != QN_OK) qn_reply_error(x, &err, false);
}

static void encode(prediction *p)
{
    qn_exchange *x = p->x;
    qn_version *v = p->call.version;
    const qn_model *model = qn_version_model(v);
    const qn_model_settings *s = qn_version_settings(v);
    qn_error err = { 0 };
    qn_status st;

    switch (p->kind) {
    case QN_BODY_V2_JSON:
        st = qn_encode_v2(qn_version_name(v), qn_version_number(v), &p->decoded, model, p->call.outputs, (const char *const *)s->labels,
                          s->n_labels, &x->reply, &x->header_bytes, &err);
        break;
    case QN_BODY_TFS_CLASSIFY:
        st = qn_encode_tfs_classes(&p->decoded, model, p->call.outputs, (const char *const *)s->labels, s->n_labels, &x->reply, &err);
        break;
    case QN_BODY_TFS_REGRESS: st = qn_encode_tfs_values(&p->decoded, model, p->call.outputs, &x->reply, &err); break;
    default: st = qn_encode_tfs(&p->decoded, model, p->call.outputs, &x->reply, &err); break;
    }
    if (st != QN_OK)
        qn_reply_error(x, &err, false);
    else
        qn_exchange_reply(x, 200, x->header_bytes >= 0 ? "application/octet-stream" : "application/json");
}

/* Where the time went: to the metrics, and to the client if it asked with X-Server-Timing. */
static void tell_times(prediction *p, uint64_t encoded_us)
{
    const qn_call *c = &p->call;
    const uint64_t us[QN_TIME_COUNT] = { c->queued_us - p->x->started_us, c->started_us - c->queued_us, c->finished_us - c->started_us,
                                         encoded_us - c->finished_us };
    size_t len = 0;

    qn_metrics_times(qn_visit_of(p->x)->app->metrics, us);
    for (int i = 0; p->timing && i < QN_TIME_COUNT; i++) {
        int n =
            snprintf(p->x->timing + len, sizeof p->x->timing - len, "%s%s;dur=%.3f", i ? ", " : "", qn_time_names[i], (double)us[i] / 1e3);

        if (n > 0) len += (size_t)n;
        if (len >= sizeof p->x->timing) len = sizeof p->x->timing - 1;
    }
}

/* On a worker. Everything of the call is given back before the resume: after it the exchange may be gone. */
static void on_done(qn_call *call)
{
    prediction *p = call->user;

    if (call->started_us > 0 && call->started_us >= call->queued_us)
        qn_metrics_queued(qn_visit_of(p->x)->app->metrics, call->started_us - call->queued_us);
    if (call->status == QN_OK) {
        encode(p);
        tell_times(p, qn_now_us());
    } else if (call->status == QN_ERR_CANCELLED && atomic_load(&qn_visit_of(p->x)->app->closed)) {
        qn_exchange_error(p->x, 503, "stopping"); /* the daemon gave up, not the client */
    } else {
        qn_reply_error(p->x, &call->err, false);
    }
    qn_call_release(call);
    qn_exchange_resume(p->x);
}

/* What the tensors take, instead of the guess that was made from the body's length. */
static bool reserve_tensors(qn_exchange *x, const prediction *p)
{
    const qn_model *model = qn_version_model(p->call.version);
    uint64_t bytes = 0;

    for (int32_t i = 0; i < qn_model_n_inputs(model); i++) {
        if (__builtin_add_overflow(bytes, (uint64_t)p->decoded.inputs[i].bytes, &bytes)) return false;
    }
    return qn_exchange_reserve(x, bytes);
}

void qn_prediction_end(qn_exchange *x)
{
    prediction *p = prediction_of(x);
    qn_call *call = &p->call;
    qn_error err = { 0 };

    if (qn_decoder_finish(p->decoder, &p->decoded, &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        return;
    }
    if (!reserve_tensors(x, p)) {
        qn_exchange_error(x, 503, "no room for the tensors of this request now");
        return;
    }
    if (p->decoded.timeout_us && p->decoded.timeout_us < p->timeout_us) p->timeout_us = p->decoded.timeout_us;
    call->inputs = p->decoded.inputs;
    call->rows = p->decoded.rows;
    if (p->decoded.priority) p->priority = p->decoded.priority; /* the body speaks for this request alone, a header may be a proxy's */
    call->priority = (qn_priority)(p->priority ? p->priority - 1 : qn_version_settings(call->version)->priority);
    call->deadline_us = x->started_us + p->timeout_us;
    call->done = on_done;
    call->user = p;
    qn_exchange_suspend(x, &call->cancelled);
    if (qn_batcher_submit(qn_visit_of(x)->app->batcher, call, &err) != QN_OK) {
        qn_metrics_refused(qn_visit_of(x)->app->metrics, (int)call->refused);
        qn_reply_error(x, &err, false);
        qn_exchange_resume(x);
    }
}

void qn_prediction_release(qn_exchange *x)
{
    prediction *p = prediction_of(x);

    if (!p) return;
    qn_decoder_destroy(p->decoder);
    qn_version_unref(p->call.version);
    free(p);
    qn_visit_of(x)->state = NULL;
}
