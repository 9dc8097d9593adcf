/* server/routes/metrics.c - GET /metrics: gathers what every room counts and prints it for Prometheus. */
#include "server/routes/routes.h"

#include <stdlib.h>
#include <string.h>

static int32_t gather_models(qn_registry *registry, const qn_entry *e, int32_t n, qn_metrics_model *out)
{
    int32_t found = 0;

    for (int32_t i = 0; i < n; i++) {
        qn_metrics_model *m = &out[found];
        qn_queue_stats s = { 0 };
        qn_version *v = NULL;
        uint64_t weights, now = qn_now_us();
        size_t len = strnlen(e[i].model, sizeof m->name - 1);

        if (e[i].state != QN_VERSION_READY || qn_registry_peek(registry, e[i].model, e[i].version, &v, NULL) != QN_OK) continue;
        qn_queue_get_stats(qn_version_queue(v), &s);
        weights = qn_model_weight_bytes(qn_version_model(v));
        qn_version_unref(v);
        *m = (qn_metrics_model){ .version = e[i].version,
                                 .waiting = s.waiting,
                                 .n_success = s.n_success,
                                 .n_failed = s.n_failed,
                                 .n_rejected = s.n_rejected,
                                 .n_cancelled = s.n_cancelled,
                                 .n_expired = s.n_expired,
                                 .n_rows = s.n_rows,
                                 .n_batches = s.n_batches,
                                 .oldest_us = s.oldest_us && s.oldest_us < now ? now - s.oldest_us : 0,
                                 .weight_bytes = weights,
                                 .queue_us = s.queue_us,
                                 .run_us = s.run_us };
        memcpy(m->name, e[i].model, len);
        found++;
    }
    return found;
}

static void metrics(qn_exchange *x)
{
    qn_app *app = qn_visit_of(x)->app;
    qn_metrics_model *models = NULL;
    qn_entry *e = NULL;
    int32_t n = 0;
    qn_http_stats h = { 0 };
    qn_metrics_view view = { .version = QUERN_VERSION, .isa = app->isa };
    qn_error err = { 0 };

    if (qn_entries(app->registry, NULL, &e, &n, &err) != QN_OK || !(models = calloc((size_t)n + 1, sizeof *models))) {
        free(e);
        qn_exchange_error(x, 503, "no memory for the metrics");
        return;
    }
    qn_http_get_stats(qn_exchange_server(x), &h);
    view.ready = !atomic_load(&app->draining) && qn_registry_ready(app->registry);
    view.connections = h.connections;
    view.connections_total = h.connections_total;
    view.bytes_in_flight = h.bytes_in_flight;
    view.weight_bytes = qn_store_bytes(app->store);
    view.timeouts_header = h.timeouts_header;
    view.timeouts_body = h.timeouts_body;
    view.timeouts_idle = h.timeouts_idle;
    view.timeouts_write = h.timeouts_write;
    view.shed_connections = h.shed_connections;
    view.shed_bytes = h.shed_bytes;
    view.n_models = gather_models(app->registry, e, n, models);
    view.models = models;
    qn_metrics_render(app->metrics, &view, &x->reply);
    free(models);
    free(e);
    qn_exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8");
}

const qn_endpoint qn_endpoint_metrics = { .body = QN_BODY_NONE, .always = true, .handler = { .end = metrics } };
