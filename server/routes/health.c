/* server/routes/health.c - GET /v2/health/live, /v2/health/ready, /healthz.
 * Live     an HTTP thread answered: that is the fact.
 * Ready    the folder was read once, every model in it has a version that serves, and the daemon is not about to stop; else 503, so that
 *          a load balancer looks elsewhere. */
#include "server/routes/routes.h"

static void live(qn_exchange *x)
{
    qn_buf_puts(&x->reply, "{\"live\":true}");
    qn_reply_json(x);
}

static void ready(qn_exchange *x)
{
    qn_app *app = qn_visit_of(x)->app;

    if (atomic_load(&app->draining)) {
        qn_exchange_error(x, 503, "stopping");
    } else if (!qn_registry_ready(app->registry)) {
        qn_exchange_error(x, 503, "not every model is loaded");
    } else {
        qn_buf_puts(&x->reply, "{\"ready\":true}");
        qn_reply_json(x);
    }
}

const qn_endpoint qn_endpoint_health_live = { .body = QN_BODY_NONE, .always = true, .handler = { .end = live } };
const qn_endpoint qn_endpoint_health_ready = { .body = QN_BODY_NONE, .always = true, .handler = { .end = ready } };
