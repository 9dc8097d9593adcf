/* server/routes/lifecycle.c - which version is served: promote, rollback, delete, and a model as its operator sees it.
 * The exchange is suspended until the registry's loader has done it; the loader works through a client that leaves. */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void put_text(qn_buf *out, const char *s) { qn_json_put_string(out, s, strlen(s)); }

static void put_version(qn_buf *out, const char *key, int64_t version)
{
    if (version)
        qn_buf_printf(out, ",\"%s\":\"%" PRId64 "\"", key, version);
    else
        qn_buf_printf(out, ",\"%s\":null", key);
}

/* On the loader's thread. */
static void on_done(void *user, const qn_registry_report *r)
{
    qn_exchange *x = user;

    if (r->status != QN_OK) {
        qn_exchange_error(x, qn_reply_status(r->status, true), "%s", r->message && r->message[0] ? r->message : qn_status_text(r->status));
    } else {
        qn_buf_puts(&x->reply, "{\"name\":");
        put_text(&x->reply, qn_visit_of(x)->path.model);
        put_version(&x->reply, "served", r->served);
        put_version(&x->reply, "before", r->before);
        qn_buf_puts(&x->reply, "}");
        qn_reply_json(x);
    }
    qn_exchange_resume(x);
}

static void submit(qn_exchange *x, const qn_registry_order *order)
{
    qn_app *app = qn_visit_of(x)->app;
    qn_error err = { 0 };

    if (atomic_load(&app->draining)) {
        qn_exchange_error(x, 503, "stopping");
        return;
    }
    qn_exchange_suspend(x, NULL);
    if (qn_registry_order_submit(app->registry, order, on_done, x, &err) != QN_OK) {
        qn_reply_error(x, &err, true);
        qn_exchange_resume(x);
    }
}

/* "3" or 3; "latest" or null: 0. */
static bool version_of(const json_t *v, int64_t *out)
{
    const char *s = json_string_value(v);
    char *end = NULL;

    *out = 0;
    if (json_is_null(v) || (s && strcmp(s, "latest") == 0)) return true;
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
    } else {
        if (!s || s[0] < '1' || s[0] > '9' || strlen(s) > 18) return false;
        *out = strtoll(s, &end, 10);
        if (*end) return false;
    }
    return *out > 0;
}

static void promote(qn_exchange *x)
{
    qn_registry_order o = { .action = QN_REGISTRY_PROMOTE, .name = qn_visit_of(x)->path.model };
    json_t *doc = NULL, *value, *version = NULL;
    const char *key;

    if (!qn_control_body(x, &doc)) return;
    json_object_foreach(doc, key, value)
    {
        if (strcmp(key, "version") == 0)
            version = value;
        else if (strcmp(key, "label") == 0 && json_is_string(value))
            o.label = json_string_value(value);
        else if (!x->status)
            qn_exchange_error(x, 400, "%.40s: version and label (text) expected", key);
    }
    if (!x->status && (!version || !version_of(version, &o.version)))
        qn_exchange_error(x, 400, "version: a version expected, like \"3\", or \"latest\" to let the policy decide again");
    if (!x->status) submit(x, &o); /* the order copies what it is given */
    json_decref(doc);
}

/* An object without members, or nothing. */
static bool no_members(qn_exchange *x)
{
    json_t *doc = NULL;

    if (!qn_control_body(x, &doc)) return false;
    if (json_object_size(doc) > 0) qn_exchange_error(x, 400, "%.40s: no member expected", json_object_iter_key(json_object_iter(doc)));
    json_decref(doc);
    return x->status == 0;
}

static void rollback(qn_exchange *x)
{
    const qn_registry_order o = { .action = QN_REGISTRY_ROLLBACK, .name = qn_visit_of(x)->path.model };

    if (no_members(x)) submit(x, &o);
}

static void version_delete(qn_exchange *x)
{
    const qn_path *p = &qn_visit_of(x)->path;
    const qn_registry_order o = { .action = QN_REGISTRY_REMOVE, .name = p->model, .version = p->version };

    if (no_members(x)) submit(x, &o);
}

/* -- a model as its operator sees it ------------------------------------------------------------------------------------------- */

static void put_label(void *user, const char *label, int64_t version)
{
    qn_buf *out = user;

    if (out->len && out->data[out->len - 1] != '{') qn_buf_puts(out, ",");
    put_text(out, label);
    qn_buf_printf(out, ":\"%" PRId64 "\"", version);
}

static void model_show(qn_exchange *x)
{
    qn_app *app = qn_visit_of(x)->app;
    const char *name = qn_visit_of(x)->path.model;
    qn_buf *out = &x->reply;
    int64_t served = 0, pinned = 0;
    qn_entry *e = NULL;
    int32_t n = 0;
    bool begun = false;
    qn_error err = { 0 };

    if (qn_entries(app->registry, name, &e, &n, &err) != QN_OK) {
        qn_reply_error(x, &err, true);
        return;
    }
    if (n == 0) {
        qn_exchange_error(x, 404, "no model named %.64s", name);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        if (e[i].served) served = e[i].version;
        if (e[i].pinned) pinned = e[i].version;
    }
    qn_buf_puts(out, "{\"name\":");
    put_text(out, name);
    put_version(out, "served", served);
    put_version(out, "pinned", pinned);
    qn_buf_puts(out, ",\"labels\":{");
    qn_registry_labels(app->registry, name, put_label, out);
    qn_buf_puts(out, "},\"versions\":[");
    for (int32_t i = 0; i < n; i++) {
        if (e[i].version == 0) continue;
        qn_buf_printf(out, "%s{\"version\":\"%" PRId64 "\",\"state\":\"%s\",\"weight_bytes\":%" PRIu64 ",\"reason\":", begun ? "," : "",
                      e[i].version, qn_version_state_name(e[i].state), e[i].weight_bytes);
        put_text(out, e[i].reason);
        qn_buf_puts(out, "}");
        begun = true;
    }
    qn_buf_puts(out, "]}");
    free(e);
    qn_reply_json(x);
}

const qn_endpoint qn_endpoint_promote = { .body = QN_BODY_CONTROL, .handler = { .end = promote } };
const qn_endpoint qn_endpoint_rollback = { .body = QN_BODY_CONTROL, .handler = { .end = rollback } };
const qn_endpoint qn_endpoint_version_delete = { .body = QN_BODY_CONTROL, .handler = { .end = version_delete } };
const qn_endpoint qn_endpoint_model_show = { .body = QN_BODY_NONE, .handler = { .end = model_show } };
