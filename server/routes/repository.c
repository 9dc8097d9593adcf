/* server/routes/repository.c - Triton's model repository routes, and POST /admin/reload: index, load, unload, read the folder again.
 * The exchange is suspended until the registry's loader has done it; the loader works through a client that leaves. */
#include "server/http/tls.h"
#include "server/routes/routes.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

const char *qn_version_state_name(qn_version_state state)
{
    switch (state) {
    case QN_VERSION_READY: return "READY";
    case QN_VERSION_LOADING: return "LOADING";
    case QN_VERSION_DRAINING: return "UNLOADING";
    case QN_VERSION_FOUND:
    case QN_VERSION_FAILED:
    case QN_VERSION_GONE: return "UNAVAILABLE";
    }
    return "UNKNOWN";
}

static void put_entry(qn_buf *out, const qn_entry *e)
{
    qn_buf_puts(out, "{\"name\":");
    qn_json_put_string(out, e->model, strlen(e->model));
    if (e->version) qn_buf_printf(out, ",\"version\":\"%" PRId64 "\",\"state\":\"%s\"", e->version, qn_version_state_name(e->state));
    if (e->reason[0]) {
        qn_buf_puts(out, ",\"reason\":");
        qn_json_put_string(out, e->reason, strlen(e->reason));
    }
    qn_buf_puts(out, "}");
}

static void repository_index(qn_exchange *x)
{
    json_t *doc = NULL, *ready;
    bool only_ready, first = true;
    qn_entry *e = NULL;
    int32_t n = 0;
    qn_error err = { 0 };

    if (!qn_control_body(x, &doc)) return;
    ready = doc ? json_object_get(doc, "ready") : NULL;
    only_ready = json_is_true(ready);
    if (ready && !json_is_boolean(ready))
        qn_exchange_error(x, 400, "ready: true or false expected");
    else if (qn_entries(qn_visit_of(x)->app->registry, NULL, &e, &n, &err) != QN_OK)
        qn_reply_error(x, &err, true);
    json_decref(doc);
    if (x->status) return;
    qn_buf_puts(&x->reply, "[");
    for (int32_t i = 0; i < n; i++) {
        if (only_ready && e[i].state != QN_VERSION_READY) continue;
        if (!first) qn_buf_puts(&x->reply, ",");
        put_entry(&x->reply, &e[i]);
        first = false;
    }
    qn_buf_puts(&x->reply, "]");
    free(e);
    qn_reply_json(x);
}

/* On the loader's thread. */
static void on_done(void *user, const qn_registry_report *r)
{
    qn_exchange *x = user;

    if (r->status != QN_OK) {
        qn_exchange_error(x, qn_reply_status(r->status, true), "%s", r->message && r->message[0] ? r->message : qn_status_text(r->status));
    } else {
        qn_buf_printf(&x->reply, "{\"loaded\":%" PRId32 ",\"failed\":%" PRId32 ",\"retired\":%" PRId32 ",\"unchanged\":%" PRId32 "}",
                      r->n_loaded, r->n_failed, r->n_retired, r->n_unchanged);
        qn_reply_json(x);
    }
    qn_exchange_resume(x);
}

static void submit(qn_exchange *x, qn_registry_action action, const char *name)
{
    qn_app *app = qn_visit_of(x)->app;
    qn_error err = { 0 };

    if (atomic_load(&app->draining)) {
        qn_exchange_error(x, 503, "stopping");
        return;
    }
    qn_exchange_suspend(x, NULL);
    if (qn_registry_submit(app->registry, action, name, on_done, x, &err) != QN_OK) {
        if (err.status == QN_ERR_INVALID) err.status = QN_ERR_NOT_FOUND; /* a name no model can have */
        qn_reply_error(x, &err, true);
        qn_exchange_resume(x);
    }
}

/* {"parameters": {...}}: what Quern can't do must not be ignored silently. */
static bool check_parameters(qn_exchange *x, bool load)
{
    json_t *doc = NULL, *parameters, *value;
    const char *key;

    if (!qn_control_body(x, &doc)) return false;
    parameters = doc ? json_object_get(doc, "parameters") : NULL;
    if (parameters && !json_is_object(parameters)) qn_exchange_error(x, 400, "parameters: an object expected");
    json_object_foreach(parameters, key, value)
    {
        if (load && !x->status && (strcmp(key, "config") == 0 || strncmp(key, "file:", 5) == 0))
            qn_exchange_error(x, 400, "parameter '%.40s' is not supported: put the file into the models folder", key);
    }
    json_decref(doc);
    return x->status == 0;
}

static void repository_load(qn_exchange *x)
{
    if (check_parameters(x, true)) submit(x, QN_REGISTRY_LOAD, qn_visit_of(x)->path.model);
}

static void repository_unload(qn_exchange *x)
{
    if (check_parameters(x, false)) submit(x, QN_REGISTRY_UNLOAD, qn_visit_of(x)->path.model);
}

static void reload(qn_exchange *x)
{
    qn_app *app = qn_visit_of(x)->app;
    json_t *doc = NULL;
    qn_error err = { 0 };

    if (!qn_control_body(x, &doc)) return;
    json_decref(doc);
    if (app->keys && qn_keys_reload(app->keys, &err) != QN_OK) {
        qn_exchange_error(x, 400, "nothing was read again: %s", err.message);
        return;
    }
    if (app->tls && qn_tls_reload(app->tls, &err) != QN_OK) {
        qn_exchange_error(x, 400, "the certificate and the models were not read again: %s", err.message);
        return;
    }
    submit(x, QN_REGISTRY_RELOAD, NULL);
}

const qn_endpoint qn_endpoint_repository_index = { .body = QN_BODY_CONTROL, .handler = { .end = repository_index } };
const qn_endpoint qn_endpoint_repository_load = { .body = QN_BODY_CONTROL, .handler = { .end = repository_load } };
const qn_endpoint qn_endpoint_repository_unload = { .body = QN_BODY_CONTROL, .handler = { .end = repository_unload } };
const qn_endpoint qn_endpoint_reload = { .body = QN_BODY_CONTROL, .handler = { .end = reload } };
